"""A clock that a test moves forward: a deadline passes when something has happened, and not while a busy machine is slow."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

Answer = Callable[[socket.socket, bytes], None]


class SkippingClock:
    """Stands in for a module's `time`: the monotonic clock plus what was skipped."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    def skip(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self._skipped += seconds

    def after(self, answer: Answer, seconds: float = 3600.0) -> Answer:
        """The same answer of a server, given once the request has arrived and `seconds` have passed."""

        def late(connection: socket.socket, request: bytes) -> None:
            self.skip(seconds)
            answer(connection, request)

        return late
