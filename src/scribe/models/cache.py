"""Cache of loaded models: each is loaded once, shared by all jobs and dropped when its memory is needed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from enum import Enum
from typing import TypeVar, cast

from scribe.runtime.gpu_memory import keep_float32, release_memory

log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")


class Stage(Enum):
    """The stage that a loaded model belongs to. The value is the part of its cache key before the colon."""

    SPEECH = "asr"
    VOICE_ACTIVITY = "vad"
    ALIGNMENT = "align"
    DIARIZATION = "diarize"
    NAMING = "speaker"


def stage_of(name: str) -> Stage:
    """Return the stage of a model by its cache key. Raises ValueError for an unknown one."""
    return Stage(name.partition(":")[0])


class ModelCache:
    """Loaded models by key, kept until dropped. When two jobs ask for one at once, it is loaded once."""

    def __init__(self) -> None:
        self._models: dict[str, object] = {}
        self._uses: dict[str, int] = {}
        self._lock = threading.RLock()

    def get(self, key: str, load: Callable[[], Loaded]) -> Loaded:
        """Return the model under `key`; call `load` if it is not loaded yet. What `load` raises is raised and not cached."""
        with self._lock:
            if key not in self._models:
                began = time.monotonic()
                self._models[key] = load()
                keep_float32()
                log.info("[Predict] loaded %s in %.1f s", key, time.monotonic() - began)
            self._uses[key] = max(self._uses.values(), default=0) + 1
            # The cast holds because each key is always loaded as the same type.
            return cast(Loaded, self._models[key])

    def drop(self, prefix: str) -> None:
        """Drop the models whose key begins with `prefix` and release their GPU memory."""
        with self._lock:
            gone = [key for key in self._models if key.startswith(prefix)]
            for key in gone:
                del self._models[key]
        if gone:
            release_memory()

    def drop_idle(self, idle: Collection[Stage]) -> bool:
        """Drop the least recently used model of these stages; return whether there was one.

        The speech model is dropped last: every job needs it, and it takes longest to load.
        """
        with self._lock:
            found = [name for name in self._models if stage_of(name) in idle]
            if not found:
                return False
            oldest = min(found, key=lambda name: (stage_of(name) is Stage.SPEECH, self._uses.get(name, 0)))
            log.warning("[Predict] %s is dropped: its memory is needed", oldest)
            self.drop(oldest)
            return True

    def names(self) -> list[str]:
        """Return the keys of the loaded models."""
        with self._lock:
            return list(self._models)
