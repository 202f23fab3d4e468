"""Interrupt a blocking network call at a deadline or when the job is cancelled, by shutting down its socket.

A timeout for each read is not enough: a server that sends one byte a second never exceeds it, and a cancelled job must
not wait for a silent server.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from scribe.errors import FetchFailed

POLL_S = 0.25  # between two checks of the deadline and the job's stop signal


class Watch:
    """Calls `check` four times a second until the block ends; `deadline` is a time.monotonic() value.

    When `check` raises or the deadline passes, the held socket is shut down, which wakes a thread blocked on it, and
    `raise_if_stopped` raises the reason.
    """

    def __init__(self, deadline: float, check: Callable[[], None]) -> None:
        self._deadline, self._check = deadline, check
        self._reason: Exception | None = None
        self._held: socket.socket | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="request-watch")

    def __enter__(self) -> Watch:
        self._look()
        self.raise_if_stopped()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._held:
            self._held.close()

    def hold(self, sock: socket.socket) -> None:
        """Watch this socket from now on, by a duplicated handle that TLS does not take over."""
        with self._lock:
            if self._held:
                self._held.close()
            self._held = sock.dup()
        self.raise_if_stopped()

    def remaining(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def raise_if_stopped(self) -> None:
        """Raise what `check` raised, or FetchFailed with reason `deadline` once the deadline has passed.

        The clock is read here too, because a socket timeout set to the remaining time may wake its reader before the
        thread checks.
        """
        if self._reason is None and time.monotonic() >= self._deadline:
            self._reason = FetchFailed("the server was too slow for the time given", {"reason": "deadline"})
        if self._reason:
            raise self._reason

    def _look(self) -> None:
        try:
            self._check()
            self.raise_if_stopped()
        except Exception as error:
            self._reason = error

    def _run(self) -> None:
        while not self._over.wait(min(POLL_S, self.remaining())):
            self._look()
            if self._reason:
                with self._lock, contextlib.suppress(OSError):
                    if self._held:
                        self._held.shutdown(socket.SHUT_RDWR)
                return
