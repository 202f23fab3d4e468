"""What the worker's other modes cost: the same conversations with another beam, and with the voices told apart in 16 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.table import ROWS, TALK, Scores, cell, figure

# Of each mode: what a job or the operator sets for it, the job's options, whether diarization computes in half precision.
MODES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "fast": ("`quality: fast`", {"quality": "fast"}, False),
    "best": ("`quality: best`", {"quality": "best"}, False),
    "half": ("`DIARIZATION_PRECISION=half`", {}, True),
}
SHOWN = (
    "word error rate",
    "speech with text",
    "word starts, mean error",
    "diarization error rate",
    "recordings with the right number of speakers",
    "words given to another speaker",
    "speakers named rightly, strangers not named",
)


def modes_table(scores: Scores, seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """One dict a row: what, unit, figures by system; the last is the time that the conversations took, to the worker's."""
    systems = ("worker", *MODES)
    rows = [
        {"what": row.what, "unit": row.unit} | {system: figure(scores[system][TALK], row) for system in systems}
        for row in ROWS
        if row.material == TALK and row.what in SHOWN
    ]
    return [*rows, {"what": "time"} | {system: round(seconds[system] / seconds["worker"], 2) for system in systems}]


def modes_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table; its first column is the worker as a job gets it that asks for nothing."""
    heads = ["by default", *(told for told, _, _ in MODES.values())]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    for row in rows:
        cells = [
            cell(row[system], row["unit"]) if "unit" in row else f"{row[system]:.2f}" for system in ("worker", *MODES)
        ]
        lines.append(f"| {row['what']} | {' | '.join(cells)} |")
    return "\n".join(lines)
