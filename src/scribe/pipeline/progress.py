"""Deliver progress events in order, throttled, and never after the result.

One thread for each job sends only the newest event. The SDK's own `progress_update` starts a thread for each event: the
posts arrive in any order, and one that arrives after the result leaves the job IN_PROGRESS for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypedDict

log = logging.getLogger(__name__)


class Event(TypedDict):
    """A progress event as `/status` shows it: the stage, the whole job's percentage and the stage's, 0 to 100."""

    stage: str
    percent: float
    stage_percent: float


# Approximate shares of a whole job on a GPU; percentages are relative to the sum over the job's own stages.
WEIGHTS = {"fetch": 5, "decode": 3, "transcribe": 40, "align": 20, "diarize": 25, "name": 3, "publish": 4}

# Seconds that one post may take: name lookup, connection, answer.
LAST_S = 30.0


class Progress:
    """Sends progress events to `sink` from one thread: `with Progress(sink, stages) as p: p.stage("fetch"); p.tick(0.5)`.

    `interval_s` is the least time between two events; entering a stage sends an event without a tick. Leaving the block
    drops the pending event and waits for the thread, at most LAST_S. A sink with a `close` method is closed first, so that
    a post which hangs for longer sends nothing after the result.
    """

    def __init__(self, sink: Callable[[Event], None], stages: Sequence[str], interval_s: float = 1.0) -> None:
        self._sink = sink
        self._interval_s = interval_s
        self._stages = stages
        self._stage = stages[0] if stages else ""
        self._fraction = 0.0
        self._percent = 0.0
        self._latest: Event | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._deliver, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._latest = None
            self._changed.notify()
        close = getattr(self._sink, "close", None)
        if close is not None:
            close()
        self._thread.join(timeout=LAST_S)

    def stage(self, name: str) -> None:
        """Enter a stage; the stages before it count as done."""
        self._put(name, 0.0)

    def tick(self, fraction: float) -> None:
        """Report the fraction done of the current stage, 0 to 1. Thread-safe."""
        with self._changed:
            self._put(self._stage, max(self._fraction, min(1.0, fraction)))

    def _put(self, stage: str, fraction: float) -> None:
        with self._changed:
            if self._closed:
                return
            self._stage, self._fraction = stage, fraction
            latest = event(stage, fraction, self._stages)
            # A stage may be entered for each channel; the percentage never decreases.
            self._percent = max(self._percent, latest["percent"])
            self._latest = {**latest, "percent": self._percent}
            self._changed.notify()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._latest is not None)
                if self._closed or self._latest is None:
                    return
                latest, self._latest = self._latest, None
            try:
                self._sink(latest)
            except Exception as error:
                log.warning("a progress event could not be delivered (%s)", type(error).__name__)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=self._interval_s)


def event(stage: str, fraction: float, stages: Sequence[str]) -> Event:
    """Return the event for a fraction, 0 to 1, of a stage."""
    total = sum(WEIGHTS.get(s, 1) for s in stages) or 1
    before = sum(WEIGHTS.get(s, 1) for s in stages[: stages.index(stage)]) if stage in stages else 0
    done = before + WEIGHTS.get(stage, 1) * fraction
    return {"stage": stage, "percent": round(100 * done / total, 1), "stage_percent": round(100 * fraction, 1)}
