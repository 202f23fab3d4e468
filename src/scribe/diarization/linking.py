"""Diarize long recordings in overlapping blocks, and link the blocks' speakers to those of the recording.

Two speakers of adjacent blocks who talk at the same times in the overlap are one person. All others are linked by their
embeddings: agglomerative clustering by the mean cosine of all pairs, weighted by clean speech. Two speakers of one block
are never linked, because the diarization of that block distinguished them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scribe.transcript import Turn, alone

Vector = NDArray[np.float64]
Spoken = tuple[Turn, ...]

# Seconds. All embeddings of a block are clustered together; the overlap contains turns of every active speaker.
BLOCK_S = 3600.0
OVERLAP_S = 120.0
# No cut is made this close to the edges of an overlap, in seconds, where fewer windows (of at most ten seconds) cover a frame.
EDGE_S = 10.0
# Two speakers are one if both talk for at least so many seconds, and for half of the time in which either does.
TOGETHER_S = 2.0
TOGETHER = 0.5

# Least mean cosine of the embeddings of one person in two blocks. Not the clustering's own threshold, which in a VBx
# pipeline belongs to its first step, deliberately too fine (community-1: 0.6, a cosine of 0.82). One person's embeddings
# in different sessions have 0.48 to 0.66 (https://github.com/damione1/souffle/pull/74, which chose 0.5), and FluidAudio
# accepts WeSpeaker's down to 0.35; different people have 0 to 0.4. Of the demo pipeline's 74 pairs in one recording, those
# of one person had more than 0.81, of two less than 0.38; its PLDA's log likelihood ratio was above 0 for all of them.
SAME = 0.5


@dataclass(frozen=True, slots=True)
class Block:
    """The diarization of seconds `start` to `end`: turns in recording time, and an embedding for each label."""

    start: float
    end: float
    turns: Spoken
    exclusive: Spoken
    voices: Mapping[str, Vector]


def layout(
    seconds: float, grid_s: float = 1.0, block_s: float = BLOCK_S, overlap_s: float = OVERLAP_S
) -> list[tuple[float, float]]:
    """Return (start, end) of overlapping blocks of equal length, about `block_s` at most, starting at multiples of `grid_s`."""
    if seconds <= block_s:
        return [(0.0, seconds)]
    count = math.ceil((seconds - overlap_s) / (block_s - overlap_s))
    stride = math.floor((seconds - overlap_s) / count / grid_s) * grid_s
    starts = [number * stride for number in range(count)]
    return [(start, start + stride + overlap_s) for start in starts[:-1]] + [(starts[-1], seconds)]


def linked(blocks: Sequence[Block], fewest: int = 1, most: int | None = None) -> list[dict[str, str]]:
    """Return for each block {label: SPEAKER_00, SPEAKER_01, ...}, numbered in order of first speech in the recording.

    Joins speakers whose cosine is at least SAME, the closest first, but not below `fewest` speakers. While there are more
    than `most`, joins the pair with the least cost by Ward's criterion, as k-means, which pyannote uses for a given number:
    speakers with little speech are joined before two who talk for hours.
    """
    nodes = [(number, label) for number, block in enumerate(blocks) for label in _by_first_turn(block)]
    groups = {node: {node} for node in nodes}
    for number, (before, after) in enumerate(itertools.pairwise(blocks)):
        for a, b in same_by_time(before, after):
            _join(groups, (number, a), (number + 1, b))
    voices = {node: _voice(blocks[node[0]], node[1]) for node in nodes}
    while (count := len({id(group) for group in groups.values()})) > fewest:
        pairs = _pairs(groups, voices)
        near = max(pairs, key=lambda p: (p.cosine, p.nodes), default=None)
        if near is not None and near.cosine < SAME:
            near = min(pairs, key=lambda p: (p.cost, p.nodes)) if most is not None and count > most else None
        if near is None:
            break
        _join(groups, *near.nodes)
    order: dict[int, str] = {}
    for node in sorted(nodes, key=lambda n: min(t.start for t in blocks[n[0]].turns if t.label == n[1])):
        order.setdefault(id(groups[node]), f"SPEAKER_{len(order):02d}")
    return [
        {label: order[id(groups[number, label])] for label in _by_first_turn(block)}
        for number, block in enumerate(blocks)
    ]


def same_by_time(before: Block, after: Block) -> list[tuple[str, str]]:
    """Return pairs (label of `before`, label of `after`) who talk at the same times in the overlap; each label at most once."""
    from scipy.optimize import linear_sum_assignment

    start, end = after.start, before.end
    spans = [_spans(block, start, end) for block in (before, after)]
    labels = [list(s) for s in spans]
    score = np.zeros((len(labels[0]), len(labels[1])))
    for (i, a), (j, b) in itertools.product(enumerate(labels[0]), enumerate(labels[1])):
        together = sum(max(0.0, min(e, f) - max(s, t)) for s, e in spans[0][a] for t, f in spans[1][b])
        either = sum(e - s for s, e in (*spans[0][a], *spans[1][b])) - together
        if together >= TOGETHER_S and together >= TOGETHER * either:
            score[i, j] = together
    return [(labels[0][i], labels[1][j]) for i, j in zip(*linear_sum_assignment(-score), strict=True) if score[i, j]]


def joined(blocks: Sequence[Block], names: Sequence[Mapping[str, str]]) -> tuple[Spoken, Spoken]:
    """Join the blocks' (turns, exclusive turns), each block up to a cut in the overlap, in a silence if there is one."""
    cuts = [_cut(before, after) for before, after in itertools.pairwise(blocks)]
    edges = [-math.inf, *cuts, math.inf]
    parts: tuple[list[Turn], list[Turn]] = ([], [])
    for number, (block, new) in enumerate(zip(blocks, names, strict=True)):
        low, high = edges[number], edges[number + 1]
        for part, turns in zip(parts, (block.turns, block.exclusive), strict=True):
            kept = [replace(t, start=max(low, t.start), end=min(high, t.end), label=new[t.label]) for t in turns]
            part.extend(t for t in kept if t.end > t.start)
    return tuple(_healed(parts[0], cuts)), tuple(_healed(parts[1], cuts))


