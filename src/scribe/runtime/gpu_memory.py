"""GPU memory and precision of torch, where torch is loaded."""

from __future__ import annotations

import gc
import importlib
import sys
from types import ModuleType

# Bytes that a job needs free beside the speech model's batches: of the 9.5 GB that these leave for pyannote, what the aligner
# leaves. With less the stages run one after the other.
LEAST_FREE = 6_000_000_000
# What torch may keep unused between jobs: CTranslate2 cannot use it, and to ask the driver anew costs milliseconds.
MOST_UNUSED = 1_000_000_000


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


def give_back_unused() -> None:
    """Empty torch's cache between jobs, where more than MOST_UNUSED lies in it."""
    torch = _torch()
    if torch is None or not torch.cuda.is_initialized():
        return
    if torch.cuda.memory_reserved() - torch.cuda.memory_allocated() > MOST_UNUSED:
        torch.cuda.empty_cache()


def _torch() -> ModuleType | None:
    """torch where somebody imports it, and whole: another thread may be at it, and what lies in sys.modules then is half
    of it. The import waits until it is done."""
    return importlib.import_module("torch") if "torch" in sys.modules else None
