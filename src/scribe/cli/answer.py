"""Save the transcript of a finished job's answer as json, and render the other formats from it."""

from __future__ import annotations

import contextlib
import filecmp
import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scribe.cli.failure import Failure, Unreachable
from scribe.cli.means import Store
from scribe.cli.order import Order
from scribe.errors import WorkerError
from scribe.formats import FORMATS, TextOptions
from scribe.formats.json import from_dict
from scribe.transcript import Transcript

ATTEMPTS = 4
TIMEOUTS_S = (10, 60)
READ_BYTES = 2**16
# Warnings about an incomplete inline answer, left out when the whole transcript was received anyway.
ABOUT_INLINE = ("storage_not_configured", "preview_only", "result_truncated")
# The HTML page leaves this warning out: it marks the doubtful passages themselves.
NOT_ON_THE_PAGE = ("suspect_text",)


class Answer:
    """The answer of a finished job.

    `wait(seconds)` is called between attempts and chunks and may raise to stop. `store` reads files without a link.
    """

    def __init__(
        self, answer: Mapping[str, Any], order: Order, store: Store | None, wait: Callable[[float], None]
    ) -> None:
        self._answer = answer
        self._order = order
        self._store = store
        self._wait = wait

    def keep(self, folder: Path, name: str) -> None:
        """Write `name.json` atomically. Raises Failure when only a part of the transcript is available."""
        _replace(json_of(folder, name), self._json())

    def transcript(self) -> Transcript:
        """Return the whole transcript. Raises Failure when only a part of it is available."""
        try:
            shape = json.loads(self._json())
            return from_dict(shape if isinstance(shape, dict) else {})
        except (ValueError, RecursionError, WorkerError):
            raise Failure("unexpected_answer", "What the worker stored is no transcript.") from None

    def summary(self) -> dict[str, Any]:
        """Return the answer's facts for display: language, duration, speakers, warnings and timings, without the text."""
        answer = self._answer
        return {
            "language": answer.get("detected_language"),
            "duration": answer.get("duration"),
            "partial": bool(answer.get("partial")),
            "speakers": [
                {k: s.get(k) for k in ("label", "name", "score", "seconds")} for s in answer.get("speakers", ())
            ],
            "warnings": [w for w in answer.get("warnings", ()) if not (self._whole and w["code"] in ABOUT_INLINE)],
            "timings": answer.get("timings", {}),
        }

    def _json(self) -> bytes:
        data = self._stored("json")
        return data if data is not None else self._whole_json()

    def _stored(self, form: str) -> bytes | None:
        """Download an artifact by its link, else by its key; None if there is no artifact. Raises Failure, Unreachable."""
        artifact = self._answer.get("artifacts", {}).get(form)
        if not artifact:
            return None
        data = self._fetched(artifact["url"]) if artifact.get("url") else None
        if data is None and self._store is not None:
            data = self._store.read(artifact["key"])
        if data is None and not self._whole:
            raise Failure("artifact_gone", f"The link to {form} has run out: run the same command again.")
        return data

    def _fetched(self, url: str) -> bytes | None:
        """Download a presigned link; None when it is refused. Raises Unreachable."""
        import requests

        for attempt in range(ATTEMPTS):
            self._wait(attempt * random.uniform(0.5, 1.5))
            try:
                with requests.get(url, timeout=TIMEOUTS_S, stream=True) as response:
                    if response.status_code < 400:
                        data = bytearray()
                        for chunk in response.iter_content(READ_BYTES):
                            data += chunk
                            self._wait(0)
                        return bytes(data)
                    if response.status_code < 500 and response.status_code != 429:
                        return None
            except requests.RequestException:
                continue
        raise Unreachable("storage_unreachable", "The finished files could not be fetched: run the same command again.")

    @property
    def _whole(self) -> bool:
        """Whether the inline transcript is complete: it has all segments, and their words if they were asked for."""
        segments = self._answer.get("segments", ())
        worded = not self._order.options.get("align_output") or not segments or any("words" in s for s in segments)
        return len(segments) == self._answer.get("segments_total") and worded

    def _whole_json(self) -> bytes:
        if not self._whole:
            shown, total = len(self._answer.get("segments", ())), self._answer.get("segments_total")
            raise Failure(
                "result_truncated",
                f"The worker stored no json, and {shown} of {total} segments came inline: configure "
                "STORAGE_* on the endpoint, or add --set inline=full where the whole fits.",
            )
        shape = {**self._answer, "language": self._answer.get("detected_language")}
        return _rendered("json", shape, self._order.text_options("", ())).encode()


def json_of(folder: Path, name: str) -> Path:
    """Return the path of a recording's transcript."""
    return folder / f"{name}.json"


def render(
    transcript: Path, order: Order, folder: Path, name: str, audio_name: str, summary: Mapping[str, Any]
) -> list[str]:
    """Write `name.<extension>` for each format of the order and return the files' paths relative to `folder`.

    Raises Failure when the transcript is invalid.
    """
    warnings = [w["message"] for w in summary.get("warnings", ()) if w["code"] not in NOT_ON_THE_PAGE]
    options = order.text_options(audio_name, warnings)
    written = [f"{name}.{FORMATS[form].extension}" for form in order.formats]
    try:
        shape = json.loads(transcript.read_bytes())
    except (ValueError, RecursionError):
        raise Failure("unexpected_answer", f"{transcript} is no transcript.") from None
    here = json_of(folder, name)
    is_here = here.exists() and here.samefile(transcript)
    for form, relative in zip(order.formats, written, strict=True):
        if form != "json":
            _replace(folder / relative, _rendered(form, shape, options).encode())
        elif not is_here:
            _replace(here, transcript.read_bytes())
    return [*written, here.name] if is_here and here.name not in written else written


def place_next_to(page: Path, recording: Path) -> str:
    """Link or copy the recording into the page's folder, so that the page can play it, and return its name there.

    If another file has the recording's name, it gets the page's name; if that is taken too, the page's with a number.
    """
    numbered = (f"{page.stem}-{number}{recording.suffix}" for number in itertools.count(2))
    for name in itertools.chain((recording.name, page.stem + recording.suffix), numbered):
        copy = page.with_name(name)
        if not copy.exists() or _same(copy, recording):
            break
    if not copy.exists():
        try:
            os.link(recording, copy)
        except OSError:
            with contextlib.suppress(OSError):
                shutil.copyfile(recording, copy)
    return copy.name


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)


def _rendered(form: str, shape: Any, options: TextOptions) -> str:
    try:
        return FORMATS[form].render(from_dict(shape if isinstance(shape, dict) else {}), options)
    except WorkerError as error:
        raise Failure("unexpected_answer", error.message) from None


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_bytes(data)
    fresh.replace(path)
