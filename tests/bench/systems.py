"""Systems beside each other, each in a process of its own, and neighbours that compute on the same cores."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

JOB = Path(__file__).parent / "one_job.py"
NEIGHBOUR = """
import numpy
matrix = numpy.random.default_rng(0).standard_normal((600, 600))
print("computing", flush=True)
while True:
    matrix @ matrix
"""
# What the benchmark's own parts are run with, and what would decide here what is to be measured.
LEFT_OUT = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS", "PYTHONPATH")


@dataclass(frozen=True, slots=True)
class Spent:
    """Wall-clock seconds of a job by stage, and the CPU seconds of the whole."""

    seconds: Mapping[str, float]
    cpu_s: float


class System:
    """`with System(checkout, kind) as system: system.job()`; `kind` is worker or stock."""

    def __init__(self, checkout: Path, kind: str, variables: Mapping[str, str] | None = None) -> None:
        self._variables = variables or {}
        self._command = [sys.executable, "-W", "ignore", str(JOB), str(checkout), kind]

    def __enter__(self) -> System:
        env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        env |= {"HF_HUB_OFFLINE": "1", "PYANNOTE_METRICS_ENABLED": "0"} | dict(self._variables)
        # A session of its own is a scheduling group of its own (sched_autogroup), as a container is.
        self._process = subprocess.Popen(
            self._command,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def job(self) -> Spent:
        """Do the job once. Raises RuntimeError when the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.wait()}: run it by hand")
        return Spent(**json.loads(answer))


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """`count` processes of one thread each that multiply matrices of 600 x 600 without a pause."""
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", NEIGHBOUR], env=env, stdout=subprocess.PIPE)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
        yield


def by_turns(systems: Sequence[System], rounds: int) -> list[list[Spent]]:
    """`rounds` jobs of each system; who comes first changes from round to round. One more at the start is not counted."""
    found: list[list[Spent]] = [[] for _ in systems]
    for number in range(rounds + 1):
        order = list(range(len(systems)))
        for place in order if number % 2 else reversed(order):
            spent = systems[place].job()
            if number:
                found[place].append(spent)
    return found
