"""A fair (FIFO) lock whose waiters can be cancelled."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from scribe.runtime.monitor import UNWATCHED, Monitor

# Seconds between a waiting job's checks whether it was stopped; the lock itself is handed on without delay.
CHECK_S = 0.2


class FairLock:
    """A lock entered by one thread at a time, in order of arrival: `with lock.turn(monitor): ...`.

    While waiting, `monitor` is checked every `check_s` seconds; what it raises ends the wait.
    """

    def __init__(self, check_s: float = CHECK_S) -> None:
        self._check_s = check_s
        self._guard = threading.Lock()
        # The first entry holds the lock; each Event is set when its owner becomes the first.
        self._queue: deque[threading.Event] = deque()

    @contextlib.contextmanager
    def turn(self, monitor: Monitor = UNWATCHED) -> Iterator[None]:
        """Wait for the lock and hold it for the block. Raises what `monitor` raises."""
        mine = threading.Event()
        with self._guard:
            self._queue.append(mine)
            self._queue[0].set()
        try:
            while not mine.wait(self._check_s):
                monitor.raise_if_stopped()
            yield
        finally:
            with self._guard:
                self._queue.remove(mine)
                if self._queue:
                    self._queue[0].set()

    @property
    def waiting(self) -> int:
        """The number of waiting threads, without the one that holds the lock."""
        with self._guard:
            return max(0, len(self._queue) - 1)

    @property
    def taken(self) -> bool:
        """Whether a thread holds the lock."""
        with self._guard:
            return bool(self._queue)
