"""What every test needs: `src` and `builder` on the path, the demo models, and a clean environment."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# Neither the clock nor chance decides whether a property holds.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT / "src", ROOT / "builder", ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from scribe.runtime.threads import prepare_threads  # noqa: E402 (src is on the path now)

pytest_plugins = ["support.without_models"]

# Libraries read these at import; the suite must never reach for a hub.
# The demo models are small: threads cost them more than they bring. CTranslate2 asks for one a core all the same, and
# waiting ones would spin where other tests compute: as in the worker they soon sleep.
# OMP_THREAD_LIMIT must not be set: torch's kernels that were promised more threads then leave parts of their result unwritten.
os.environ.setdefault("OMP_NUM_THREADS", "1")
prepare_threads(os.environ)
os.environ.update(
    ORT_DISABLE_TELEMETRY="1",
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    PYANNOTE_METRICS_ENABLED="0",
    TOKENIZERS_PARALLELISM="false",
)

# What a test module imports when its tests run models or start programs.
SLOW = {"models", "predictor", "predicted", "stock_models", "WorkerProcess", "Site", "Worker", "subprocess"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files whose tests take long first, so that no process is left with one when the others have ended."""
    items.sort(key=lambda item: SLOW.isdisjoint(vars(getattr(item, "module", item))))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """hypothesis asks every loaded module for its file; SpeechBrain's lazy modules answer by importing k2, which is not there."""
    for module in list(sys.modules.values()):
        if type(module) is not ModuleType and "LazyModule" in {kind.__name__ for kind in type(module).__mro__}:
            vars(module).setdefault("__file__", None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `gpu` without a GPU. No test begins with the smaller batches, the silence or the threads that another one left:
    a network's last digit depends on how many windows a core computes at once."""
    logging.disable(logging.NOTSET)
    torch = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    demo = sys.modules.get("support.demo")
    if demo is not None and demo.models.cache_info().currsize:
        demo.models()._ceilings.clear()
    if item.get_closest_marker("gpu"):
        import ctranslate2

        if not ctranslate2.get_cuda_device_count():
            pytest.skip("there is no NVIDIA GPU here")
