"""Release torch's GPU memory and set its precision, if torch is loaded."""

from __future__ import annotations

import gc
import importlib
import sys
from types import ModuleType

# Free bytes needed to diarize during recognition: of the 9.5 GB that the speech model's batches leave for pyannote, the
# part that the aligner leaves. With less the stages run one after the other.
LEAST_FREE = 6_000_000_000
# Bytes that torch may keep cached between jobs: CTranslate2 cannot use them, but allocating again costs milliseconds.
MOST_UNUSED = 1_000_000_000


def keep_float32() -> None:
    """Disable torch's TensorFloat-32, if torch is loaded.

    pyannote disables it for the whole process when it runs, so that other models' results would differ in the last digits
    before and after.
    """
    torch = sys.modules.get("torch")
    # If another thread is still importing torch, the model that needs it waits for that and calls this again.
    if torch is not None and not getattr(torch.__spec__, "_initializing", False):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def release_memory() -> None:
    """Collect garbage, then empty torch's cache: in the other order, memory of unreachable objects would stay."""
    gc.collect()
    torch = _torch()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def give_back_unused() -> None:
    """Empty torch's cache between jobs if it holds more than MOST_UNUSED bytes."""
    torch = _torch()
    if torch is None or not torch.cuda.is_initialized():
        return
    if torch.cuda.memory_reserved() - torch.cuda.memory_allocated() > MOST_UNUSED:
        torch.cuda.empty_cache()


def _torch() -> ModuleType | None:
    """Return torch if it is imported or being imported, else None. Waits for another thread's import to finish, because
    until then the module in sys.modules is incomplete."""
    return importlib.import_module("torch") if "torch" in sys.modules else None
