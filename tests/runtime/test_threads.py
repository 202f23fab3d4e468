"""The libraries' threads: read from the libraries themselves, after the worker has prepared its environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scribe.runtime.threads import SPIN_TURNS, prepare_threads

SRC = Path(__file__).resolve().parents[2] / "src"
# OpenMP prints what it goes by on the standard error when it is loaded.
LOADED = """
import json, os, sys
from scribe.app.environment import prepare_environment
from scribe import settings
prepare_environment(settings.load(None, model_set="demo"))
early = [name for name in ("numpy", "torch", "ctranslate2", "scipy") if name in sys.modules]
import ctranslate2, numpy, scipy.linalg, torch
from threadpoolctl import threadpool_info
pools = [[pool["internal_api"], pool["num_threads"]] for pool in threadpool_info()]
print(json.dumps([early, pools]))
"""
VARIABLES = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS")


def loaded(folder: Path, **own: str) -> tuple[list[str], list[tuple[str, int]], list[str]]:
    """(libraries that were loaded too early, (kind, threads) of every pool, the spin count of every OpenMP)."""
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    own = {"JOBS_DIR": str(folder / "jobs"), "PYTHONPATH": str(SRC), "OMP_DISPLAY_ENV": "verbose", **own}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED], env=env | own, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    early, pools = json.loads(done.stdout.splitlines()[-1])
    return early, [(kind, count) for kind, count in pools], re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)


def test_every_openmp_sleeps_after_a_short_wait_and_openblas_has_no_threads_to_wait_for(tmp_path: Path) -> None:
    early, pools, spins = loaded(tmp_path)
    assert early == []
    assert len(spins) >= 2, "torch and CTranslate2 bring an OpenMP each"
    assert set(spins) == {SPIN_TURNS}
    assert {count for kind, count in pools if kind == "openblas"} == {1}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7", "OPENBLAS_NUM_THREADS": "1"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_NUM_THREADS": "1"}),
        ({"OPENBLAS_NUM_THREADS": "3"}, {"OPENBLAS_NUM_THREADS": "3", "GOMP_SPINCOUNT": SPIN_TURNS}),
    ],
)
def test_what_the_operator_has_set_stays(own: dict[str, str], expected: dict[str, str]) -> None:
    environment = dict(own)
    prepare_threads(environment)
    environment.pop("OMP_NUM_THREADS", None)  # set where the tests themselves run under a quota
    assert environment == expected
