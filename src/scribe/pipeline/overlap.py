"""Decide whether a job's second thread runs concurrently, and give it a CUDA stream or half of the CPU threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from scribe.runtime import machine
from scribe.runtime.gpu_memory import LEAST_FREE

if TYPE_CHECKING:
    import torch

Overlap = Literal["auto", "off", "on"]

# With fewer CPU cores two threads gain nothing.
LEAST_CORES = 4


class SideStream:
    """The second thread's CUDA stream, one for the worker. `overlap`: auto checks memory and cores, on is always, off never."""

    def __init__(self, device: str, overlap: Overlap = "auto") -> None:
        self._device = device
        self._overlap = overlap
        # Shared by all jobs, because torch caches freed memory by stream.
        self._stream: torch.cuda.Stream | None = None

    def has_room(self) -> bool:
        """Return whether there is GPU memory, or CPU cores, for a second thread now."""
        if self._overlap != "auto":
            return self._overlap == "on"
        return (
            machine.spare_gpu_memory() >= LEAST_FREE
            if self._device == "cuda"
            else machine.usable_cores() >= LEAST_CORES
        )

    @contextlib.contextmanager
    def second(self) -> Iterator[None]:
        """Run the second thread's computations on its stream; queued GPU work is synchronized on exit.

        CTranslate2's streams and the default stream wait for each other, so work on the default stream would not run
        concurrently. torch creates its streams with cudaStreamNonBlocking (c10/cuda/CUDAStream.cpp): those do not wait.
        """
        import torch

        if self._device == "cpu":
            # Half of the threads. The first thread keeps all: CTranslate2's number is fixed when its model is loaded, and
            # another number would change the last digit of the aligner's scores.
            threads = torch.get_num_threads()
            torch.set_num_threads(max(1, threads // 2))
            try:
                yield
            finally:
                # OpenMP's number is per thread, but new threads take the one that was set last.
                torch.set_num_threads(threads)
            return
        stream = self._stream = self._stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.default_stream())
        with torch.cuda.stream(stream):
            try:
                yield
            except BaseException:
                with contextlib.suppress(RuntimeError):
                    stream.synchronize()
                raise
            stream.synchronize()
