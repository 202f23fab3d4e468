"""Where a job's second thread computes beside its first: a CUDA stream of its own, or half as many threads of the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from scribe.runtime import machine
from scribe.runtime.gpu_memory import LEAST_FREE

if TYPE_CHECKING:
    import torch

Overlap = Literal["auto", "off", "on"]

# With fewer, two threads only take turns.
LEAST_CORES = 4


class SideStream:
    """One for the worker. `overlap`: auto asks memory and cores, on does not, off never has room."""

    def __init__(self, device: str, overlap: Overlap = "auto") -> None:
        self._device = device
        self._overlap = overlap
        # One for all jobs: torch keeps the memory that it frees for the stream that it was used on.
        self._stream: torch.cuda.Stream | None = None

    def has_room(self) -> bool:
        """Whether a second thread is worth while now, beside the models that are loaded."""
        if self._overlap != "auto":
            return self._overlap == "on"
        return (
            machine.spare_gpu_memory() >= LEAST_FREE
            if self._device == "cuda"
            else machine.usable_cores() >= LEAST_CORES
        )

    @contextlib.contextmanager
    def second(self) -> Iterator[None]:
        """In the second thread, around all that it computes; what it put on the GPU has ended when the block has.

        CTranslate2's streams wait for the default stream and it for them, so on it the two would only take turns. torch
        creates its own streams with cudaStreamNonBlocking (c10/cuda/CUDAStream.cpp), and those wait for nothing.
        """
        import torch

        if self._device == "cpu":
            # Half for this thread. The first keeps all: CTranslate2's number is fixed when its model is loaded, and with
            # another the last digit of the aligner's scores would change.
            threads = torch.get_num_threads()
            torch.set_num_threads(max(1, threads // 2))
            try:
                yield
            finally:
                # OpenMP counts by thread, but threads that are yet to come take the number that was set last.
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
