"""Split text into sentences by rules, for every language that Whisper writes, without downloads.

The rules are those of sentencex (Wikimedia, MIT, one wheel of 1 MB, released monthly): abbreviations of 30 languages, the
sentence marks of all, exact positions, 4 ms for ten minutes of speech. pysbd knows 23 languages, has had no release since
2021 and takes 30 times as long; syntok knows three, blingfire has 40 MB, and neural splitters need weights.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

Place = tuple[int, int]

# Khmer and Tibetan sentence marks, which sentencex does not know, are replaced by one that it knows.
_MARKS = str.maketrans({"។": "。", "៕": "。", "།": "。"})
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# The word before a full stop, with the stop.
_STOPPED = re.compile(r"(?:^|[\s(\[\"'„“‘«])([^\s(\[\"'„“‘«]+?)[.…]+\s*$")
LONGEST_WORD = 40
# Languages that write "3." for "third".
_ORDINALS = frozenset("cs da de et eu fi hr hu is lv nn no pl sk sl sr tr".split())
# Words that sentencex lists as abbreviations (Maine, "contra", "fascicolo") and that end spoken sentences.
_EVERYDAY = {
    "en": "art ill may me miss no ok pa",
    "de": "art mag mich",
    "fr": "art vol",
    "es": "ante anti bien bis con contra da de di en entre extra mar no nos para post pre pro sobre sub super tras un",
    "it": "ago ali bar ci col con di fa fra ha in la le lo ma mai me mi ne no ore re se si su te va via",
    "nl": "al best dat hand u vol",
    "da": "del med nat ned ti to var",
    "sk": "no tu",
}
_LAST_WORD = re.compile(r"(?<!\w)(\w+)[.…]+\s+(?=[^\W\d_])")
_VOWELS = frozenset("aeiouyаеиоуыэюяєіїαειηουω")


def split_by_rules(text: str, language: str) -> list[Place]:
    """Return (start, end) of each sentence, in order, without the white space between them; the first begins at 0.

    `language`: ISO 639-1; one that sentencex does not know is treated as English.
    """
    import sentencex

    # Replaced one for one, to keep positions: sentencex ends sentences at line breaks and fails at those of several bytes.
    read = re.sub(r"\s", " ", _LONE_SURROGATE.sub("\ufffd", text)).translate(_MARKS)
    try:
        starts = {found["start_index"] for found in sentencex.get_sentence_boundaries(language, read)}
    except BaseException as error:
        # A panic of its Rust code is a BaseException that would fail the job.
        if type(error).__name__ != "PanicException":
            raise
        starts = set()
    starts |= set(_missed(read, _EVERYDAY.get(language, "").split()))
    cuts = [0, *(place for place in sorted(starts) if place and _is_end(read, place, language)), len(text)]
    found = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        piece = text[start:end]
        begin = start + len(piece) - len(piece.lstrip()) if start else 0
        if piece.strip():
            found.append((begin, start + len(piece.rstrip())))
    return found


def _missed(text: str, words: Collection[str]) -> Iterator[int]:
    """Yield the positions where a capital letter follows one of the words and its full stop."""
    for found in _LAST_WORD.finditer(text) if words else ():
        if found[1].lower() in words and text[found.end()].isupper():
            yield found.end()


def _is_end(text: str, place: int, language: str) -> bool:
    """Return whether a sentence ends at `place`, where sentencex cuts, and not just an abbreviation.

    After a full stop a lower-case letter begins no sentence in a text that has capitals. A single capital letter is an
    initial ("M. Dupont"), and a short capitalized word without a vowel an abbreviation ("Nr. 5", "Sv. Ivan").
    """
    before = _STOPPED.search(text[max(0, place - LONGEST_WORD) : place])
    following = text[place:].lstrip()[:1]
    if before is None or not following:
        return True
    word = before[1]
    # Georgian letters count as lower-case, but do begin sentences: running text has no capitals.
    if following.islower() and following.title() != following and text != text.lower():
        return False
    if word[-1].isdecimal():
        is_glued = following.isdecimal() and not text[place - 1].isspace()
        return not (is_glued or (language in _ORDINALS and word.isdecimal() and len(word) <= 2))
    if language == "en":
        return True
    return not (_is_initial(word) or _is_short(word))


def _is_initial(word: str) -> bool:
    return len(word) == 1 and (word.isupper() or unicodedata.bidirectional(word) in ("R", "AL"))


def _is_short(word: str) -> bool:
    letters = {unicodedata.normalize("NFD", letter)[0] for letter in word.lower()}
    return 2 <= len(word) <= 4 and word.istitle() and not letters & _VOWELS and not letters <= {"h", "m"}
