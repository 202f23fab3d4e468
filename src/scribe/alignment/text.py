"""Choose the letters of a text to align, and build words and sentences from the letters' times.

Splits and rounds exactly as whisperx.align does, without its DataFrames, which took longer than the model. Dicts have
whisperX's shape: {text, start, end, words [{word, start?, end?, score?}], chars?}.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

import numpy as np

# Start and end in seconds, and the score: None for characters outside the model's vocabulary.
Times = tuple[float, float, float | None]
# Symbols that are read aloud and so take time, unlike "?".
READ_OUT = frozenset("%&@#/§°")
# Languages without spaces between words: whisperX's ja and zh, and those in which Whisper counts characters as words.
UNSPACED = frozenset({"ja", "zh", "yue", "th", "lo", "my", "km"})
# Thai and Lao vowels: written before their consonant, and after it.
BEFORE, BEHIND = frozenset("เแโใไເແໂໃໄ"), frozenset("ะาำๅະາຳ")


class Timed(TypedDict, total=False):
    """An item with a start and an end in seconds, if they are known."""

    start: float
    end: float


class Scored(Timed, total=False):
    """An item with a `score`, 0 to 1, if it has an aligned letter that the model knows."""

    score: float


class Letter(Scored):
    """A character of the text, in whisperX's shape."""

    char: str


class AlignedWord(Scored):
    """A word of the text, in whisperX's shape."""

    word: str


class _Extras(Timed, total=False):
    chars: list[Letter]
    gap: str
    avg_logprob: float | None
    suspect: tuple[str, ...]


class Sentence(_Extras):
    """A sentence of a segment, in whisperX's shape. `gap`: the text before it, used only until sentences are joined."""

    text: str
    words: list[AlignedWord]


def letters_of(text: str, known: Mapping[str, int], spaced: bool) -> tuple[list[str], list[int]]:
    """Return (the letters to align, their positions in `text`). Letters outside the model's vocabulary use the wildcard.

    `spaced`: the language writes spaces between words, for which the model's letter is "|".
    """
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    letter_of: dict[str, str] = {}
    for char in set(text):
        letter = char.lower().replace(" ", "|") if spaced else char.lower()
        if letter in known or letter not in (" ", "|"):
            letter_of[char] = letter
    places = [place for place in range(first, last) if text[place] in letter_of]
    return [letter_of[text[place]] for place in places], places


def open_letters(text: str, places: Sequence[int], known: Mapping[str, int], numbers: Sequence[int]) -> list[bool]:
    """Return for each position whether its letter is open, of unknown sound: a digit, a symbol, a foreign script.

    In a word without any letter of the model, punctuation is open too ("3.50"); elsewhere it is silent.
    """
    strange = {char for char in set(text) if char.lower() not in known}
    spoken = {char for char in strange if _is_spoken(char)}
    known_words = {numbers[p] for p in places if text[p] not in strange}
    foreign = {numbers[p] for p in places if text[p] in spoken} - known_words
    mute = strange - spoken - {" "}
    return [text[p] in spoken or (text[p] in mute and numbers[p] in foreign) for p in places]


def _is_spoken(char: str) -> bool:
    return char in READ_OUT or unicodedata.category(char)[0] in "LN" or unicodedata.category(char) in ("Sc", "Sm")


def sentences(
    text: str,
    spans: Sequence[tuple[int, int]],
    times: Mapping[int, Times],
    numbers: Sequence[int],
    between: str | None,
    method: str,
    characters: bool,
    reach: int = 1,
) -> list[Sentence]:
    """Cut the text into sentences with times, in order of time. Sentences with equal times are joined by `between`, or if
    it is None by the text between them.

    `spans`: start and end of each sentence in the text; `times`: (start, end, score) by position, in seconds; `numbers`:
    the word number of each position. `method`: nearest, linear or ignore, how words without times get theirs. `reach`:
    with 1 the position after a sentence belongs to it too, because whisperX's slice of labels includes its end; if there
    is no space at it, that word is in two sentences.
    """
    found: list[Sentence] = []
    for number, (start, end) in enumerate(spans):
        places = range(start, min(end + reach, len(text)))
        sentence: Sentence = {
            "text": text[start:end],
            "words": _words(text, places, numbers, times),
            "gap": (text[spans[number - 1][1] : start] if number else "") if between is None else between,
        }
        if starts := [times[p][0] for p in places if p in times]:
            sentence["start"] = min(starts)
        if ends := [times[p][1] for p in places if p in times and text[p] != " "]:
            sentence["end"] = max(ends)
        _fill(sentence["words"], method)
        if characters:
            sentence["chars"] = [_character(text[p], times.get(p)) for p in places]
        found.append(sentence)
    _fill(found, method)
    # Every sentence gets times, even if `method` is ignore.
    _fill(found, "nearest")
    return _merged(found)


