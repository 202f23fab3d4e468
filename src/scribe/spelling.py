"""A segment's text between its letters and its sentences: which letters are aligned, and words and sentences from their times.

Splits and rounds exactly as whisperx.align does, without a table a segment: its DataFrames took longer than the model.
Dicts have whisperX's shape: {text, start, end, words [{word, start?, end?, score?}], chars?}.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Times = tuple[float, float, float]


def letters_of(text: str, known: Mapping[str, int], spaced: bool) -> tuple[list[str], list[int]]:
    """(the letters to align, their places in `text`). A letter that the model does not know is kept, for the wildcard.

    `spaced`: the language writes spaces between its words; between them the model's letter is "|".
    """
    first, last = len(text) - len(text.lstrip()), len(text.rstrip()) - 1
    letters, places = [], []
    for place in range(first, last + 1):
        letter = text[place].lower()
        if spaced:
            letter = letter.replace(" ", "|")
        if letter in known or letter not in (" ", "|"):
            letters.append(letter)
            places.append(place)
    return letters, places


def sentences(
    text: str,
    spans: Sequence[tuple[int, int]],
    times: Mapping[int, Times],
    spaced: bool,
    method: str,
    characters: bool,
) -> list[dict[str, Any]]:
    """The text cut at its sentences, in time order; sentences with the same times are one.

    `spans`: where each sentence starts and ends in the text; `times`: (start, end, score) by place, in seconds.
    `method`: nearest, linear or ignore, how words without times get theirs.
    """
    numbers = _word_numbers(text, spaced)
    found = []
    for start, end in spans:
        # The place behind the sentence belongs to it too: whisperX's slice of labels includes its end.
        places = range(start, min(end + 1, len(text)))
        inked = [times[p] for p in places if p in times and text[p] != " "]
        sentence = {
            "text": text[start:end],
            "start": min((times[p][0] for p in places if p in times), default=None),
            "end": max((t[1] for t in inked), default=None),
            "words": _words(text, places, numbers, times),
        }
        _fill(sentence["words"], method)
        if characters:
            sentence["chars"] = [_character(text[p], times.get(p)) for p in places]
        found.append(sentence)
    _fill(found, method)
    # A sentence is never left out for want of times.
    _fill(found, "nearest")
    return _merged(found, " " if spaced else "")


def _word_numbers(text: str, spaced: bool) -> list[int]:
    """The number of the word that each place belongs to; without spaces every character is a word."""
    if not spaced:
        return list(range(len(text)))
    numbers, number = [], 0
    for place in range(len(text)):
        numbers.append(number)
        if place + 1 < len(text) and text[place + 1] == " ":
            number += 1
    return numbers


def _words(text: str, places: range, numbers: Sequence[int], times: Mapping[int, Times]) -> list[dict[str, Any]]:
    by_number: dict[int, list[int]] = {}
    for place in places:
        by_number.setdefault(numbers[place], []).append(place)
    words = []
    for own in by_number.values():
        word: dict[str, Any] = {"word": "".join(text[p] for p in own).strip()}
        if not word["word"]:
            continue
        timed = [times[p] for p in own if p in times and text[p] != " "]
        if timed:
            word["start"], word["end"] = min(t[0] for t in timed), max(t[1] for t in timed)
            word["score"] = round(1000 * sum(t[2] for t in timed) / len(timed)) / 1000
        words.append(word)
    return words


def _character(letter: str, time: Times | None) -> dict[str, Any]:
    return {"char": letter} if time is None else {"char": letter, "start": time[0], "end": time[1], "score": time[2]}


def _fill(items: Sequence[dict[str, Any]], method: str) -> None:
    """Give items without a time their neighbours' (nearest, the earlier one of two as near), or one in between (linear)."""
    if method == "ignore":
        return
    for key in ("start", "end"):
        known = [i for i, item in enumerate(items) if item.get(key) is not None]
        if not known or len(known) == len(items):
            continue
        values = [items[i][key] for i in known]
        for i, item in enumerate(items):
            if item.get(key) is None:
                item[key] = float(np.interp(i, known, values)) if method == "linear" else _nearest(i, known, values)


def _nearest(place: int, known: Sequence[int], values: Sequence[float]) -> float:
    after = bisect.bisect_left(known, place)
    if after == len(known) or (after and place - known[after - 1] <= known[after] - place):
        return values[after - 1]
    return values[after]


def _merged(found: Sequence[dict[str, Any]], between: str) -> list[dict[str, Any]]:
    together: dict[tuple[float, float], dict[str, Any]] = {}
    for sentence in sorted(found, key=lambda s: (s["start"], s["end"])):
        first = together.setdefault((sentence["start"], sentence["end"]), sentence)
        if first is not sentence:
            first["text"] += between + sentence["text"]
            for key in ("words", "chars"):
                if key in first:
                    first[key] = first[key] + sentence[key]
    return list(together.values())
