"""Models that are loaded once, shared, and dropped when told; and the GPU memory that they leave."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")


class Shelf:
    """Models that are loaded once and stay until dropped. Two jobs asking at once load once."""

    def __init__(self) -> None:
        self._models: dict[str, Any] = {}
        self._lock = threading.RLock()

    def get(self, key: str, load: Callable[[], Loaded]) -> Loaded:
        """The model under `key`, loaded on the first call. What `load` raises is raised, and tried anew next time."""
        with self._lock:
            if key not in self._models:
                began = time.monotonic()
                self._models[key] = load()
                keep_float32()
                log.info("[Predict] loaded %s in %.1f s", key, time.monotonic() - began)
            return self._models[key]

    def drop(self, prefix: str) -> None:
        """Forget the models whose key begins so, and give their GPU memory back."""
        with self._lock:
            gone = [key for key in self._models if key.startswith(prefix)]
            for key in gone:
                del self._models[key]
        if gone:
            release_memory()

    def names(self) -> list[str]:
        """The keys of what is loaded."""
        with self._lock:
            return list(self._models)


def keep_float32() -> None:
    """Switch torch's TensorFloat-32 off, where torch is loaded.

    pyannote does so for the whole process whenever it runs: what else runs then, or later, would answer in other digits
    than before it.
    """
    torch = sys.modules.get("torch")
    # One that is still being imported in another thread is for a model to come, whose loading waits for it.
    if torch is not None and not getattr(torch.__spec__, "_initializing", False):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def release_memory() -> None:
    """Collect garbage first, then empty torch's cache: the other order frees nothing that is still referenced."""
    gc.collect()
    torch = _torch()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _torch() -> Any:
    """torch where somebody imports it, and whole: another thread may be at it, and what lies in sys.modules then is half
    of it. The import waits until it is done."""
    return importlib.import_module("torch") if "torch" in sys.modules else None
