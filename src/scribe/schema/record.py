"""Collect what an answer reports besides the transcript: warnings, seconds by stage, models and effective options."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator

from scribe.schema.warnings import JobWarning

log = logging.getLogger(__name__)


class JobRecord:
    """The warnings, timings, models and options of one job; written by the job's own thread.

    `timings` holds seconds by stage, each counted once. `models` holds name@revision by stage. `partial` says that the
    job's deadline cut something short. `options_used` holds the effective options; those that contain speech content or
    speakers' names are added by `use_private`, and `loggable` leaves them out.
    """

    def __init__(self, warnings: Iterable[JobWarning] = ()) -> None:
        self.warnings = list(warnings)
        self.timings: dict[str, float] = {}
        self.models: dict[str, str] = {}
        self.options_used: dict[str, object] = {}
        self.partial = False
        self._private: set[str] = set()
        self._inner_s = 0.0

    def warn(self, code: str, stage: str, message: str) -> None:
        """Add a warning and log it; an equal one is added only once."""
        warning = JobWarning(code, stage, message)
        if warning not in self.warnings:
            self.warnings.append(warning)
            log.info("%s: %s (%s)", stage, message, code)

    def use(self, **options: object) -> None:
        """Record effective options."""
        self.options_used |= options

    def use_private(self, **options: object) -> None:
        """Record effective options that contain speech content or speakers' names: in the answer, never in the log."""
        self.options_used |= options
        self._private |= set(options)

    @property
    def loggable(self) -> dict[str, object]:
        """The effective options that a log may show."""
        return {name: value for name, value in self.options_used.items() if name not in self._private}

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's seconds to the timing `name`, and subtract them from the timing of an enclosing block."""
        began, outer = time.monotonic(), self._inner_s
        self._inner_s = 0.0
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.timings[name] = self.timings.get(name, 0.0) + spent - self._inner_s
            self._inner_s = outer + spent
