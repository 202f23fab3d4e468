"""A minute's job stage by stage, on quiet cores and beside two processes that compute on them without a pause."""

from __future__ import annotations

from pathlib import Path

from bench.row import Row
from bench.systems import System, by_turns, neighbours

ROOT = Path(__file__).resolve().parents[3]
STAGES = ("recognition", "alignment", "diarization", "naming")
ROUNDS = 5
# Beside the same neighbours no stage may take more than 1.5 times what it takes whisperX.
TARGET = 1 / 1.5


def measure() -> list[Row]:
    rows: list[Row] = []
    with System(ROOT, "stock") as stock, System(ROOT, "worker") as ours:
        for count, where in ((0, "quiet cores"), (2, "beside two busy processes")):
            with neighbours(count):
                theirs, own = by_turns((stock, ours), ROUNDS)
            for stage in STAGES:
                told = tuple(spent.seconds[stage] for spent in theirs if stage in spent.seconds)
                seconds = tuple(spent.seconds[stage] for spent in own)
                target = TARGET if count and told else None
                note = "with voice activity" if stage == "recognition" else "" if told else "whisperX has none"
                rows.append(Row(f"{stage} of a minute, {where}", seconds, told, target, note=note))
    return rows
