"""Detect text that Whisper may have invented, by checks that WhisperX's batched decoding leaves out.

The compression ratio, the log probability and the silence rule are those of Whisper (Radford et al., 2022, section 4.5).
Speaking rate and loops catch short inventions, for which the compression ratio is no evidence; known captions catch those
with a high probability.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from scribe.engines import known_captions as captions

# Characters for each second of speech. Fast speakers reach 25 in English; syllabic scripts need fewer.
FASTEST = 30.0
# Fewer characters a second than in any continuous speech: slow Chinese still has two.
SLOWEST = 2.0
# Seconds of detected speech that may be a cough, a click or music. A "thank you" takes half a second.
SHORT_S = 2.0
# Reasons that another pass would not remove: the text is kept and marked.
LASTING = frozenset(("boilerplate", "no_speech"))
# Characters that are always allowed, for short exclamations.
SHORT_TEXT = 8
# Repetitions of a word or phrase that count as a loop; four occur in songs and stammering.
LOOPS = 6
_LOOP = re.compile(r"(.{2,80}?)\1{" + str(LOOPS - 1) + r",}", re.DOTALL)
# Consecutive chunks with the same text that count as repeated, and its least characters: "yes" may be repeated.
ECHOES, ECHO_CHARACTERS = 3, 12


@dataclass(frozen=True, slots=True)
class Limits:
    """The job's thresholds: highest compression ratio, lowest average log probability, highest probability of no speech."""

    compression_ratio: float = 2.4
    log_prob: float = -1.0
    no_speech: float = 0.6


@dataclass(frozen=True, slots=True)
class Decoded:
    """The decoder's text for one chunk. `cut`: it was not complete at the token limit."""

    text: str
    avg_logprob: float
    no_speech_prob: float
    cut: bool = False


def doubts(found: Decoded, voiced_s: float, limits: Limits, apart: bool = False, language: str = "") -> tuple[str, ...]:
    """Return the reasons why the text may be invented, () for none or for an empty text.

    `voiced_s`: seconds of speech in the chunk; `apart`: there is a long pause before and after it. The reasons: repetitive
    (high compression ratio, or a loop), unlikely (low log probability), too_fast (more characters than can be said in that
    time), cut (incomplete at the token limit), boilerplate (a known caption), no_speech (Whisper takes a short chunk that
    is `apart` for silence).
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
    """Return whether the text is a caption that Whisper writes for noise. Captions that people also say ("Thank you.")
    count only when there is `weak` evidence for speech."""
    kind = captions.kind(text, language)
    return kind == "credit" or (kind is not None and weak)


def silent(found: Decoded, limits: Limits) -> bool:
    """Return whether Whisper itself takes the chunk for silence: no speech is likely, and its text is unlikely."""
    return found.no_speech_prob > limits.no_speech and found.avg_logprob < limits.log_prob


def compression_ratio(text: str) -> float:
    """Return the bytes of the text over those of its zlib-compressed form; 2.4 and more is repetitive text."""
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def loops(text: str) -> bool:
    """Return whether the same 2 to 80 characters occur LOOPS times in a row, ignoring blanks and case."""
    return any(len(set(found[1])) > 1 for found in _LOOP.finditer(_plain(text) + " "))


def echoes(texts: Sequence[str]) -> set[int]:
    """Return the numbers of the texts in runs of at least ECHOES equal ones, ignoring punctuation and case.

    Texts shorter than ECHO_CHARACTERS do not count.
    """
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
    """Return the text in lower case, without punctuation, with one blank between words."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()
