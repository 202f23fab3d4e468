"""Models that are loaded once, shared, and dropped on demand."""

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
    """What a loaded model is for. The value is how its name begins, up to a colon."""

    SPEECH = "asr"
    VOICE_ACTIVITY = "vad"
    ALIGNMENT = "align"
    DIARIZATION = "diarize"
    NAMING = "speaker"


def stage_of(name: str) -> Stage:
    """The stage of a model by its name in the cache."""
    return Stage(name.partition(":")[0])


class ModelCache:
    """Models that are loaded once and stay until dropped. Two jobs asking at once load once."""

    def __init__(self) -> None:
        self._models: dict[str, object] = {}
        self._uses: dict[str, int] = {}
        self._lock = threading.RLock()

    def get(self, key: str, load: Callable[[], Loaded]) -> Loaded:
        """The model under `key`, loaded on the first call. What `load` raises is raised, and tried anew next time."""
        with self._lock:
            if key not in self._models:
                began = time.monotonic()
                self._models[key] = load()
                keep_float32()
                log.info("[Predict] loaded %s in %.1f s", key, time.monotonic() - began)
            self._uses[key] = max(self._uses.values(), default=0) + 1
            # One key, one kind of model.
            return cast(Loaded, self._models[key])

    def drop(self, prefix: str) -> None:
        """Forget the models whose key begins so, and give their GPU memory back."""
        with self._lock:
            gone = [key for key in self._models if key.startswith(prefix)]
            for key in gone:
                del self._models[key]
        if gone:
            release_memory()

    def drop_idle(self, idle: Collection[Stage]) -> bool:
        """Forget one model of these stages, the one that was asked for longest ago; whether there was one.

        The speech model comes last: every job needs it, and it takes longest to load.
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
        """The keys of what is loaded."""
        with self._lock:
            return list(self._models)
