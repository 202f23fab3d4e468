"""The laboratory's table: from every system's scores to rows with their spread, a verdict, Markdown and a plot.

A row is a ratio of two sums over recordings. Its spread is the 95 % interval of 1,000 bootstrap samples of the
recordings (Efron's percentiles); the verdict's is that of the difference, the recordings drawn in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lab.scores import Score

DRAWS, SEED = 1000, 7
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """`of` gives numerator and denominator of one recording's score; `scale` makes the ratio a figure in `unit`.

    A row with the unit "" is told as a count: numerator of denominator.
    """

    material: str
    what: str
    of: Callable[[Score], Pair]
    unit: str = "%"
    scale: float = 100.0
    more: bool = False
    """Whether more is better."""


TALK, PAUSES, NOBODY, FORMS = "conversations", "long pauses", "nobody speaks", "written forms"
NOISY = "noises in the pauses"
ROWS = (
    Row(TALK, "word error rate", lambda s: (s.word_errors, s.words)),
    Row(TALK, "speech with text", lambda s: (s.heard, s.spoken), more=True),
    Row(TALK, "word starts, mean error", lambda s: (sum(s.start_errors), len(s.start_errors)), "ms", 1000),
    Row(TALK, "word ends, mean error", lambda s: (sum(s.end_errors), len(s.end_errors)), "ms", 1000),
    Row(TALK, "words without a time", lambda s: (s.untimed, s.written), ""),
    Row(TALK, "words stretched over a silence", lambda s: (s.stretched, s.written), ""),
    Row(TALK, "words out of order", lambda s: (s.disordered, s.written), ""),
    Row(TALK, "invented words", lambda s: (s.invented, s.written), ""),
    Row(TALK, "diarization error rate", lambda s: (s.diarization_error, s.speech)),
    Row(TALK, "recordings with the right number of speakers", lambda s: (s.right_counts, s.clips), "", more=True),
    Row(TALK, "words without a speaker", lambda s: (s.speakerless, s.written), ""),
    Row(TALK, "words given to another speaker", lambda s: (s.misattributed, s.matched)),
    Row(TALK, "flicker: changes of speaker that are none", lambda s: (s.flicker, s.neighbours), ""),
    Row(TALK, "speakers named rightly, strangers not named", lambda s: (s.named_right, s.people), "", more=True),
    Row(TALK, "speakers given somebody else's name", lambda s: (s.named_wrong, s.people), ""),
    Row(TALK, "enrolled speakers left unknown", lambda s: (s.unknown, s.people), ""),
    Row(PAUSES, "word error rate", lambda s: (s.word_errors, s.words)),
    Row(PAUSES, "speech with text", lambda s: (s.heard, s.spoken), more=True),
    Row(PAUSES, "invented words", lambda s: (s.invented, s.written), ""),
    Row(PAUSES, "invented words that no mark warns of", lambda s: (s.unflagged, s.written), ""),
    Row(PAUSES, "word starts, mean error", lambda s: (sum(s.start_errors), len(s.start_errors)), "ms", 1000),
    Row(PAUSES, "words stretched over a silence", lambda s: (s.stretched, s.written), ""),
    Row(NOISY, "speakers who do not exist", lambda s: (s.nobody, s.listed), ""),
    Row(NOISY, "talk times, error", lambda s: (s.talk_error, s.speech)),
    Row(NOISY, "diarization error rate", lambda s: (s.diarization_error, s.speech)),
    Row(NOISY, "words given to another speaker", lambda s: (s.misattributed, s.matched)),
    Row(NOBODY, "invented words a minute", lambda s: (s.invented, s.seconds), "words", 60),
    Row(NOBODY, "invented words a minute that no mark warns of", lambda s: (s.unflagged, s.seconds), "words", 60),
    Row(FORMS, "words without a time", lambda s: (s.untimed, s.words), ""),
    Row(FORMS, "word starts, mean error", lambda s: (sum(s.start_errors), len(s.start_errors)), "ms", 1000),
)
SYSTEMS = ("stock", "worker", "parity")
Scores = Mapping[str, Mapping[str, Sequence[Score]]]
"""By system and material."""


def table(scores: Scores) -> list[dict[str, Any]]:
    """One dict a row: material, what, unit, more, figures by system, and the verdict on the worker against stock.

    Material that was not listened to has no rows.
    """
    rows = []
    for row in ROWS:
        if not scores["stock"].get(row.material):
            continue
        pairs = {system: _pairs(scores[system][row.material], row) for system in SYSTEMS}
        worse = _difference(pairs["stock"], pairs["worker"], row)
        rows.append(
            {"material": row.material, "what": row.what, "unit": row.unit, "more_is_better": row.more}
            | {system: figure(scores[system][row.material], row) for system in SYSTEMS}
            | {"verdict": worse}
        )
    return rows


def figure(scores: Sequence[Score], row: Row) -> dict[str, float]:
    """value, low, high (the 95 % interval), sum and of: one row over one system's recordings."""
    pairs = _pairs(scores, row)
    low, high = np.percentile(_draws(pairs, row), [2.5, 97.5])
    total = pairs.sum(0)
    figures = {"value": _ratio(total, row), "low": low, "high": high, "sum": total[0], "of": total[1]}
    return {name: round(float(value), 4) for name, value in figures.items()}


