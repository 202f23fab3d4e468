"""Find the best (Viterbi) path of a text's letters through an aligner's frames, with arrays instead of whisperX's loops.

A letter takes one frame when it is entered, and frames of blank while it lasts. The recursion, its borders and its ties
are those of whisperx.alignment's get_trellis and backtrack (after torchaudio's forced alignment tutorial). Decisions are
stored instead of scores, which makes backtracking fast.

Unlike in whisperX, a letter may be *open*: it then lasts through any sound and not only through blank. A "7" is one
letter of the text and five of the sound; with blank alone it would take a frame or two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int_]
# Of two ends whose scores differ by less than this, the earlier one is chosen: after the last letter there is only blank.
AS_GOOD = 0.01


class LetterSpan(NamedTuple):
    """The frames `start` (inclusive) to `end` (exclusive) of a letter; `score` is its mean probability in them, 0 to 1."""

    start: int
    end: int
    score: float


def with_wildcard(emission: Scores, blank: int) -> Scores:
    """Append a column for letters outside the vocabulary to the emission (frames, letters): the best score but blank's."""
    others = np.delete(emission, blank, axis=1)
    return np.concatenate([emission, others.max(axis=1, keepdims=True)], axis=1)


def letter_spans(
    batch: Sequence[tuple[Scores, Sequence[int]]], blank: int, lasting: Sequence[Sequence[bool]] | None = None
) -> list[list[LetterSpan] | None]:
    """Return for each (emission, letters) a span for each letter, in order; None if the letters do not fit into the frames.

    `emission`: (frames, columns) float32 log-probabilities; `letters`: at least one column number. Several are computed
    in one loop, because NumPy's calls take longer than their arithmetic; results do not depend on the batch. `lasting`:
    for each letter whether it is open. With an open letter the frames after the last letter count as blank, like those
    before the first; otherwise they cost nothing, and an open letter at the end would be left at once.
    """
    is_open = [np.asarray(flags, bool) for flags in lasting] if lasting else [np.zeros(len(b[1]), bool) for b in batch]
    moves, last = _decisions(batch, blank, is_open)
    found: list[list[LetterSpan] | None] = []
    for number, (emission, letters) in enumerate(batch):
        frames, count = len(emission), len(letters)
        total = last[: frames + 1, number]
        if is_open[number].any():
            behind = np.cumsum(emission[::-1, blank], dtype=np.float64)[::-1]
            padded = total + np.append(behind, 0.0)
            end = int(np.argmax(padded >= float(np.max(padded)) - AS_GOOD))
        else:
            end = int(np.argmax(total))
        path = _walk(np.ascontiguousarray(moves[:end, number, :count]), end)
        found.append(None if path is None else _spans(emission, np.asarray(letters), blank, *path))
    return found


def _decisions(
    batch: Sequence[tuple[Scores, Sequence[int]]], blank: int, is_open: Sequence[Flags]
) -> tuple[Flags, Scores]:
    """Return (whether the best path to a letter at a frame enters it there: (frames, batch, letters) bool,
    the scores of the last letters: (frames + 1, batch)); shorter items are padded at their end."""
    frames, count = max(len(e) for e, _ in batch), max(len(letters) for _, letters in batch)
    any_open = any(flags.any() for flags in is_open)
    stay = np.zeros((frames, len(batch), count if any_open else 1), np.float32)
    enter = np.zeros((frames, len(batch), count), np.float32)
    silence = np.zeros((frames + 1, len(batch)), np.float32)
    ends = np.array([len(letters) for _, letters in batch])
    for number, (emission, letters) in enumerate(batch):
        own = len(emission)
        stay[:own, number] = emission[:, [blank]]
        if is_open[number].any():
            stay[:own, number, : len(letters)][:, is_open[number]] = emission.max(axis=1, keepdims=True)
        enter[:own, number, : len(letters)] = emission[:, letters]
        # torch sums float32 in double precision.
        silence[1 : own + 1, number] = np.cumsum(emission[:, blank], dtype=np.float64)
        # Too late to start, because the letters would no longer fit: infinity, as in whisperX, so that backtracking fails.
        silence[: own + 1, number][-len(letters) :] = np.inf
    row = np.full((len(batch), count + 1), -np.inf, np.float32)
    stayed, entered = np.empty_like(enter[0]), np.empty_like(enter[0])
    moves, last = np.empty(enter.shape, bool), np.empty((frames + 1, len(batch)), np.float32)
    at_end = np.arange(len(batch)) * (count + 1) + ends
    last[0] = row.take(at_end)
    first, before, now = row[:, 0], row[:, :-1], row[:, 1:]
    for quiet, held, entry, moved, reached in zip(silence[:-1], stay, enter, moves, last[1:], strict=True):
        first[:] = quiet
        np.add(now, held, out=stayed)
        np.add(before, entry, out=entered)
        np.greater(entered, stayed, out=moved)
        np.maximum(stayed, entered, out=now)
        row.take(at_end, out=reached, mode="clip")  # other modes copy the array
    return moves, last


def _walk(moves: Flags, end: int) -> tuple[int, Numbers] | None:
    """Backtrack: return (the first frame of the path, the letter of each frame from there to `end`); None if there is none.

    A letter that is entered is given as its number, one that lasts as -1 - its number.
    """
    count = moves.shape[1]
    flags, letter = moves.tobytes(), count - 1
    held: list[int] = []
    for frame in range(end - 1, -1, -1):
        if flags[frame * count + letter]:
            held.append(letter)
            if letter == 0:
                return frame, np.array(held[::-1])
            letter -= 1
        else:
            held.append(-1 - letter)
    return None


def _spans(emission: Scores, letters: Numbers, blank: int, first: int, steps: Numbers) -> list[LetterSpan]:
    entering = steps >= 0
    letter = np.where(entering, steps, -1 - steps)
    frames = np.arange(first, first + len(steps))
    score = np.exp(emission[frames, np.where(entering, letters[letter], blank)]).astype(np.float64)
    starts = np.flatnonzero(np.diff(letter, prepend=-1))
    ends = np.append(starts[1:], len(steps))
    means = np.add.reduceat(score, starts) / (ends - starts)
    return list(map(LetterSpan, (first + starts).tolist(), (first + ends).tolist(), means.tolist()))
