"""Split segments into timed pieces between which a line may be broken, and wrap pieces into lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from scribe.formats.options import TextOptions
from scribe.formats.text import clusters, columns, inseparable, one_line, unspaced
from scribe.formats.times import milliseconds
from scribe.transcript import Segment

_SENTENCE_ENDS = frozenset(".?!。？！؟।…‥｡")
_CLAUSE_ENDS = frozenset(",;:、，；：،؛—–")
# Characters on either side that decide whether a line may be broken between two words; using all takes quadratic time.
NEAR = 16
Lines = tuple[tuple["Piece", ...], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A word or a part of one that stays on one line. Times in milliseconds; `space`: a space precedes it; `doubtful`:
    its segment may be invented."""

    text: str
    start: int
    end: int
    width: int
    space: bool = True
    spoken: bool = True
    label: str | None = None
    doubtful: bool = False


class Shown(NamedTuple):
    """A word as it is shown. `space`: a space precedes it; `overlap`: two speak; `score` is the aligner's."""

    text: str
    start: float
    end: float
    space: bool
    label: str | None
    overlap: bool
    score: float | None = None


def pieces_of(segment: Segment, width: int) -> Iterator[Piece]:
    """Yield the segment's words, or parts of its text with interpolated times, as pieces not wider than `width` columns.

    Times never run backwards, even if the aligner's do.
    """
    clock = milliseconds(segment.start)
    for word in _unbroken(words_of(segment)):
        start = max(clock, milliseconds(word.start))
        end = max(start, milliseconds(word.end))
        clock = end
        doubtful = bool(segment.suspect)
        whole = Piece(word.text, start, end, columns(word.text), word.space, label=word.label, doubtful=doubtful)
        yield from _cut(whole, width)


def _unbroken(words: Iterator[Shown]) -> Iterator[Shown]:
    """Merge words between which no line may be broken: in scripts without spaces the aligner's words are characters."""
    held: Shown | None = None
    for word in words:
        if (
            held is not None
            and not word.space
            and word.label == held.label
            and inseparable(held.text[-NEAR:], word.text[:NEAR])
        ):
            held = held._replace(text=held.text + word.text, end=word.end, overlap=held.overlap or word.overlap)
            continue
        if held is not None:
            yield held
        held = word
    if held is not None:
        yield held


