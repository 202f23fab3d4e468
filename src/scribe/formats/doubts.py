"""Reasons of `suspect` -> plain words, and the mark that stands before doubtful text where there is no room for them."""

from __future__ import annotations

from collections.abc import Iterable

MARK = "[?]"
# The aligner's score is the mean probability of a word's letters. Clear words have been seen at 0.3 (m-bain/whisperX#398).
LOW_SCORE = 0.2
WORDS = {
    "repetitive": "it goes round in a loop",
    "repeated": "the same sentence was written several times in a row",
    "unlikely": "the recognizer itself was not sure",
    "too_fast": "nobody can say that much in that time",
    "cut": "it breaks off",
    "boilerplate": "a line of video captions that recognizers write for noise",
    "no_speech": "the recognizer itself took it for silence",
}


def in_words(reasons: Iterable[str]) -> str:
    """`unlikely`, `cut` -> "the recognizer itself was not sure; it breaks off". A reason without words is shown as it is."""
    return "; ".join(WORDS.get(reason, reason.replace("_", " ")) for reason in reasons)