def _by_first_turn(block: Block) -> list[str]:
    return list(dict.fromkeys(t.label for t in block.turns))


def _spans(block: Block, start: float, end: float) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for t in block.turns:
        if min(t.end, end) > max(t.start, start):
            found.setdefault(t.label, []).append((max(t.start, start), min(t.end, end)))
    return found


def _voice(block: Block, label: str) -> tuple[Vector, float]:
    """Return (the unit embedding times its seconds of clean speech, those seconds); zeros without an embedding or without
    clean speech, because an embedding of overlapped speech belongs to no single speaker."""
    voice = np.nan_to_num(np.asarray(block.voices.get(label, np.zeros(1)), float))
    length = float(np.linalg.norm(voice))
    seconds = sum(end - start for start, end in alone(block.turns)[label]) if length else 0.0
    return (voice * (seconds / length), seconds) if seconds else (np.zeros(1), 0.0)


Node = tuple[int, str]


def _join(groups: dict[Node, set[Node]], first: Node, second: Node) -> None:
    both = groups[first] | groups[second]
    for node in both:
        groups[node] = both


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two groups that may be one speaker, given by a node of each: the mean cosine of their embeddings, and Ward's cost of
    joining them."""

    nodes: tuple[Node, Node]
    cosine: float
    cost: float


def _pairs(groups: Mapping[Node, set[Node]], voices: Mapping[Node, tuple[Vector, float]]) -> list[_Pair]:
    """Return all pairs of groups without a block in common. The cosine of an unknown embedding is -1."""
    found = list({id(group): group for group in groups.values()}.values())
    sums = [(group, *_summed(voices[node] for node in sorted(group))) for group in found]
    pairs = []
    for (one, a, u), (other, b, v) in itertools.combinations(sums, 2):
        if {number for number, _ in one}.isdisjoint(number for number, _ in other):
            # Divided by the seconds, not by the sums' lengths: a mean cosine that does not grow with the number of blocks.
            cosine = float(a @ b) / (u * v) if u and v else -1.0
            cost = u * v / (u + v) * (1 - cosine) if u and v else 0.0
            pairs.append(_Pair((min(one), min(other)), cosine, cost))
    return pairs


def _summed(voices: Iterable[tuple[Vector, float]]) -> tuple[Vector, float]:
    known = [(voice, seconds) for voice, seconds in voices if seconds]
    return sum((voice for voice, _ in known), np.zeros(1)), sum(seconds for _, seconds in known)


def _cut(before: Block, after: Block) -> float:
    """Return the middle of the longest silence in the overlap, or of the overlap if there is none."""
    start, end = after.start + EDGE_S, before.end - EDGE_S
    longest = max(_silences(before, after, start, end), key=lambda s: s[1] - s[0], default=None)
    return sum(longest or (after.start, before.end)) / 2


def _silences(before: Block, after: Block, start: float, end: float) -> Iterator[tuple[float, float]]:
    clock = start
    for turn in sorted((*before.turns, *after.turns), key=lambda t: t.start):
        if turn.start > clock and clock < end:
            yield clock, min(turn.start, end)
        clock = max(clock, turn.end)
    if clock < end:
        yield clock, end


def _healed(turns: Sequence[Turn], cuts: Sequence[float]) -> list[Turn]:
    """Sort the turns, and merge two halves of one speaker's turn that were separated by a cut."""
    found: list[Turn] = []
    parted: dict[tuple[float, str], int] = {}
    for turn in turns:
        place = parted.pop((turn.start, turn.label), len(found))
        if place < len(found):
            found[place] = replace(found[place], end=turn.end)
        else:
            found.append(turn)
        if turn.end in cuts:
            parted[turn.end, turn.label] = place
    return sorted(found, key=lambda t: (t.start, t.end))
