"""Work shared among the CPU's cores item by item, and not operation by operation.

Left alone, the numeric libraries share every single operation among the cores, and their threads wait for each other after
each: 26 500 times when a minute is diarized with the demo models. Beside a process that computes on the same cores each can
cost a slice of the scheduler's. Here each core computes whole items, with one thread.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Computed = TypeVar("Computed", "torch.Tensor", NDArray[np.float32])
_creation = threading.Lock()


def on_all_cores(
    run: Callable[[Item], Result], items: Sequence[Item], most: int | None = None, device: str = "cpu"
) -> Iterator[Result]:
    """What `run` gives for each item, in their order, on as many cores as the calling thread may use.

    At most `most` items at once, for what memory they take; the cores are then dealt out to those. On another `device` the
    items run one after the other. Raises what an item raised when its turn comes. An iterator that is closed early begins no
    further item, and waits for those that run.
    """
    import torch

    threads = torch.get_num_threads() if device == "cpu" else 1
    workers = min(threads, most or threads)
    if workers < 2 or len(items) < 2:
        yield from map(run, items)
        return
    inference = torch.is_inference_mode_enabled()

    def one(item: Item) -> Result:
        with torch.inference_mode(inference):
            return run(item)

    with _creation:
        pool = _pool(workers, threads // workers)
    # The job's id in the log is a context variable.
    futures: deque[Future[Result]] = deque(pool.submit(contextvars.copy_context().run, one, item) for item in items)
    try:
        while futures:
            # Nothing here keeps the future: a failure's traceback, which leads here, would keep it and so itself.
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
        futures.clear()


def by_core(infer: Callable[..., Computed], device: str = "cpu") -> Callable[..., Computed]:
    """Share a network's batches among the cores; on another `device` the network as it is.

    `infer` takes tensors with the batch first, and gives a tensor or an array.
    """
    if device != "cpu":
        return infer

    @functools.wraps(infer)
    def shared(batch: torch.Tensor, **others: torch.Tensor | None) -> Computed:
        import torch

        size = -(-len(batch) // torch.get_num_threads())
        if size >= len(batch):
            return infer(batch, **others)

        def part(first: int) -> Computed:
            of = slice(first, first + size)
            return infer(batch[of], **{name: v if v is None else v[of] for name, v in others.items()})

        parts = list(on_all_cores(part, range(0, len(batch), size)))
        return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else np.concatenate(parts)

    return shared


@functools.lru_cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """So many workers that compute with so many threads each, all of them alive. One pool for a thread that may use all
    cores, one for a job's second thread: they are few and stay."""
    import torch

    before = torch.get_num_threads()
    alive = threading.Barrier(workers)

    def begin() -> None:
        # Asked first: the first question gives a new thread the number that was set last.
        torch.get_num_threads()
        torch.set_num_threads(threads)
        alive.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="cores")
    wait([pool.submit(begin) for _ in range(workers)])
    # OpenMP counts by thread, but threads that are yet to come take the number that was set last.
    torch.set_num_threads(before)
    return pool
