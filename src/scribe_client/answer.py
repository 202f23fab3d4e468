"""A finished job's answer -> the files on this disk: fetched where the worker stored them, else rendered from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scribe.errors import WorkerError
from scribe.formats import FORMATS
from scribe.formats.json import from_dict

from .bucket import Bucket
from .failure import Failure, Unreachable
from .order import Order

ATTEMPTS = 4
TIMEOUTS_S = (10, 60)
READ_BYTES = 2**16
# Warnings about files that are here all the same.
TOLD_BY_THE_FILES = ("storage_not_configured",)


class Answer:
    """`wait(seconds)` is called between attempts and chunks and may raise to stop; `bucket` reads what has no link."""

    def __init__(
        self, answer: Mapping[str, Any], order: Order, bucket: Bucket | None, wait: Callable[[float], None]
    ) -> None:
        self._answer = answer
        self._order = order
        self._bucket = bucket
        self._wait = wait

    def write(self, folder: Path, name: str, audio_name: str) -> list[str]:
        """Write `name.<extension>` for each format of the order, each whole or not at all; their paths in `folder`.

        Raises Failure where a format can neither be fetched nor rendered; those before it are written.
        """
        written = []
        for form in self._order.formats:
            relative = f"{name}.{FORMATS[form].extension}"
            data = self._stored(form)
            _replace(folder / relative, data if data is not None else self._rendered(form, audio_name))
            written.append(relative)
        return written

    def summary(self) -> dict[str, Any]:
        """What is worth showing of a transcript without the transcript."""
        answer = self._answer
        return {
            "language": answer.get("detected_language"),
            "duration": answer.get("duration"),
            "partial": bool(answer.get("partial")),
            "speakers": [
                {k: s.get(k) for k in ("label", "name", "score", "seconds")} for s in answer.get("speakers", ())
            ],
            "warnings": [w for w in answer.get("warnings", ()) if not (self._whole and w["code"] in TOLD_BY_THE_FILES)],
            "timings": answer.get("timings", {}),
        }

    def _stored(self, form: str) -> bytes | None:
        """The artifact's bytes, by its link, or by its key where there is no link or it has run out; None: no artifact."""
        artifact = self._answer.get("artifacts", {}).get(form)
        if not artifact:
            return None
        data = self._fetched(artifact["url"]) if artifact.get("url") else None
        if data is None and self._bucket is not None:
            data = self._bucket.read(artifact["key"])
        if data is None and not self._whole:
            raise Failure("artifact_gone", f"The link to {form} has run out: run the same command again.")
        return data

    def _fetched(self, url: str) -> bytes | None:
        """The bytes behind a presigned link; None when it is refused. Raises Unreachable."""
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
        """Whether the inline transcript holds all that the formats show; a preview has lost its words."""
        segments = self._answer.get("segments", ())
        worded = not self._order.options.get("align_output") or not segments or any("words" in s for s in segments)
        return len(segments) == self._answer.get("segments_total") and worded

    def _rendered(self, form: str, audio_name: str) -> bytes:
        if not self._whole:
            shown, total = len(self._answer.get("segments", ())), self._answer.get("segments_total")
            raise Failure(
                "result_truncated",
                f"The worker stored no {form}, and {shown} of {total} segments came inline: configure "
                "STORAGE_* on the endpoint, or add --set inline=full where the whole fits.",
            )
        shape = {**self._answer, "language": self._answer.get("detected_language")}
        try:
            return FORMATS[form].render(from_dict(shape), self._order.text_options(audio_name)).encode()
        except WorkerError as error:
            raise Failure("unexpected_answer", error.message) from None


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_bytes(data)
    fresh.replace(path)
