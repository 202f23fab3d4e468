"""What ends the work on one recording, as a code and a sentence for the person at the terminal."""

from __future__ import annotations


class Failure(Exception):
    """The work on this recording is over; the next run starts it anew. `code` is the worker's or the client's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Unreachable(Failure):
    """The endpoint or the storage does not answer, or lets nobody in. A job that was submitted before stays valid."""


class Stopped(Exception):
    """The person at the terminal pressed Ctrl-C. A job that was submitted before stays valid."""
