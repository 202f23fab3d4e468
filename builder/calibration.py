"""From likenesses of voices to a threshold and a margin: how often a stranger is named, and a known voice is not. Pure.

A *talk* is some seconds of one person's speech, held against the enrolled voices: the person's own, made of other
recordings, and those of all others. A name is given as the worker gives it (speaker_processing.match, for one speaker):
to the best voice, from the threshold on, with the margin's lead over the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.round(np.arange(-0.2, 1.0, 0.01), 2)
MARGINS = np.round(np.arange(0.0, 0.505, 0.01), 2)
WRONG_COSTS = 3.0
"""So many missing names weigh as much as one wrong name: who reads a transcript cannot see that a name is wrong."""


@dataclass(frozen=True, slots=True)
class Talks:
    """One row a talk. `own`: cosine with the person's own voice; `first`, `second`: the two best of the others' (-1: none)."""

    own: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, trials: Sequence[tuple[float, Sequence[float]]]) -> Talks:
        """Of (own cosine, cosines with the others) by talk; there is at least one other."""
        best = np.array([(sorted(others, reverse=True) + [-1.0])[:2] for _, others in trials])
        return cls(np.array([own for own, _ in trials]), best[:, 0], best[:, 1])


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of the talks, 0 to 1, at one threshold and margin."""

    unnamed: float
    """False rejects: the person is enrolled and gets no name."""
    misnamed: float
    """The person is enrolled and gets somebody else's name."""
    stranger_named: float
    """False accepts: the person is not enrolled, the others are, and one of their names is given."""

    @property
    def cost(self) -> float:
        return WRONG_COSTS * (self.stranger_named + self.misnamed) + self.unnamed


def rates(talks: Talks, threshold: float, margin: float) -> Rates:
    """What happens to the talks at this threshold and margin."""
    right = (talks.own >= threshold) & (talks.own - talks.first >= margin) & (talks.own >= talks.first)
    runner_up = np.maximum(talks.own, talks.second)
    misnamed = (talks.first > talks.own) & (talks.first >= threshold) & (talks.first - runner_up >= margin)
    stranger = (talks.first >= threshold) & (talks.first - talks.second >= margin)
    return Rates(float((~right & ~misnamed).mean()), float(misnamed.mean()), float(stranger.mean()))


def recommended(talks: Talks) -> tuple[float, float]:
    """(threshold, margin): where wrong and missing names together cost least, first over the thresholds without a margin,
    then over the margins. Where that is a whole stretch, its middle: either side of it may move with other recordings."""
    threshold = _middle(THRESHOLDS, [rates(talks, t, 0.0).cost for t in THRESHOLDS])
    return threshold, _middle(MARGINS, [rates(talks, threshold, m).cost for m in MARGINS])


def _middle(places: np.ndarray, costs: Sequence[float]) -> float:
    """The middle of the first stretch of least cost."""
    least = np.isclose(costs, min(costs), rtol=0, atol=1e-9)
    first = int(np.argmax(least))
    length = int(np.argmin(np.append(least[first:], False)))
    return float(places[first + (length - 1) // 2])


def certain_below(count: int) -> float:
    """The rule of three: what was never seen in `count` trials happens in less than 3 / count, with 95 % certainty."""
    return min(1.0, 3 / count)
