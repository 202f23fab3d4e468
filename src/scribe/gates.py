"""Whisper's gates, which WhisperX's batched decoding leaves out: is this text what somebody said, or was it invented?

The compression ratio, the log probability and the silence rule are those of Whisper (Radford et al., 2022, section 4.5);
pace and loops catch short inventions, whose compression ratio says nothing. Pure.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

# Characters for each second of speech. Fast talkers reach 25 in English; scripts of syllables need fewer.
FASTEST = 30.0
# Characters that even the shortest exclamation may have.
SHORT_TEXT = 8
# One word, or a few, again and again: six times in a row is a loop, four times is a song or a stammer.
LOOPS = 6
_LOOP = re.compile(r"(.{2,80}?)\1{" + str(LOOPS - 1) + r",}", re.DOTALL)
# Chunks in a row with one and the same text, and the words that it needs so that it is no "yes".
ECHOES, ECHO_CHARACTERS = 3, 12


@dataclass(frozen=True, slots=True)
class Limits:
    """The job's thresholds: highest compression ratio, lowest average log probability, highest probability of no speech."""

    compression_ratio: float = 2.4
    log_prob: float = -1.0
    no_speech: float = 0.6


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the decoder wrote for one chunk. `cut`: it had not ended when its number of tokens ran out."""

    text: str
    avg_logprob: float
    no_speech_prob: float
    cut: bool = False


def doubts(found: Decoded, voiced_s: float, limits: Limits) -> tuple[str, ...]:
    """Why the text should not be trusted, or () where nothing speaks against it. `voiced_s`: seconds of speech in the chunk.

    repetitive (it compresses too well, or goes round in a loop), unlikely (low log probability), too_fast (more
    characters than can be said in that time), cut (it did not come to an end). No text cannot be wrong in itself.
    """
    text = found.text.strip()
    if not text:
        return ()
    reasons = {
        "repetitive": compression_ratio(text) > limits.compression_ratio or loops(text),
        "unlikely": found.avg_logprob < limits.log_prob,
        "too_fast": len(text) > SHORT_TEXT + FASTEST * voiced_s,
        "cut": found.cut,
    }
    return tuple(reason for reason, holds in reasons.items() if holds)


def silent(found: Decoded, limits: Limits) -> bool:
    """Whether Whisper itself takes the chunk for silence: no speech is likely, and what it wrote is not."""
    return found.no_speech_prob > limits.no_speech and found.avg_logprob < limits.log_prob


def compression_ratio(text: str) -> float:
    """Bytes of the text to bytes of its deflated form; 2.4 and more is the same thing again and again."""
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def loops(text: str) -> bool:
    """Whether the same 2 to 80 characters follow one another LOOPS times or more, blanks and case aside."""
    return any(len(set(found[1])) > 1 for found in _LOOP.finditer(_plain(text) + " "))


def echoes(texts: Sequence[str]) -> set[int]:
    """The numbers of the texts that stand in a row of ECHOES equal ones or more, marks and case aside; short ones may."""
    found: set[int] = set()
    plain, first = [_plain(text) for text in texts], 0
    for number in range(1, len(plain) + 1):
        if number < len(plain) and plain[number] == plain[first]:
            continue
        if number - first >= ECHOES and len(plain[first]) >= ECHO_CHARACTERS:
            found.update(range(first, number))
        first = number
    return found


def _plain(text: str) -> str:
    """Small letters and figures, one blank between words."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()
