"""Describe the reasons of `suspect` in words; MARK stands for them where there is no room."""

from __future__ import annotations

from collections.abc import Iterable

MARK = "[?]"
# The aligner's score is the mean probability of a word's letters. Clear words can have 0.3 (m-bain/whisperX#398).
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
    """Join the reasons as text: `cut` becomes "it breaks off". A reason that has no text here is shown by its name."""
    return "; ".join(WORDS.get(reason, reason.replace("_", " ")) for reason in reasons)
