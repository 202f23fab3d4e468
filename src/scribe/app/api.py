"""The Python API: `transcribe` and `render`, as docs/python-api.md shows them."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scribe.app.here import missing
from scribe.app.local import means_here
from scribe.cli.answer import Answer
from scribe.cli.environment import Environment
from scribe.cli.failure import Failure, Unreachable
from scribe.cli.means import Means, remote
from scribe.cli.order import Order, Voice, checked
from scribe.cli.recording import Place
from scribe.cli.sending import Sender
from scribe.errors import InvalidInput, WorkerError
from scribe.formats import FORMATS, TextOptions
from scribe.settings import InvalidSettings
from scribe.transcript import Transcript

log = logging.getLogger("scribe")


def transcribe(
    recording: str | os.PathLike[str],
    *,
    local: bool = False,
    endpoint: str | None = None,
    api_base: str | None = None,
    voices: Mapping[str, str | os.PathLike[str]] | None = None,
    on_progress: Callable[[str, float | None], None] | None = None,
    **options: Any,
) -> Transcript:
    """Transcribe a recording (a path or a URL) and wait for the transcript.

    It runs at the RunPod endpoint `endpoint` (else RUNPOD_ENDPOINT_ID; RUNPOD_API_KEY is the key), or with `local` in this
    process, which needs the worker's packages. `voices` names speakers: {"Anna": "anna.wav"}. `options` are the keys of a
    job, such as diarization=True or language="de". `on_progress(doing, percent)` is called from time to time.
    Warnings of the worker go to the log `scribe`. Raises WorkerError: `code`, `message` and `retryable` say what happened;
    ImportError if packages for `local` are missing.
    """
    named = tuple(Voice(name, Place.of(os.fspath(place))) for name, place in (voices or {}).items())
    naming = {"diarization": True, "speaker_verification": True} if named else {}
    order = checked({**naming, **options}, named)
    place = Place.of(os.fspath(recording))
    if local and (sentence := missing()):
        raise ImportError(sentence)
    with _as_worker_errors():
        means = (
            means_here(options.get("model"), own_process=False) if local else remote(Environment(), endpoint, api_base)
        )
        return _transcript(place, order, means, on_progress or (lambda doing, percent: None))


def render(transcript: Transcript, form: str = "srt", **options: Any) -> str:
    """Return the transcript as text in a format: json, srt, vtt, tsv, txt or html. `options` are those of TextOptions.

    Raises InvalidInput for an unknown format.
    """
    if form not in FORMATS:
        raise InvalidInput(f"{form} is no format: there are {', '.join(FORMATS)}")
    return FORMATS[form].render(transcript, TextOptions(**options))


def _transcript(place: Place, order: Order, means: Means, progress: Callable[[str, float | None], None]) -> Transcript:
    """Send the job, wait for its answer and delete what was uploaded for it. Raises Failure."""

    def show(body: Mapping[str, Any]) -> None:
        event = body.get("output")
        if isinstance(event, Mapping) and "percent" in event:
            progress(str(event["stage"]), float(event["percent"]))
        else:
            progress(str(body.get("status")), None)

    uploads: list[str] = []
    sender = Sender(
        order,
        means.store,
        uuid.uuid4().hex[:12],
        lambda name, doing, percent: progress(doing, percent),
        lambda name, sentence: log.info("%s", sentence),
        lambda seconds: None,
    )
    sender.refuse_what_is_no_recording(place)
    connection = means.connect()
    try:
        job_id = connection.submit(sender.job(place, place.file_name, uploads))
        answer = connection.watch(job_id, show, time.sleep)
        if answer is None and means.store is not None:
            answer = means.store.committed(job_id)
        if answer is None:
            raise Failure("job_lost", f"The platform no longer knows job {job_id}.")
        finished = Answer(answer, order, means.store, time.sleep)
        for warning in finished.summary()["warnings"]:
            log.warning("%s: %s", warning["stage"], warning["message"])
        transcript = finished.transcript()
    except Unreachable:
        raise  # without deleting uploads: the job may still read them
    except Failure:
        _take_back(means, uploads)
        raise
    _take_back(means, uploads)
    return transcript


def _take_back(means: Means, uploads: list[str]) -> None:
    if means.store is not None:
        with contextlib.suppress(Failure):
            means.store.delete(uploads)


@contextlib.contextmanager
def _as_worker_errors() -> Iterator[None]:
    """Convert Failure and InvalidSettings, which the command prints, to WorkerErrors."""
    try:
        yield
    except InvalidSettings as invalid:
        raise InvalidInput(str(invalid)) from None
    except Failure as failure:
        kind = next((kind for kind in _kinds(WorkerError) if kind.code == failure.code), WorkerError)
        error = kind(failure.message, retryable=kind.retryable or isinstance(failure, Unreachable))
        error.code = failure.code  # type: ignore[misc]  # a code that only the client has
        raise error from None


def _kinds(error: type[WorkerError]) -> Iterator[type[WorkerError]]:
    for kind in error.__subclasses__():
        yield from _kinds(kind)
        yield kind
