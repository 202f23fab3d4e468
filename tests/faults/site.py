"""A platform, a file server and a storage around worker processes that have no models, and jobs held at any boundary."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contract.platform import Platform
from contract.record import Record
from contract.worker import WorkerProcess
from support.desk import Steered
from support.loopback import Loopback, page

from .healthy import decoders_of, left_in, wav

ENTRY = Path(__file__).with_name("standin_worker.py")
BOUNDARIES = ("fetch", "decode", "transcribe", "diarize", "upload")
PATIENCE = 120.0


class Site:
    """`with Site(folder) as site, site.worker() as worker: …`. Workers of one site share its JOBS_DIR and its storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = folder / "jobs"
        self.stations = folder / "stations"
        self.stations.mkdir()
        self._stack = contextlib.ExitStack()
        self._held: dict[str, tuple[threading.Event, threading.Event]] = {}
        self._stopped: list[int] = []

    def __enter__(self) -> Site:
        self.platform = self._stack.enter_context(Platform(poll_seconds=0.3))
        self.storage = self._stack.enter_context(Steered())
        self.files = self._stack.enter_context(Loopback(self._send))
        return self

    def __exit__(self, *_: object) -> None:
        for _, go in self._held.values():
            go.set()
        self._stack.close()

    def worker(self, name: str = "worker-1", **env: str) -> WorkerProcess:
        own = {
            "MODEL_SET": "demo",
            "FETCH_ALLOW_HOSTS": self.files.host,
            "JOBS_DIR": str(self.jobs),
            "STATIONS": str(self.stations),
            "STORAGE_ENDPOINT": self.storage.endpoint,
            "STORAGE_BUCKET": self.storage.bucket,
            "STORAGE_ACCESS_KEY": self.storage.access_key,
            "STORAGE_SECRET_KEY": self.storage.secret_key,
            "RUNPOD_POD_ID": name,
        }
        return WorkerProcess(self.platform, own | env, cwd=self.folder, entry=ENTRY)

    def submit(self, hotwords: str | None = None, **more: Any) -> Record:
        """A job of one second of audio; `hotwords` are the stand-in's orders, `more` goes to the platform."""
        job = {"input": {"audio_file": f"{self.files.url}/a.wav", "hotwords": hotwords, "inline": "full"}}
        return self.platform.record(self.platform.submit(job, **more))

    def held(self, boundary: str, worker: WorkerProcess) -> Record:
        """A job that has come to `boundary` in `worker` and stays there until `release`."""
        if boundary in ("transcribe", "diarize"):
            self.forget(boundary)
            record = self.submit(f"hold {boundary}")
            self.wait_for((self.stations / f"{boundary}.at").exists, worker)
            return record
        if boundary == "decode":
            record = self.submit()
            self.wait_for(lambda: any(map(self._halt, decoders_of(worker.pid))), worker)
            return record
        at, go = self._held[boundary] = threading.Event(), threading.Event()
        if boundary == "upload":

            def fault(front: Any) -> bool:
                at.set()
                go.wait(PATIENCE)
                return False

            self.storage.let_pass()  # the look for an earlier result
            self.storage._faults.append(fault)
        record = self.submit()
        self.wait_for(at.is_set, worker)
        return record

    def release(self, boundary: str) -> None:
        """Let the held job go on; in every worker, and from now on."""
        if boundary in self._held:
            self._held.pop(boundary)[1].set()
        elif boundary == "decode":
            for pid in self._stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            self._stopped.clear()
        else:
            (self.stations / f"{boundary}.go").touch()

    def forget(self, stage: str) -> None:
        """The next job that is told to hold there does so again."""
        for sign in ("at", "go"):
            (self.stations / f"{stage}.{sign}").unlink(missing_ok=True)

    def runs(self) -> int:
        """How many times a predictor has been asked, in all workers."""
        with contextlib.suppress(FileNotFoundError):
            return len((self.stations / "runs").read_text().splitlines())
        return 0

    def wait_for(self, condition: Callable[[], object], worker: WorkerProcess) -> None:
        for _ in range(int(PATIENCE / 0.005)):
            if condition():
                return
            time.sleep(0.005)
        raise AssertionError(f"nothing came; the worker's last lines:\n{worker.tail()}")

    def finished(self, record: Record, worker: WorkerProcess) -> Record:
        self.platform.wait(record.id, PATIENCE)
        assert record.status == "COMPLETED", (record.status, record.error, worker.tail())
        assert [s["text"] for s in record.output["segments"]] == ["Hello there."]
        return record

    def assert_delivered_once(self, record: Record) -> None:
        """Its transcript and its mark lie in the storage under one key each, and nothing else of it."""
        names = [key.rsplit("/", 1)[-1] for key in self.storage.objects() if record.id in key]
        assert sorted(names) == ["result.json", "transcript.json"]

    def assert_no_marks_alone(self) -> None:
        """Every commit mark has its transcript beside it."""
        keys = set(self.storage.objects())
        assert {key.replace("result.json", "transcript.json") for key in self.storage.commits()} <= keys

    def assert_empty(self) -> None:
        assert left_in(self.jobs) == []

    def _halt(self, pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._stopped.append(pid)
            return True
        return False

    def _send(self, connection: socket.socket, _: bytes) -> None:
        if "fetch" in self._held:
            at, go = self._held["fetch"]
            at.set()
            go.wait(PATIENCE)
        connection.sendall(page(wav(1.0), Content_Type="audio/wav"))


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False
