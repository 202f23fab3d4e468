"""Run the jobs of the command and of the Python API in this process, by the worker's own runner."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scribe import settings as settings_module
from scribe.app.environment import prepare_environment
from scribe.app.scratch import scratch
from scribe.app.worker import Worker
from scribe.cli.endpoint import answer_of
from scribe.cli.failure import Broken, Failure
from scribe.cli.means import Means
from scribe.errors import GpuBroken, ShuttingDown, WorkerError
from scribe.net.loopback import LoopbackFiles
from scribe.settings import InvalidSettings, Settings

POLL_S = 0.2


@contextlib.contextmanager
def local(model: str | None) -> Iterator[Means]:
    """Yield the connection and store for the command's jobs on this machine, which may ask for `model`. Raises InvalidSettings."""
    yield means_here(model)


def means_here(model: str | None, own_process: bool = True) -> Means:
    """Return the connection and store for jobs on this machine, which may ask for `model`. Raises InvalidSettings.

    All calls in a process share one worker, whose models are loaded by the first job. `own_process` False leaves alone what
    the caller's own code uses too (see Worker.from_settings); the first call decides it.
    """
    global _machine
    with _creating:
        if _machine is None:
            _machine = _Machine(own_process)
        machine = _machine
    return Means(lambda: LocalConnection(machine, model), LocalStore(machine.files), outlives=False)


def _forget() -> None:
    """Forget the worker in a forked process, to which its threads are not copied."""
    global _creating, _machine
    _creating, _machine = threading.Lock(), None


_machine: _Machine | None = None
_creating = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def settings_here(host: str, model: str | None = None) -> Settings:
    """Return the settings without the platform and the storage, so that nothing is uploaded. Raises InvalidSettings."""
    # Left out before they are checked, because what is not used may be incomplete.
    unused = dict.fromkeys(
        ("storage_endpoint", "storage_bucket", "storage_access_key", "storage_secret_key")
        + ("runpod_endpoint_id", "runpod_pod_id", "runpod_gpu_count")
    )
    settings = _allowing(settings_module.load(**unused, storage_source_prefixes=()), model)
    quiet = settings.console_log_level is None and not settings.debug
    return settings.model_copy(
        update={
            "fetch_allow_hosts": (*settings.fetch_allow_hosts, host),
            "console_log_level": "ERROR" if quiet else settings.console_log_level,
            "result_max_bytes": sys.maxsize,
            "warmup": (),
        }
    )


def _allowing(settings: Settings, model: str | None) -> Settings:
    return settings.model_copy(update={"allowed_models": (*settings.allowed_models, model)}) if model else settings


class _Machine:
    """The worker in this process, created by the first job, and the folder and server that its jobs use."""

    def __init__(self, own_process: bool) -> None:
        self.identity = f"local/{uuid.uuid4().hex}"  # random, because a job ends with its process and must not be found by another one
        self._own_process = own_process
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        with contextlib.ExitStack() as stack:
            self.files = stack.enter_context(LoopbackFiles())
            settings = settings_here(self.files.host)
            prepare_environment(settings, export_jobs_dir=False)
            if "jobs_dir" not in settings.model_fields_set:
                settings = settings.model_copy(update={"jobs_dir": stack.enter_context(scratch())})
            self._settings = settings
            atexit.register(_close, stack.pop_all(), os.getpid())

    def worker(self, model: str | None) -> Worker:
        """Return the worker, created on the first call; jobs may ask it for `model`. Raises Failure."""
        with self._lock:
            if self._worker is None:
                try:
                    self._worker = Worker.from_settings(_allowing(self._settings, model), self._own_process)
                except WorkerError as error:
                    raise Failure(error.code, error.message) from None
                except InvalidSettings as error:
                    raise Failure("invalid_settings", str(error)) from None
            elif model is not None:
                self._worker.models.model_set.allow(model)
            return self._worker


def _close(stack: contextlib.ExitStack, process: int) -> None:
    """Close the stack at the end of its own process, but not at that of a fork."""
    if os.getpid() == process:
        stack.close()


class LocalConnection:
    """A Connection whose jobs run in this process, while they are watched."""

    def __init__(self, machine: _Machine, model: str | None) -> None:
        self._machine = machine
        self._model = model
        self._jobs: dict[str, dict[str, Any]] = {}

    @property
    def identity(self) -> str:
        """The name under which job ids are stored."""
        return self._machine.identity

    def submit(self, job: Mapping[str, Any]) -> str:
        """Accept a job and return its id; `watch` runs it."""
        job_id = uuid.uuid4().hex
        self._jobs[job_id] = {"id": job_id, **job}
        return job_id

    def watch(
        self, job_id: str, on_progress: Callable[[Mapping[str, Any]], None], wait: Callable[[float], None]
    ) -> dict[str, Any] | None:
        """Run the job and return its answer; None for an unknown id. `wait` may raise, which ends the job. Raises Failure."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return None
        events: deque[Mapping[str, Any]] = deque([{"stage": "load", "percent": 0.0}], maxlen=1)
        cancel = threading.Event()
        with ThreadPoolExecutor(1, "local-job") as pool:
            future = pool.submit(lambda: self._machine.worker(self._model).runner.run(job, cancel, events.append))
            try:
                while not future.done():
                    if events:
                        on_progress({"status": "IN_PROGRESS", "output": events.popleft()})
                    wait(POLL_S)
            except BaseException:
                cancel.set()
                raise
        answer = future.result()
        if answer.get("code") in (GpuBroken.code, ShuttingDown.code):
            # The runner refuses all jobs after a GpuBroken, because only a new process can use the GPU again.
            raise Broken(GpuBroken.code, "The GPU failed and works only in a new process: start the program again.")
        if "error" in answer:
            return answer_of({"status": "FAILED", "error": answer["error"], "output": answer})
        return answer_of({"status": "COMPLETED", "output": answer})


class LocalStore:
    """A Store that copies nothing: a job on this machine reads the recording from its path."""

    signs_links = True
    keeps_results = False

    def __init__(self, files: LoopbackFiles) -> None:
        self._files = files
        self._paths: dict[str, Path] = {}
        self._links: dict[str, list[str]] = {}

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None]) -> bool:
        """Register the file's path under the key."""
        self._paths[key] = path
        return False

    def link(self, key: str) -> str:
        """Return a URL on 127.0.0.1 that reads the file."""
        address = self._files.add(self._paths[key])
        self._links.setdefault(key, []).append(address)
        return address

    def read(self, key: str) -> bytes | None:
        """Return None, because nothing is stored."""
        return None

    def committed(self, job_id: str) -> dict[str, Any] | None:
        """Return None, because nothing is stored."""
        return None

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the keys and their URLs; the files are not deleted."""
        for key in keys:
            self._paths.pop(key, None)
            for address in self._links.pop(key, ()):
                self._files.remove(address)