def _pairs(scores: Sequence[Score], row: Row) -> np.ndarray:
    return np.array([row.of(s) for s in scores])


def _ratio(total: np.ndarray, row: Row) -> np.ndarray:
    return row.scale * total[..., 0] / np.maximum(total[..., 1], 1e-12)


def _draws(pairs: np.ndarray, row: Row) -> np.ndarray:
    chosen = np.random.default_rng(SEED).integers(0, len(pairs), (DRAWS, len(pairs)))
    return _ratio(pairs[chosen].sum(1), row)


def _difference(stock: np.ndarray, worker: np.ndarray, row: Row) -> str:
    """better, worse or same; and whether the recordings' spread could have made it."""
    digits = 1 if row.unit else 9  # what reads the same is the same
    ours, theirs = (round(float(_ratio(pairs.sum(0), row)), digits) for pairs in (worker, stock))
    if ours == theirs:
        return "same"
    gain = (ours - theirs) * (1 if row.more else -1)
    low, high = np.percentile(_draws(worker, row) - _draws(stock, row), [2.5, 97.5])
    return ("better" if gain > 0 else "worse") + (", within the spread" if low <= 0 <= high else "")


def cell(figure: Mapping[str, float], unit: str) -> str:
    """A figure as people read it: a count of all, or a value with its interval."""
    if not unit:
        return f"{figure['sum']:.0f} of {figure['of']:.0f}"
    digits = 0 if figure["value"] >= 100 else 1
    return f"{figure['value']:.{digits}f} {unit} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table, a heading line a material."""
    lines = ["| | bare WhisperX | this worker | in parity mode | |", "| --- | --- | --- | --- | --- |"]
    material = None
    for row in rows:
        if row["material"] != material:
            material = row["material"]
            lines.append(f"| **{material}** | | | | |")
        cells = [cell(row[system], row["unit"]) for system in SYSTEMS]
        lines.append(f"| {row['what']} | {' | '.join(cells)} | {row['verdict']} |")
    return "\n".join(lines)


def plot(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A small chart a row, each with a scale of its own, the intervals drawn."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns, colours = 4, {"stock": "#b0b0b0", "worker": "#2f6fb0", "parity": "#a9c6e4"}
    figure, axes = plt.subplots(-(-len(rows) // columns), columns, figsize=(14, 1.15 * -(-len(rows) // columns)))
    for axis in axes.flat[len(rows) :]:
        axis.axis("off")
    for axis, row in zip(axes.flat, rows, strict=False):
        for place, (system, colour) in enumerate(colours.items()):
            one = row[system]
            scale = 1.0 if row["unit"] else one["sum"] / one["value"] if one["value"] else 1.0
            axis.barh(-place, one["value"] * scale, color=colour)
            axis.plot([one["low"] * scale, one["high"] * scale], [-place] * 2, color="black", linewidth=0.8)
        axis.set_yticks([0, -1, -2], list(colours), fontsize=6)
        axis.tick_params(axis="x", labelsize=6)
        axis.set_xlim(left=0)
        arrow = "more is better" if row["more_is_better"] else "less is better"
        axis.set_title(f"{row['material']}: {row['what']}\n{row['unit'] or 'count'}, {arrow}", fontsize=6.5)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=110, metadata={"Software": None})