def between_words(spans: Sequence[tuple[int, int]], numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the sentences' spans, joined where a border is inside a word ("What?!")."""
    found: list[tuple[int, int]] = []
    for start, end in spans:
        if found and numbers[found[-1][1] - 1] == numbers[start]:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def word_numbers(text: str, spaced: bool) -> list[int]:
    """Return the word number of each position; in a language without spaces every character is a word."""
    if not spaced:
        return list(range(len(text)))
    numbers, number = [], 0
    for place in range(len(text)):
        numbers.append(number)
        if place + 1 < len(text) and text[place + 1] == " ":
            number += 1
    return numbers


def character_words(text: str) -> list[int]:
    """Return word numbers for a script without spaces. Unlike in whisperX, marks and punctuation belong to the adjacent
    character, and letters or digits of another script form one word ("iPhone", "2024")."""
    numbers, number = [], 0
    for place, char in enumerate(text):
        if place and not _clings(text[place - 1], char):
            number += 1
        numbers.append(number)
    return numbers


def _clings(before: str, char: str) -> bool:
    kinds = unicodedata.category(before), unicodedata.category(char)
    if char.isspace() or before.isspace():
        return False
    if (
        char in BEHIND
        or before in BEFORE
        or kinds[1][0] == "M"
        or kinds[1] in ("Pe", "Pf", "Po", "Pd", "Pc", "Cf", "Lm")
        or kinds[0] in ("Ps", "Pi")
    ):
        return True
    return before.isalnum() and char.isalnum() and not (_is_alone(before) or _is_alone(char))


def _is_alone(char: str) -> bool:
    """Return whether a letter belongs to a script without spaces: category Lo, except Hebrew and Arabic."""
    return unicodedata.category(char) == "Lo" and unicodedata.bidirectional(char) == "L"


def _words(text: str, places: range, numbers: Sequence[int], times: Mapping[int, Times]) -> list[AlignedWord]:
    by_number: dict[int, list[int]] = {}
    for place in places:
        by_number.setdefault(numbers[place], []).append(place)
    words = []
    for own in by_number.values():
        word: AlignedWord = {"word": text[own[0] : own[-1] + 1].strip()}
        if not word["word"]:
            continue
        timed = [times[p] for p in own if p in times and text[p] != " "]
        if timed:
            starts, ends, letter_scores = zip(*timed, strict=True)
            word["start"], word["end"] = min(starts), max(ends)
            scores = [score for score in letter_scores if score is not None]
            if scores:
                word["score"] = round(1000 * sum(scores) / len(scores)) / 1000
        words.append(word)
    return words


def _character(letter: str, time: Times | None) -> Letter:
    if time is None:
        return {"char": letter}
    if time[2] is None:
        return {"char": letter, "start": time[0], "end": time[1]}
    return {"char": letter, "start": time[0], "end": time[1], "score": time[2]}


def _fill(items: Sequence[Timed], method: str) -> None:
    """Fill in missing times: from the nearest item (of two the earlier one), or by linear interpolation."""
    if method == "ignore":
        return
    key: Literal["start", "end"]
    for key in ("start", "end"):
        known = [i for i, item in enumerate(items) if key in item]
        if not known or len(known) == len(items):
            continue
        values = [items[i][key] for i in known]
        for i, item in enumerate(items):
            if key not in item:
                item[key] = float(np.interp(i, known, values)) if method == "linear" else _nearest(i, known, values)


def _nearest(place: int, known: Sequence[int], values: Sequence[float]) -> float:
    after = bisect.bisect_left(known, place)
    if after == len(known) or (after and place - known[after - 1] <= known[after] - place):
        return values[after - 1]
    return values[after]


def _merged(found: Sequence[Sentence]) -> list[Sentence]:
    together: dict[tuple[float, float], Sentence] = {}
    for sentence in sorted(found, key=lambda s: (s["start"], s["end"])):
        gap = sentence.pop("gap")
        first = together.setdefault((sentence["start"], sentence["end"]), sentence)
        if first is not sentence:
            first["text"] += gap + sentence["text"]
            first["words"] = first["words"] + sentence["words"]
            if "chars" in first:
                first["chars"] = first["chars"] + sentence["chars"]
    return list(together.values())
