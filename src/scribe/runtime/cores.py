"""Distribute work over the CPU cores by item, instead of by operation.

By default the numeric libraries split every single operation among the cores, and their threads wait for each other after
each: 26 500 times when a minute is diarized with the demo models. When another process uses the same cores, each wait can
cost a time slice of the scheduler. Here each core computes whole items, with one thread.
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
    """Yield `run(item)` for each item, in order, computed on as many cores as the calling thread may use.

    At most `most` items run at once, to limit memory; the cores are then divided among those. On another `device` than
    cpu the items run one after the other. Raises what an item raised, in order. Closing the iterator early starts no
    further item and waits for those that run.
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
    # Copied because the job's id in the log is a context variable.
    futures: deque[Future[Result]] = deque(pool.submit(contextvars.copy_context().run, one, item) for item in items)
    try:
        while futures:
            # Keep no reference to the future: a failure's traceback refers to this frame, which would be a reference cycle.
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
        futures.clear()


def by_core(infer: Callable[..., Computed], device: str = "cpu") -> Callable[..., Computed]:
    """Wrap a network so that the cores share each batch; on another `device` than cpu return it unchanged.

    `infer` takes tensors with the batch as first dimension, and returns a tensor or an array.
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
    """Return a pool of running workers that compute with `threads` threads each.

    Pools are cached and never closed: there are only two kinds, for a thread that may use all cores and for a job's
    second thread.
    """
    import torch

    before = torch.get_num_threads()
    alive = threading.Barrier(workers)

    def begin() -> None:
        # Called first, because the first call sets a new thread's number to the one that was set last.
        torch.get_num_threads()
        torch.set_num_threads(threads)
        alive.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="cores")
    wait([pool.submit(begin) for _ in range(workers)])
    # OpenMP's number is per thread, but new threads take the one that was set last.
    torch.set_num_threads(before)
    return pool
