"""The cost table of docs/performance.md: arithmetic that a reader can repeat."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "builder"))

from costs import GPUS, MODELS, Gpu, costs, seconds  # noqa: E402


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_a_lighter_decoder_is_never_slower(gpu: Gpu) -> None:
    assert seconds(gpu, MODELS["turbo"]) < seconds(gpu, MODELS["large-v3"])


def test_the_seconds_are_those_of_a_hand_calculation() -> None:
    gpu = Gpu("round", "", 24, 0.001, speed=100, bandwidth=1.0)
    # 372 / 50 + 3.78 / 0.7 + 215 / 35
    assert seconds(gpu, MODELS["large-v3"]) == pytest.approx(7.44 + 5.4 + 6.142857)


def test_a_row_tells_the_seconds_and_their_price() -> None:
    row = next(row for row in costs() if row[0] == "RTX 4090")
    assert row[1:4] == ("ADA_24", "24 GB", "0.00031 $/s")
    assert (
        row[4] == f"{seconds(GPUS[3], MODELS['large-v3']):.0f} s, {seconds(GPUS[3], MODELS['large-v3']) * 0.031:.2f} ¢"
    )


def test_the_pools_offered_on_the_hub_are_priced() -> None:
    offered = json.loads((ROOT / ".runpod" / "hub.json").read_text("utf-8"))["config"]["gpuIds"].split(",")
    assert set(offered) <= {gpu.pool for gpu in GPUS}
