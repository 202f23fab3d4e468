"""The worker as its own process, under the variables that the platform sets, its output collected."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from .platform import Platform

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = REPOSITORY / "src" / "init_and_run.py"
# What a process needs of its surroundings to run at all; everything else is the caller's to give.
SURROUNDINGS = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "OMP_NUM_THREADS")
LOG_LINES = 20_000
HASTY_SECONDS = 5.0
LOG_PATIENCE_S = 60.0


class NotReady(RuntimeError):
    """The worker left, or took too long, before it asked for its first job."""


def demo_environment(host: str, jobs: Path) -> dict[str, str]:
    """The small models on the CPU, audio allowed from the file server at `host`, workspaces under `jobs`.

    One thread: models this small gain nothing by a second, and two on busy cores wait for each other in spin locks
    (diarizing the conversation took 72 s with two, 11 s with one, on two cores with much else to do).
    """
    return {
        "MODEL_SET": "demo",
        "WHISPERX_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "FETCH_ALLOW_HOSTS": host,
        "JOBS_DIR": str(jobs),
    }


class WorkerProcess:
    """`with` starts the process and waits until it asks `platform` for a job; leaving stops it by SIGTERM.

    `env` is added to the platform's variables and to the few of this process that any program needs. The process
    gets a group of its own: Ctrl-C in a terminal reaches only the caller, who decides, and nothing it started is
    left behind. `log` holds its output, newest last; `on_line` is called with every line, from another thread.
    Leaving raises AssertionError when the worker did not exit with 0; under an exception (Ctrl-C, a failed test) it
    only makes haste, because the worker would finish its job first.
    """

    def __init__(
        self,
        platform: Platform,
        env: Mapping[str, str],
        cwd: Path,
        entry: Path = ENTRY,
        ready_timeout: float = 240.0,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self._platform = platform
        surroundings = {name: os.environ[name] for name in SURROUNDINGS if name in os.environ}
        checks = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}
        self._env = surroundings | checks | platform.environment() | dict(env)
        self.cwd = cwd
        self._entry = entry
        self._ready_timeout = ready_timeout
        self._on_line = on_line
        self._ended = threading.Event()
        self._written = threading.Condition()
        self.log: deque[str] = deque(maxlen=LOG_LINES)

    def __enter__(self) -> WorkerProcess:
        before = self._platform.takes
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(self._entry)],
            cwd=self.cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="worker output", daemon=True)
        self._reader.start()
        try:
            self._platform.until(lambda: self._platform.takes > before or self.ended, self._ready_timeout)
            if self._platform.takes == before:
                how = f"exited with {self._process.wait(30)}" if self.ended else "did not ask for a job in time"
                raise NotReady(f"the worker {how}; its last lines:\n{self.tail()}")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        code = self.stop() if kind is None else self.stop(HASTY_SECONDS)
        if kind is None:
            assert code == 0, f"the worker exited with {code}; its last lines:\n{self.tail()}"

    @property
    def ended(self) -> bool:
        """Whether the process has closed its output, which it does by ending."""
        return self._ended.is_set()

    @property
    def pid(self) -> int:
        return self._process.pid

    def text(self) -> str:
        """All that it has written."""
        return "\n".join(self.log)

    def text_with(self, *marks: str) -> str:
        """All that it has written, once every mark (a regular expression) is in it.

        A line may be read later than the answer that follows it.
        """
        with self._written:
            if not self._written.wait_for(lambda: all(re.search(m, self.text()) for m in marks), LOG_PATIENCE_S):
                raise AssertionError(f"{marks} did not come; the worker's last lines:\n{self.tail()}")
            return self.text()

    def text_of(self, *job_ids: str) -> str:
        """All that it has written, once it has written how each of these jobs ended."""
        return self.text_with(*(f"{job_id}.{{1,20}}job (done in|failed)" for job_id in job_ids))

    def tail(self, lines: int = 40) -> str:
        """The last lines that it has written."""
        return "\n".join(list(self.log)[-lines:])

    def stop(self, timeout: float = 60.0) -> int:
        """SIGTERM, then the exit code; after `timeout` seconds SIGKILL. A second call returns the same code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self._sweep()
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL to the process and to everything it started."""
        self._sweep()
        self._process.wait(30)

    def _sweep(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reader.join(30)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                with self._written:
                    self.log.append(line.rstrip("\n"))
                    self._written.notify_all()
                if self._on_line:
                    self._on_line(self.log[-1])
        self._ended.set()
        self._platform.nudge()
