"""Whisper's gates, which WhisperX's batched decoding leaves out: is this text what somebody said, or was it invented?

The compression ratio, the log probability and the silence rule are those of Whisper (Radford et al., 2022, section 4.5);
pace and loops catch short inventions, whose compression ratio says nothing; captions those that Whisper is sure of. Pure.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from scribe.engines import known_captions as captions

# Characters for each second of speech. Fast talkers reach 25 in English; scripts of syllables need fewer.
FASTEST = 30.0
# Fewer than anybody says who speaks all the time: four Chinese characters in two seconds are more.
SLOWEST = 2.0
# Seconds of speech that may be a cough, a click or a bar of music. A "thank you" takes half a second.
SHORT_S = 2.0
# Reasons that another look would not remove: the text is told as it is, marked.
LASTING = frozenset(("boilerplate", "no_speech"))
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


def doubts(found: Decoded, voiced_s: float, limits: Limits, apart: bool = False, language: str = "") -> tuple[str, ...]:
    """Why the text should not be trusted, or () where nothing speaks against it. `voiced_s`: seconds of speech in the chunk;
    `apart`: nobody speaks for a while before and after it.

    repetitive (it compresses too well, or goes round in a loop), unlikely (low log probability), too_fast (more
    characters than can be said in that time), cut (it did not come to an end), boilerplate (a stock caption), no_speech
    (Whisper takes a short chunk that stands apart for silence). No text cannot be wrong in itself.
    """
    text = found.text.strip()
    if not text:
        return ()
    unlikely, lonely = found.avg_logprob < limits.log_prob, apart and voiced_s < SHORT_S
    reasons = {
        "repetitive": compression_ratio(text) > limits.compression_ratio or loops(text),
        "unlikely": unlikely,
        "too_fast": len(text) > SHORT_TEXT + FASTEST * voiced_s,
        "cut": found.cut,
        "boilerplate": boilerplate(text, language, lonely or unlikely or len(text) < SLOWEST * voiced_s),
        "no_speech": lonely and found.no_speech_prob > limits.no_speech,
    }
    return tuple(reason for reason, holds in reasons.items() if holds)


def boilerplate(text: str, language: str, weak: bool) -> bool:
    """Whether Whisper is known to write this text for noise, and nobody says it, or there is `weak` evidence that somebody
    did: "Thank you." between other speech is a person's."""
    kind = captions.kind(text, language)
    return kind == "credit" or (kind is not None and weak)


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
