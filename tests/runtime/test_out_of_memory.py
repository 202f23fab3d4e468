"""Memory that does not suffice: the order in which it is freed, what is remembered, and the way back up. No GPU: the work
is a stand-in that counts what it asks for against what others hold."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scribe.errors import Cancelled, GpuBroken, GpuOutOfMemory, MemoryExhausted
from scribe.models.cache import ModelCache, Stage
from scribe.pipeline.context import JobContext
from scribe.pipeline.executor import StageExecutor
from scribe.pipeline.gpu_budget import GpuBudget
from scribe.pipeline.overlap import SideStream
from scribe.pipeline.progress import Progress
from scribe.pipeline.record import JobRecord
from scribe.runtime import gpu_memory
from scribe.runtime import out_of_memory as room
from scribe.runtime.gpu_memory import MOST_UNUSED, give_back_unused
from scribe.runtime.monitor import Monitor
from scribe.runtime.out_of_memory import PATIENCE, Ceiling, Parts, fitted

FULL = "CUDA failed with error out of memory"


class Card:
    """Stands in for a GPU of so much memory: torch's cache, models and work share it. `steps` is what happened."""

    def __init__(self, memory: int, cache: int = 0, models: tuple[int, ...] = ()) -> None:
        self.memory, self.cache, self.models = memory, cache, list(models)
        self.steps: list[Any] = []

    def work(self, size: int) -> str:
        self.steps.append(size)
        if size + self.cache + sum(self.models) > self.memory:
            raise RuntimeError(FULL)
        return f"done by {size}"

    def release(self) -> None:
        self.steps.append("release")
        self.cache = 0

    def drop(self) -> bool:
        if not self.models:
            return False
        self.steps.append("drop")
        self.models.pop(0)
        return True

    def fitted(self, size: int, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
        monkeypatch.setattr(room, "release_memory", self.release)
        return fitted(self.work, size, self.drop)


@pytest.mark.parametrize(
    ("card", "size", "steps"),
    [
        (Card(16), 16, [16]),
        (Card(16, cache=5), 16, [16, "release", 16]),
        (Card(16, models=(4, 4)), 16, [16, "release", 16, "release", "drop", 16, "release", "drop", 16]),
        (Card(16, models=(4, 0)), 16, [16, "release", 16, "release", "drop", 16]),
        (Card(5, models=(4,)), 16, [16, "release", 16, "release", "drop", 16, "release", 8, "release", 4]),
    ],
)
def test_caches_go_first_then_other_models_one_by_one_and_only_then_the_batch_shrinks(
    card: Card, size: int, steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert card.fitted(size, monkeypatch) == (f"done by {steps[-1]}", steps[-1])
    assert card.steps == steps


def failing(words: str) -> Callable[[int], Any]:
    def work(size: int) -> None:
        raise RuntimeError(words)

    return work


@pytest.mark.parametrize(
    ("words", "kind"),
    [(FULL, GpuOutOfMemory), ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`", GpuBroken)],
)
def test_at_the_smallest_batch_a_full_card_is_full_and_one_that_may_be_broken_is_broken(
    words: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        fitted(failing(words), 4)


def test_on_a_cpu_smaller_batches_are_tried_and_then_the_machines_memory_is_blamed() -> None:
    calls: list[int] = []

    def work(size: int) -> None:
        calls.append(size)
        raise MemoryError("std::bad_alloc")

    with pytest.raises(MemoryExhausted, match="the machine's memory") as failed:
        fitted(lambda _: fitted(work, 4))
    assert calls == [4, 4, 2, 1]
    assert (failed.value.code, failed.value.retryable) == ("out_of_memory", True)


def test_what_is_no_matter_of_memory_is_raised_as_it_is_and_at_once() -> None:
    calls: list[int] = []

    def work(size: int) -> None:
        calls.append(size)
        raise error

    for error in (RuntimeError("device-side assert triggered"), ValueError("x"), Cancelled("x")):
        with pytest.raises(type(error)):
            fitted(work, 4)
    assert calls == [4, 4, 4]


def test_of_two_one_inside_the_other_only_the_inner_one_tries_again() -> None:
    calls: list[int] = []

    def work(size: int) -> None:
        calls.append(size)
        raise RuntimeError(FULL)

    with pytest.raises(GpuOutOfMemory):
        fitted(lambda _: fitted(work, 2))
    assert calls == [2, 2, 1]


def test_nothing_that_did_not_fit_is_held_while_it_is_tried_again() -> None:
    class Tensor:
        pass

    kept: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    def work(size: int) -> int:
        alive.append(any(one() is not None for one in kept))
        tensor = Tensor()
        kept.append(weakref.ref(tensor))
        if len(kept) < 3:
            raise RuntimeError(FULL)
        return size

    assert fitted(work, 2)[1] == 1
    assert alive == [False] * 3


def test_a_network_runs_a_batch_in_parts_that_fit_and_begins_the_next_there() -> None:
    sizes: list[int] = []

    def run(of: slice) -> Any:
        sizes.append(of.stop - of.start)
        if of.stop - of.start > 3:
            raise RuntimeError(FULL)
        return np.arange(10)[of]

    parts = Parts()
    assert parts(10, run).tolist() == list(range(10))
    assert sizes == [10, 10, 5, 2, 2, 2, 2, 2]
    sizes.clear()
    assert parts(4, run).tolist() == [0, 1, 2, 3]
    assert sizes == [2, 2]


def test_the_size_that_fitted_is_where_the_next_job_begins_and_grows_back() -> None:
    ceiling = Ceiling()
    assert ceiling.below(16) == 16
    ceiling.learn(16, 4)
    for _ in range(PATIENCE):
        assert ceiling.below(16) == 4
        ceiling.learn(4, 4)
    assert ceiling.below(16) == 8
    for _ in range(PATIENCE):
        ceiling.learn(8, 8)
    assert ceiling.below(16) == 16


def test_a_card_that_stays_full_is_tried_ever_more_rarely() -> None:
    ceiling = Ceiling()
    ceiling.learn(16, 4)
    waited = []
    for _ in range(3):
        jobs = 0
        while ceiling.below(16) == 4:
            ceiling.learn(4, 4)
            jobs += 1
        waited.append(jobs)
        ceiling.learn(8, 4)
    assert waited == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE]


def test_a_short_job_says_nothing_of_larger_batches() -> None:
    ceiling = Ceiling()
    ceiling.learn(16, 8)
    for _ in range(2 * PATIENCE):
        ceiling.learn(2, 2)
    assert ceiling.below(16) == 8


def loaded(*names: str) -> ModelCache:
    shelf = ModelCache()
    for name in names:
        shelf.get(name, lambda name=name: name)  # type: ignore[misc]
    return shelf


def test_the_model_that_was_used_longest_ago_leaves_first_and_the_speech_model_last() -> None:
    shelf = loaded("asr:large-v3", "align:de", "align:en", "diarize", "speaker")
    shelf.get("align:de", lambda: pytest.fail("it is loaded"))
    idle = set(Stage) - {Stage.DIARIZATION}
    left = []
    while shelf.drop_idle(idle):
        left.append(shelf.names())
    assert left == [
        ["asr:large-v3", "align:de", "diarize", "speaker"],
        ["asr:large-v3", "align:de", "diarize"],
        ["asr:large-v3", "diarize"],
        ["diarize"],
    ]


@pytest.mark.models
def test_the_concurrent_stage_pauses_before_a_model_leaves_and_keeps_its_own() -> None:
    class Loaded:
        def drop_idle(self, *in_use: Stage) -> bool:
            kept.append(set(in_use))
            return False

    def until_told(monitor: Monitor) -> None:
        while not over.is_set():
            monitor.raise_if_stopped()
            over.wait(0.002)

    kept: list[set[Stage]] = []
    over = threading.Event()
    context = JobContext(Progress(lambda event: None, []), JobRecord())
    with StageExecutor(context, SideStream("cpu", "on")) as executor:
        clear = GpuBudget(Loaded(), executor).clear(Stage.ALIGNMENT)
        future = executor.submit(until_told)
        assert [clear(), clear()] == [True, False]
        assert kept == [{Stage.ALIGNMENT, Stage.DIARIZATION}]
        over.set()
        future.result()
        clear()
        assert kept[1:] == [{Stage.ALIGNMENT}]


@pytest.mark.parametrize(("unused", "emptied"), [(MOST_UNUSED, []), (MOST_UNUSED + 1, ["emptied"])])
def test_between_jobs_torch_gives_back_what_it_holds_unused(
    unused: int, emptied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 5_000_000_000 + unused)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 5_000_000_000)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    give_back_unused()
    assert done == emptied


def test_a_worker_without_torch_gives_nothing_back_and_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "_torch", lambda: None)
    give_back_unused()
