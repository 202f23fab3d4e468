"""Ordered, throttled progress that ends before the result does.

One thread a job delivers the newest event and nothing older: the SDK's own `progress_update` starts a thread an
event, whose posts arrive in any order and can land after the result, which leaves the job IN_PROGRESS for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypedDict

log = logging.getLogger(__name__)


class Event(TypedDict):
    """Where a job is, as `/status` shows it: the stage, its own percentage and the whole job's, 0 to 100."""

    stage: str
    percent: float
    stage_percent: float


# Shares of a whole job on one GPU, roughly; only their sum over the job's own stages matters for the percentage.
WEIGHTS = {"fetch": 5, "decode": 3, "transcribe": 40, "align": 20, "diarize": 25, "name": 3, "publish": 4}

# What one post may take: looking up the name, connecting, waiting for the answer.
LAST_S = 30.0


class Progress:
    """`with Progress(sink, stages) as p: p.stage("fetch"); p.tick(0.5)`. The sink is called from one thread, in order.

    `interval_s` is the least time between two deliveries; a new stage is delivered without waiting for a tick.
    Leaving the block delivers nothing more and waits for the thread, LAST_S at most. What hangs for longer must not begin
    to send then: a sink that has a `close` method is closed first, so that no event can follow the result.
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
        """0 to 1 of the current stage. May be called from any thread."""
        with self._changed:
            self._put(self._stage, max(self._fraction, min(1.0, fraction)))

    def _put(self, stage: str, fraction: float) -> None:
        with self._changed:
            if self._closed:
                return
            self._stage, self._fraction = stage, fraction
            latest = event(stage, fraction, self._stages)
            # A stage may be entered once a channel; what a person watches never runs backwards.
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
    """The event as `/status` shows it: the stage, its own percentage and the whole job's, 0 to 100."""
    total = sum(WEIGHTS.get(s, 1) for s in stages) or 1
    before = sum(WEIGHTS.get(s, 1) for s in stages[: stages.index(stage)]) if stage in stages else 0
    done = before + WEIGHTS.get(stage, 1) * fraction
    return {"stage": stage, "percent": round(100 * done / total, 1), "stage_percent": round(100 * fraction, 1)}
