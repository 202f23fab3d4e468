"""The exceptions that end the work on a recording, with a code and a message for the user."""

from __future__ import annotations


class Failure(Exception):
    """The recording failed; the next run starts it again. `code` is the worker's or the client's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Unreachable(Failure):
    """The endpoint or the storage does not answer or denies access. A submitted job stays valid."""


class Broken(Failure):
    """The worker in this process can run no further job."""


class Stopped(Exception):
    """The user pressed Ctrl-C. A submitted job stays valid."""
