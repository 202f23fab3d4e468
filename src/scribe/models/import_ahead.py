"""Imports ahead of their stage: torch and what stands on it take seconds, in which CTranslate2 needs no Python."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Sequence

# What the loaders of each stage import; speech itself needs none of it.
HEAVY: dict[str, tuple[str, ...]] = {
    "silero": (),
    "pyannote": ("torch", "torch.utils.serialization"),
    "align": ("whisperx.alignment",),
    "diarization": ("pyannote.audio",),
    "speakers": ("speechbrain.inference.speaker",),
}


class ImportAhead:
    """One thread for the worker. Everybody who imports one of `HEAVY` waits for it first: two threads in the same packages
    at once could meet in a circle of imports, and then Python hands out modules that are half made."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._there: dict[str, threading.Event] = {}

    def begin(self, stages: Sequence[str]) -> None:
        """Import in the background, in this order, what these stages need, unless it is there or already on its way."""
        wanted = [name for stage in stages for name in HEAVY[stage] if name not in sys.modules]
        if wanted and not (self._thread and self._thread.is_alive()):
            self._there |= {name: threading.Event() for name in wanted}
            self._thread = threading.Thread(target=self._import, args=(wanted,), name="imports", daemon=True)
            self._thread.start()

    def wait(self, stage: str | None = None) -> None:
        """Return when nothing is being imported any more; for a stage that imports nothing else, when its own is there."""
        if stage and all(name in self._there for name in HEAVY[stage]):
            for name in HEAVY[stage]:
                self._there[name].wait()
        elif self._thread is not None:
            self._thread.join()

    def _import(self, names: Sequence[str]) -> None:
        for name in names:
            # What cannot be imported is told by the stage that needs it.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
            self._there[name].set()
