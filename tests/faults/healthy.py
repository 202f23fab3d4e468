"""A worker but for its models, and what must hold of it after every fault.

The handler, the intake, the guarded client and the decoder's child process are the real ones. Only the models are a
stand-in, handed in by the constructor.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import ssl
import threading
import uuid
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from support.demo import configured
from support.predictor import FakePredictor
from support.transcripts import HELLO
from support.wiring import answered, authorities, handler_of, intake_at

from rp_handler import Handler
from scribe.audio.decode import SAMPLE_RATE
from scribe.net.client import GuardedClient
from scribe.runtime.redact import Redactor

FAILURE_KEYS = {"error", "code", "retryable", "details", "error_id"}
# Each lives inside one job and must end with it.
THREADS_OF_A_JOB = {"heartbeat", "progress", "request-watch"}


class Worker:
    """One worker on scratch space of its own. `hosts` are exempt from the address check; `values` are settings."""

    def __init__(
        self,
        jobs: Path,
        hosts: Iterable[str] = (),
        *,
        predictor: Any = None,
        storage: Any = None,
        resolver: Callable[..., Any] = socket.getaddrinfo,
        trusts: ssl.SSLContext | None = None,
        **values: Any,
    ) -> None:
        self.jobs = jobs
        self.predictor = predictor or FakePredictor(HELLO)
        self.redactor = Redactor()
        self.events: list[Mapping[str, Any]] = []
        settings = configured(**values)
        client = GuardedClient(frozenset(hosts), 2.0, 5.0, resolver, trusts or authorities())
        self.handler = handler_of(
            self.predictor,
            settings,
            intake=intake_at(jobs, settings, client),
            storage=storage,
            client=client,
            redactor=self.redactor,
            report=lambda job: self.events.append,
        )

    def ask(self, **options: Any) -> dict[str, Any]:
        """The answer to a job with this input."""
        return self.answered({"id": f"job-{uuid.uuid4().hex}", "input": options})

    def answered(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a job as the platform hands it out."""
        return answered(self.handler, job)

    def refuses(self, code: str, **options: Any) -> dict[str, Any]:
        """The failure of a job that never reaches the models and leaves nothing."""
        before = self.predictor.runs
        answer = assert_failed(self.ask(**options), code)
        assert self.predictor.runs == before
        assert left_in(self.jobs) == []
        return answer

    def assert_healthy(self) -> None:
        assert_worker_healthy(self.handler, self.jobs)


def assert_failed(answer: Mapping[str, Any], code: str) -> dict[str, Any]:
    """A failure is of the documented shape, has this code, and shows nothing of the inside."""
    assert answer.get("code") == code, answer
    assert set(answer) - {"refresh_worker"} == FAILURE_KEYS
    assert answer["error"].startswith(f"{code}: ")
    text = json.dumps(answer)
    assert not any(inside in text for inside in ("Traceback", '.py"', "/src/", str(Path.home()), "jobs/worker"))
    return dict(answer)


def assert_worker_healthy(handler: Handler, jobs: Path) -> None:
    """After a fault: no job's folder, thread or child is left, and the next good job passes and leaves nothing either."""
    for _ in range(2):
        assert left_in(jobs) == []
        assert THREADS_OF_A_JOB.isdisjoint(thread.name for thread in threading.enumerate())
        assert list(decoders_of("self")) == []
        answer = answered(handler, {"id": f"good-{uuid.uuid4().hex}", "input": {"audio_base64": base64_of(wav(0.25))}})
        assert "error" not in answer, answer


def left_in(jobs: Path) -> list[Path]:
    """Every job's folder, and whatever else lies under `jobs` beside the worker's own folder."""
    return sorted(path for path in jobs.rglob("*") if path.parent != jobs or path.is_file())


def decoders_of(pid: int | str) -> Iterator[int]:
    """The children of a process that decode; none where /proc is not to be had."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in _read(task / "children").split():
            if b"scribe.audio.child" in _read(Path(f"/proc/{int(child)}/cmdline")):
                yield int(child)


def _read(path: Path) -> bytes:
    """What /proc says of a thread or a process; nothing when it has ended since it was listed."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return path.read_bytes()
    return b""


def wav(seconds: float, hertz: float = 440.0) -> bytes:
    """A tone as a 16 kHz mono WAV."""
    samples = 16000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return target.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()
