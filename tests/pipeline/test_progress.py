"""Progress: in order, the newest event only, and nothing after the block."""

from __future__ import annotations

import itertools
import logging
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.pipeline.progress import WEIGHTS, Progress, event

STAGES = ["fetch", "decode", "transcribe", "publish"]


class Sink:
    """Keeps the events. `gate` holds a delivery back until it is set; `seen` tells that one has begun."""

    def __init__(self, held: bool = False) -> None:
        self.events: list[Any] = []
        self.seen = threading.Event()
        self.gate = threading.Event()
        if not held:
            self.gate.set()

    def __call__(self, event: Any) -> None:
        self.seen.set()
        assert self.gate.wait(20)
        self.events.append(event)


@given(st.lists(st.one_of(st.sampled_from([*STAGES, "elsewhere"]), st.floats(-1, 2, allow_nan=False)), max_size=30))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_whatever_is_reported_the_percentage_never_runs_backwards(reports: list[Any]) -> None:
    sink = Sink()
    with Progress(sink, STAGES, interval_s=0.0) as progress:
        for report in reports:
            (progress.stage if isinstance(report, str) else progress.tick)(report)
    percents = [e["percent"] for e in sink.events]
    assert percents == sorted(percents)
    assert all(0 <= e["percent"] <= 100 and 0 <= e["stage_percent"] <= 100 for e in sink.events)


def test_the_stages_share_the_hundred_per_cent_by_their_weights() -> None:
    ends = [event(stage, 1.0, STAGES)["percent"] for stage in STAGES]
    assert ends == sorted(ends)
    assert ends[-1] == 100.0
    for before, after in itertools.pairwise(STAGES):
        assert event(after, 0.0, STAGES)["percent"] == event(before, 1.0, STAGES)["percent"]
    assert event("transcribe", 0.5, STAGES) == {
        "stage": "transcribe",
        "stage_percent": 50.0,
        "percent": round(100 * (8 + WEIGHTS["transcribe"] / 2) / 52, 1),
    }


def test_while_one_event_is_on_its_way_only_the_newest_waits() -> None:
    sink = Sink(held=True)
    with Progress(sink, STAGES, interval_s=0.0) as progress:
        progress.stage("fetch")
        assert sink.seen.wait(20)
        sink.seen.clear()
        for n in range(100):
            progress.tick(n / 100)
        progress.stage("decode")
        sink.gate.set()
        assert sink.seen.wait(20)
    assert [e["stage"] for e in sink.events] in (["fetch", "decode"], ["fetch"])


def test_nothing_is_delivered_after_the_block_and_its_thread_is_gone() -> None:
    sink = Sink()
    with Progress(sink, STAGES, interval_s=60.0) as progress:
        progress.stage("fetch")
        assert sink.seen.wait(20)
        progress.stage("decode")
    progress.stage("publish")
    progress.tick(1.0)
    assert len(sink.events) <= 1
    assert "progress" not in [t.name for t in threading.enumerate()]


def test_a_sink_that_can_be_closed_is_closed_before_its_last_delivery_is_waited_for() -> None:
    class Closing(Sink):
        def close(self) -> None:
            self.gate.set()

    sink = Closing(held=True)
    with Progress(sink, STAGES, interval_s=0.0) as progress:
        progress.stage("fetch")
        assert sink.seen.wait(20)
    assert [e["stage"] for e in sink.events] == ["fetch"]


def test_the_block_waits_for_a_delivery_in_flight() -> None:
    sink = Sink(held=True)
    with Progress(sink, STAGES, interval_s=0.0) as progress:
        progress.stage("fetch")
        assert sink.seen.wait(20)
        threading.Timer(0.1, sink.gate.set).start()
    assert [e["stage"] for e in sink.events] == ["fetch"]


def test_a_sink_that_fails_harms_neither_the_job_nor_later_events(caplog: pytest.LogCaptureFixture) -> None:
    delivered, once, twice = [], threading.Event(), threading.Event()

    def sink(event: Any) -> None:
        delivered.append(event)
        if len(delivered) == 1:
            once.set()
            raise ConnectionError("https://host/?token=secret")
        twice.set()

    with caplog.at_level(logging.WARNING), Progress(sink, STAGES, interval_s=0.0) as progress:
        progress.stage("fetch")
        assert once.wait(20)
        progress.stage("decode")
        assert twice.wait(20)
    assert "ConnectionError" in caplog.text
    assert "secret" not in caplog.text
