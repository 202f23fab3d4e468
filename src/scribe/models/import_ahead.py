"""Import torch and the packages that need it in a background thread, while CTranslate2 works without the GIL."""

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
    """Imports packages in one background thread. Code that imports one of `HEAVY` must call `wait` first: two threads that
    import one package cycle at once can see partially initialised modules."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._imported: dict[str, threading.Event] = {}

    def begin(self, stages: Sequence[str]) -> None:
        """Start importing what these stages need, in this order, unless it is imported or the thread is still running."""
        wanted = [name for stage in stages for name in HEAVY[stage] if name not in sys.modules]
        if wanted and not (self._thread and self._thread.is_alive()):
            self._imported |= {name: threading.Event() for name in wanted}
            self._thread = threading.Thread(target=self._import, args=(wanted,), name="imports", daemon=True)
            self._thread.start()

    def wait(self, stage: str | None = None) -> None:
        """Wait until the thread has finished; with a stage whose packages are all queued, only until those are imported."""
        if stage and all(name in self._imported for name in HEAVY[stage]):
            for name in HEAVY[stage]:
                self._imported[name].wait()
        elif self._thread is not None:
            self._thread.join()

    def _import(self, names: Sequence[str]) -> None:
        for name in names:
            # A failed import raises again in the stage that needs it.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
            self._imported[name].set()
