"""A handler over a storage on loopback, with a predictor whose answer is fixed; and what to ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from rp_handler import Handler
from scribe.jobs.delivery import Outbox
from scribe.jobs.intake import JobFiles
from scribe.jobs.runner import JobRunner
from scribe.models.model_set import ModelSet
from scribe.net.client import GuardedClient
from scribe.net.connections import default_context
from scribe.pipeline.predictor import Prediction
from scribe.runtime.redact import Redactor
from scribe.storage.s3 import Storage
from scribe.transcript import Segment, Speaker, Transcript, Word
from support.demo import ADDRESS, configured
from support.s3server import S3Server

PREFIX = "transcripts"


def spoken(count: int) -> Transcript:
    """`count` segments of two words, each of its own text, by two speakers in turn."""
    labels = ("SPEAKER_00", "SPEAKER_01")
    segments = []
    for n in range(count):
        label = labels[n % 2]
        words = (Word("Sentence", n + 0.0, n + 0.4, 0.9, label), Word(f"{n}.", n + 0.5, n + 0.9, 0.8, label))
        segments.append(Segment(float(n), n + 0.9, f" Sentence {n}.", words, label, -0.1))
    speakers = (Speaker(labels[0], "Anna", 0.9, count / 2), Speaker(labels[1], None, None, count / 2))
    return Transcript("en", float(count), tuple(segments), speakers, 0.99)


@cache
def authorities() -> ssl.SSLContext:
    """Read once: the list of certificates takes longer than a whole job here."""
    return default_context()


def guarded(allow_hosts: frozenset[str] = frozenset(), **more: Any) -> GuardedClient:
    """The guarded client as the worker has it."""
    return GuardedClient(allow_hosts, ssl_context=authorities(), **more)


@cache
def demo_places() -> ModelSet:
    return ModelSet(configured())


class FixedPredictor:
    """Hears nothing: every job gets the same prediction, after `work()`. `runs` counts them."""

    def __init__(self, prediction: Prediction | None = None, work: Callable[[], Any] = lambda: None) -> None:
        self.prediction = prediction or Prediction(spoken(60), (), {"transcribe": 1.0}, {"transcribe": "m@1"})
        self.work = work
        self.runs = 0
        self.models = self
        self.places = demo_places()

    def foresee(self, *_: object) -> None:
        """It imports nothing."""

    def run(self, *_: object) -> Prediction:
        self.runs += 1
        self.work()
        return self.prediction

    def rename(self, transcript: Transcript, *_: object) -> Prediction:
        return replace(self.prediction, transcript=transcript)


class NothingToFetch:
    """An intake that brings nothing, for a predictor that hears nothing."""

    @contextlib.contextmanager
    def open(self, *_: object) -> Iterator[JobFiles]:
        yield JobFiles()


class Steered(S3Server):
    """The S3 server with faults that wait for their turn, safe for two writers of one key."""

    def __init__(self) -> None:
        super().__init__()
        self._alone = threading.Lock()

    def behind(self, *request: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
        """moto closes an object's file while another thread that stores the same key still reads it."""
        with self._alone:
            return super().behind(*request, **more)

    def let_pass(self, times: int = 1) -> None:
        """No fault for the next `times` requests; the faults asked for after this come after them."""
        self._faults.extend([lambda front: False] * times)

    def hold(self) -> threading.Event:
        """The next request is taken and gets no answer; the event says that it is there."""
        reached = threading.Event()

        def fault(front: Any) -> bool:
            reached.set()
            self._released.wait(60)
            front.close_connection = True
            return True

        self._faults.append(fault)
        return reached

    def over(self) -> None:
        """No more faults."""
        self._faults.clear()

    def commits(self) -> list[str]:
        return [key for key in self.objects() if key.endswith("/result.json")]


class Desk:
    """Everything of a worker but its models: `handler()` is one worker, several share the storage."""

    def __init__(self, server: S3Server, **values: Any) -> None:
        self.server = server
        self.settings = configured(**values)
        self.redactor = Redactor()
        self.allowed = frozenset({urlsplit(server.endpoint).netloc})
        self._storages: dict[str, Storage] = {}

    def storage(self, **changes: Any) -> Storage:
        """The worker's storage. It asks once: boto3's own retries have tests of their own."""
        s3 = self.server
        values = {"presign_ttl": 3600, "attempts": 1, "read_timeout": 5.0} | changes
        if str(values) not in self._storages:
            self._storages[str(values)] = Storage(
                s3.endpoint, s3.bucket, s3.access_key, s3.secret_key, PREFIX, **values
            )
        return self._storages[str(values)]

    def handler(
        self, predictor: Any, storage: Any = None, intake: Any = None, client: GuardedClient | None = None
    ) -> Handler:
        client = client or guarded(self.allowed)
        outbox = Outbox(storage, client, PREFIX, 3600)
        intake = intake or NothingToFetch()
        runner = JobRunner(self.settings, intake, predictor, outbox, self.redactor)
        return Handler(runner, lambda job: lambda event: None)


def answered(handler: Handler, job: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, as it is after its way through strict JSON."""
    return json.loads(json.dumps(asyncio.run(handler(job)), allow_nan=False))


def asking(job_id: str = "job-1", **options: Any) -> dict[str, Any]:
    """A job; `s3Config` goes beside its input."""
    beside = {"s3Config": options.pop("s3Config")} if "s3Config" in options else {}
    return {"id": job_id, "input": {"audio_file": ADDRESS, **options}, **beside}


def got(url: str) -> tuple[int, bytes]:
    """GET by plain HTTP, as a browser that has only the link."""
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        return answer.status, answer.read()


def codes(answer: Mapping[str, Any]) -> list[str]:
    return [warning["code"] for warning in answer["warnings"]]


def inline_texts(answer: Mapping[str, Any]) -> list[str]:
    return [segment["text"].strip() for segment in answer["segments"]]
