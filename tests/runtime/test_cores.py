"""Items shared among the cores: same answers in the same order, one thread each, nothing left behind."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from scribe.runtime.cores import by_core, on_all_cores


@pytest.fixture(autouse=True)
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_answers_come_in_the_items_order_each_computed_with_one_thread_of_the_libraries() -> None:
    both = threading.Barrier(2)

    def run(item: int) -> tuple[int, int, str]:
        both.wait(60)  # two at once, or never
        return item, torch.get_num_threads(), threading.current_thread().name

    found = list(on_all_cores(run, range(8)))
    assert [item for item, _, _ in found] == list(range(8))
    assert {threads for _, threads, _ in found} == {1}
    assert len({name for _, _, name in found}) == 2


def test_the_calling_thread_and_threads_to_come_keep_their_number() -> None:
    list(on_all_cores(abs, range(4)))
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_with_one_core_or_one_item_nothing_leaves_the_calling_thread() -> None:
    here = threading.current_thread()
    assert list(on_all_cores(lambda _: threading.current_thread(), [1])) == [here]
    torch.set_num_threads(1)
    assert list(on_all_cores(lambda _: threading.current_thread(), [1, 2])) == [here, here]


def test_a_bound_on_items_at_once_deals_the_cores_out_to_them() -> None:
    torch.set_num_threads(6)
    running, most = [0], [0]
    lock = threading.Lock()

    def run(_: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threads = torch.get_num_threads()
        with lock:
            running[0] -= 1
        return threads

    assert set(on_all_cores(run, range(20), most=2)) == {3}
    assert most[0] <= 2


def test_what_an_item_raises_comes_in_its_turn_and_no_further_item_begins() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def run(item: int) -> int:
        begun.append(item)
        if item == 1:
            raise ValueError("item 1")
        if item > 1:
            gate.wait(60)
        return item

    answers = on_all_cores(run, range(50))
    assert next(answers) == 0
    gate.set()
    with pytest.raises(ValueError, match="item 1"):
        next(answers)
    done = len(begun)
    assert list(on_all_cores(abs, range(4))) == [0, 1, 2, 3]
    assert len(begun) == done, "what was cancelled ran later"


def test_a_closed_iterator_waits_for_what_runs() -> None:
    running = threading.Event()
    finished: list[int] = []

    def run(item: int) -> int:
        if item:
            running.set()
            finished.append(item)
        return item

    answers = on_all_cores(run, range(30))
    next(answers)
    running.wait(60)
    answers.close()
    count = len(finished)
    list(on_all_cores(abs, range(4)))
    assert len(finished) == count


def test_a_failure_keeps_nothing_of_what_was_computed_alive() -> None:
    class Held:
        pass

    kept: list[weakref.ref[Held]] = []

    def run(item: int) -> int:
        held = Held()
        kept.append(weakref.ref(held))
        raise MemoryError(item)

    gc.disable()
    try:
        with pytest.raises(MemoryError):
            list(on_all_cores(run, range(2)))
        list(on_all_cores(abs, range(4)))
        assert [of() for of in kept] == [None] * len(kept)
    finally:
        gc.enable()


def test_the_jobs_context_and_the_inference_mode_go_along() -> None:
    job: contextvars.ContextVar[str] = contextvars.ContextVar("job", default="none")
    job.set("j1")
    with torch.inference_mode():
        found = list(on_all_cores(lambda _: (job.get(), torch.is_inference_mode_enabled()), range(4)))
    assert set(found) == {("j1", True)}
    assert set(on_all_cores(lambda _: torch.is_inference_mode_enabled(), range(4))) == {False}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_a_batch_in_parts_is_the_batch(count: int) -> None:
    batch, weights = torch.randn(count, 5), torch.randn(count)
    sizes: list[int] = []

    def infer(batch: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        sizes.append(len(batch))
        return batch * 2 if weights is None else batch * weights[:, None]

    shared = by_core(infer)
    assert torch.equal(shared(batch), batch * 2)
    assert torch.equal(shared(batch, weights=weights), batch * weights[:, None])
    assert torch.equal(shared(batch, weights=None), batch * 2)
    assert max(sizes) == -(-count // 2)
    assert np.array_equal(by_core(lambda b: b.numpy())(batch), batch.numpy())
