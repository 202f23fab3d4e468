"""Runs a command beside busy neighbours: `python tests/neighbours.py [--count 2] command ...`; `with busy_neighbours(2):` does it in code.

A neighbour is a process that multiplies matrices on one thread, as other tenants of a shared machine do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
# Ends when the standard input does, so also when the parent is killed: the reading thread sees the pipe close.
NEIGHBOUR = """
import os, sys, threading
import numpy as np
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
a = np.random.default_rng(0).random((600, 600))
print("busy", flush=True)
while True:
    a @ a
"""


@contextlib.contextmanager
def busy_neighbours(count: int = 2) -> Iterator[None]:
    """Keep `count` processes computing, one thread each, until the block ends."""
    command = [sys.executable, "-c", NEIGHBOUR]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | ONE_THREAD)
        for _ in range(count)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.communicate()


def main() -> int:
    """Run the command and return its exit code; 128 + the number of the signal that ended it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=2, metavar="N", help="how many neighbours (2)")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    wanted = parser.parse_args()
    # Ctrl-C reaches the command as well, which then ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with busy_neighbours(wanted.count):
        code = subprocess.run(
            wanted.command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
        ).returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