def label_pieces(name: str, options: TextOptions) -> list[Piece]:
    """Return `Name:` as pieces of no duration; a name longer than half a cue is cut with an ellipsis."""
    room = min(options.max_line_width, options.max_line_width * options.max_line_count // 2) - 1
    if columns(name) > room:
        short = ""
        for part in clusters(name):
            if columns(short + part) >= room:
                break
            short += part
        name = short.rstrip() + "…"
    return [Piece(token, 0, 0, columns(token), space, spoken=False) for token, space in _tokens(name + ":")]


def wrap(pieces: Sequence[Piece], options: TextOptions) -> Lines | None:
    """Wrap the pieces into the fewest lines, evenly filled; two lines are broken at a pause or phrase if possible.

    Returns None when the pieces do not fit.
    """
    width, count = options.max_line_width, options.max_line_count
    total = sum(piece.width for piece in pieces)
    if total > width * count:
        return None
    lines = _filled(pieces, width)
    if len(lines) > count:
        return None
    if len(lines) == 2:
        cut = best_break(pieces, fits=lambda n: max(_width(pieces[:n]), _width(pieces[n:])) <= width)
        return tuple(pieces[:cut]), tuple(pieces[cut:])
    # The narrowest width that needs no more lines makes them even.
    low, high = total // len(lines), width
    while low < high:
        middle = (low + high) // 2
        if len(_filled(pieces, middle)) <= len(lines):
            high = middle
        else:
            low = middle + 1
    return _filled(pieces, high)


def best_break(
    pieces: Sequence[Piece], pause_ms: int | None = None, fits: Callable[[int], bool] = lambda n: True
) -> int:
    """Return the index of the first piece after the best break: after a sentence, clause, pause or space, near the middle.

    Needs at least two pieces. `fits(index)` may exclude a break.
    """
    total = sum(piece.width for piece in pieces)
    best, lowest, passed = 1, float("inf"), 0
    for n in range(1, len(pieces)):
        passed += pieces[n - 1].width
        cost = abs(2 * passed - total) / max(total, 1) + _cost_of_break(pieces[n - 1], pieces[n], pause_ms)
        if cost < lowest and fits(n):
            best, lowest = n, cost
    return best


def _cost_of_break(before: Piece, after: Piece, pause_ms: int | None) -> float:
    """Return the cost of a break, 0 after a sentence to 0.9 inside a word, in units of half the text's width off centre."""
    last = before.text.rstrip("\"'”’»)]）」』")[-1:]
    if not before.spoken:
        return 0.9
    if last in _SENTENCE_ENDS:
        return 0.0
    if last in _CLAUSE_ENDS:
        return 0.2
    if pause_ms is not None and after.start - before.end >= pause_ms:
        return 0.3
    return 0.5 if after.space or _ends_phrase(before.text[-1], after.text[0]) else 0.9


def _ends_phrase(before: str, after: str) -> bool:
    """Return whether a Japanese phrase likely ends here: on hiragana (particles, endings), before kanji, katakana,
    letters or digits."""
    return _is_hiragana(before) and before not in "おご" and after.isalnum() and not _is_hiragana(after)


def _is_hiragana(char: str) -> bool:
    return "\u3041" <= char <= "\u309f"


def _width(pieces: Sequence[Piece]) -> int:
    return sum(piece.width for piece in pieces) + sum(piece.space for piece in pieces[1:])


def _filled(pieces: Sequence[Piece], width: int) -> Lines:
    lines: list[list[Piece]] = []
    used = 0
    for piece in pieces:
        more = piece.width + (1 if piece.space else 0)
        if lines and used + more <= width:
            lines[-1].append(piece)
            used += more
        else:
            lines.append([piece])
            used = piece.width
    return tuple(tuple(line) for line in lines)


def words_of(segment: Segment) -> Iterator[Shown]:
    """Yield each word that is not blank, with times in seconds.

    Without aligned words, split the segment's text and interpolate the times by the number of characters.
    """
    text = one_line(segment.text)
    if not segment.words:
        tokens = _tokens(text)
        total = sum(len(token) for token, _ in tokens)
        seconds, passed = segment.end - segment.start, 0
        for token, space in tokens:
            start = segment.start + seconds * passed / total
            passed += len(token)
            end = segment.start + seconds * passed / total
            yield Shown(token, start, end, space, segment.label, segment.overlap)
        return
    at = 0
    for word in segment.words:
        shown = one_line(word.text)
        if not shown:
            continue
        # The window bounds the search when the aligner spells words differently from the text.
        found = text.find(shown, at, at + len(shown) + 64)
        if found >= 0:
            space = found == 0 or text[found - 1].isspace()
            at = found + len(shown)
        else:
            space = not (unspaced(shown[0]) and at > 0 and unspaced(text[at - 1]))
        label = word.label if word.label is not None else segment.label
        yield Shown(shown, word.start, word.end, space, label, word.overlap, word.score)


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Split one-line text into (token, space before): words, and in scripts without spaces single characters."""
    tokens = []
    for word in text.split(" "):
        for n, part in enumerate(_together(word)):
            tokens.append((part, n == 0))
    return tokens


def _together(word: str) -> Iterator[str]:
    """Split `word` wherever a line may be broken in a script without spaces."""
    held = ""
    for cluster in clusters(word):
        if held and (unspaced(held[-1]) or unspaced(cluster[0])):
            yield held
            held = ""
        held += cluster
    if held:
        yield held


def _cut(piece: Piece, width: int) -> Iterator[Piece]:
    """Yield the piece, or equal parts if it is wider than a line, with times interpolated by characters."""
    if piece.width <= width:
        yield piece
        return
    parts = [""]
    target = -(-piece.width // -(-piece.width // width))
    for cluster in clusters(piece.text):
        # Many combining marks or punctuation characters can make one cluster wider than a line.
        for part in [cluster] if columns(cluster) <= target else cluster:
            if parts[-1] and columns(parts[-1] + part) > target:
                parts.append("")
            parts[-1] += part
    length, passed = len(piece.text), 0
    for n, part in enumerate(parts):
        start = piece.start + (piece.end - piece.start) * passed // length
        passed += len(part)
        end = piece.start + (piece.end - piece.start) * passed // length
        yield replace(piece, text=part, start=start, end=end, width=columns(part), space=piece.space and n == 0)
