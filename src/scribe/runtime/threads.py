"""How the numeric libraries share the cores: the variables that they read when they are loaded."""

from __future__ import annotations

from collections.abc import MutableMapping

from scribe.runtime import machine

# Turns of libgomp's wait loop before a thread that waits for its team sleeps. Left alone they are 300 000: 3.3 ms at the
# 10.9 ns of a `pause` that were measured, all of them in vain while the other thread's core is lent to another process.
# 10 000 are 0.1 ms. Measured with `tests/bench/against.py`: recognition beside two busy processes takes 4.3 s with them
# and 9.1 s with 300 000; on quiet cores they cost nothing that shows, where 2000 cost a third of the diarization.
SPIN_TURNS = "10000"


def prepare_threads(environment: MutableMapping[str, str]) -> None:
    """Set what OpenMP and OpenBLAS read when they are loaded; what the operator has set stays.

    Under a quota no more threads than it pays for: the libraries count the host's cores, and the quota then stops all
    their threads. OpenBLAS gets one: NumPy and SciPy multiply small matrices here, and between two of them its threads
    ask for the core again and again instead of sleeping.
    """
    if machine.cpu_quota() is not None:
        environment.setdefault("OMP_NUM_THREADS", str(machine.usable_cores()))
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPIN_TURNS)
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
