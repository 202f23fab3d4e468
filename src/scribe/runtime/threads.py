"""Set the environment variables by which the numeric libraries choose their threads."""

from __future__ import annotations

from collections.abc import MutableMapping

from scribe.runtime import machine

# Iterations of libgomp's spin loop before a waiting thread sleeps. The default of 300 000 spins for 3.3 ms (10.9 ns each
# as measured), wasted when the awaited thread's core runs another process; 10 000 spin for 0.1 ms. Measured with
# `tests/bench/against.py`: recognition while two other processes are busy takes 4.3 s instead of 9.1 s. On idle cores
# 10 000 cost nothing measurable, and 2000 a third of the diarization's time.
SPIN_TURNS = "10000"


def prepare_threads(environment: MutableMapping[str, str]) -> None:
    """Set the variables that OpenMP and OpenBLAS read when they are loaded; those set by the operator are kept.

    Under a CPU quota there are no more threads than it allows: the libraries count the host's cores, and more threads than
    the quota get the process throttled. OpenBLAS gets one thread, because NumPy and SciPy multiply small matrices here,
    and between two of them its threads spin instead of sleeping.
    """
    if machine.cpu_quota() is not None:
        environment.setdefault("OMP_NUM_THREADS", str(machine.usable_cores()))
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPIN_TURNS)
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
