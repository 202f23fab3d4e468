"""Align text with audio by a wav2vec2 model of one language: return words with times.

The models and the best path are whisperX's, computed by our own code (viterbi.py, text.py), because whisperX spends more
time outside the model than in it. Three rules are added: digits and symbols last as long as their sound (viterbi.py), no
word extends over a pause (word_times.py), every word has a time. In parity mode whisperX's own function does the work if
Punkt's data is available; else this code does without the added rules, with the same result to the third decimal.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsFloat

from scribe.alignment.sentences import Sentences
from scribe.alignment.stock import stock_align
from scribe.alignment.text import (
    UNSPACED,
    Letter,
    Sentence,
    Times,
    between_words,
    character_words,
    letters_of,
    open_letters,
    sentences,
    word_numbers,
)
from scribe.alignment.viterbi import LetterSpan, Scores, letter_spans, with_wildcard
from scribe.alignment.word_times import LETTER_S, in_order, pauses, settled
from scribe.audio.decode import SAMPLE_RATE, Audio, Samples
from scribe.runtime.cores import on_all_cores
from scribe.runtime.log import quiet_prints
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.transcript import Segment, Span, TimedWord, Word, words_with_times

log = logging.getLogger(__name__)

# Samples of wav2vec2's first frame.
SHORTEST_SAMPLES = 400
# Segments whose paths are computed together: 40 MB of scores for 30 s each.
GROUP_SEGMENTS = 16
# Segments that the model runs on at once on a CPU: one of 30 s takes up to 1 GB in the large models.
MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class _Spelled:
    """A segment's letters: their positions in the text, their columns in `emission`, whether they are open; the model's
    scores (frames, columns); the word number of each position in the text; the pauses in seconds."""

    places: list[int]
    tokens: list[int]
    lasting: list[bool]
    emission: Scores
    numbers: list[int]
    quiet: list[Span]


class Aligner:
    """A loaded alignment model. Loading raises what transformers and torch raise.

    `source` is a folder, or the name of a torchaudio bundle whose file is in `checkpoints`; `nltk_data` as for Sentences.
    """

    def __init__(
        self,
        language: str,
        source: str,
        device: str,
        nltk_data: Path | None,
        checkpoints: Path | None = None,
        parity: bool = False,
    ) -> None:
        from whisperx.alignment import LANGUAGES_WITHOUT_SPACES, load_align_model

        self._device = device
        self._parity = parity
        # Its loader prints the exception that it also raises.
        quiet_prints("whisperx.alignment")
        self._model, self._metadata = load_align_model(
            language, device, model_name=source, model_dir=checkpoints, model_cache_only=True
        )
        known: dict[str, int] = self._metadata["dictionary"]
        self._known = known
        self._blank = next((code for char, code in reversed(known.items()) if char in ("[pad]", "<pad>")), 0)
        self._spaced = language not in LANGUAGES_WITHOUT_SPACES
        self._by_character = language in UNSPACED
        # Without the added rules the result equals whisperX's to the third decimal, which the tests compare.
        self._rules = not parity
        self.sentences = Sentences(language, nltk_data, as_whisperx=parity)

    def align(
        self,
        segments: Sequence[Segment],
        audio: Audio,
        interpolate_method: str,
        characters: bool,
        monitor: Monitor = UNWATCHED,
    ) -> list[Segment]:
        """Return segments by sentence, in order of time; all words have a start and an end, and never overlap.

        A word without an aligned letter is `interpolated`: if the model knows none of its letters, it gets the sound between
        its neighbours; in a segment that cannot be aligned, the words share its time in proportion to their letters.
        `interpolate_method` (nearest, linear or ignore) is whisperX's way to fill in times, which may overlap other words:
        it has an effect in parity mode only.
        """
        # Without Punkt's data whisperX would download it during the job.
        if self._parity and self.sentences.by == "punkt":
            found = stock_align(
                segments, self._model, self._metadata, audio, self._device, interpolate_method, characters, monitor
            )
        else:
            found = self._aligned(segments, audio, interpolate_method, characters, monitor)
        if self._rules:
            return in_order([_segment(s, characters, LETTER_S) for s in found])
        return [_segment(s, characters) for s in found]

    def _aligned(
        self,
        segments: Sequence[Segment],
        audio: Audio,
        method: str,
        characters: bool,
        monitor: Monitor,
    ) -> Iterator[Sentence]:
        for first in range(0, len(segments), GROUP_SEGMENTS):
            group = segments[first : first + GROUP_SEGMENTS]
            spelled = []
            for one in self._each(lambda segment: self._spelled(segment, audio), group):
                spelled.append(one)
                monitor.progress((first + len(spelled)) / len(segments))
            alignable = [s for s in spelled if s is not None]
            paths = [(s.emission, s.tokens) for s in alignable]
            spans = iter(letter_spans(paths, self._blank, [s.lasting for s in alignable]) if alignable else ())
            for segment, one in zip(group, spelled, strict=True):
                yield from self._cut(segment, one, next(spans) if one else None, method, characters)

    def _each(self, run: Callable[[Segment], _Spelled | None], group: Sequence[Segment]) -> Iterator[_Spelled | None]:
        return map(run, group) if self._parity else on_all_cores(run, group, MOST_AT_ONCE, self._device)

    def _cut(
        self, segment: Segment, spelled: _Spelled | None, spans: list[LetterSpan] | None, method: str, characters: bool
    ) -> Iterator[Sentence]:
        """Yield the segment's sentences with times; the unchanged segment if it could not be aligned."""
        if spelled is None or spans is None:
            log.warning("a segment at %.1f s could not be aligned", segment.start)
            yield {
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "words": [{"word": w} for w in self._split(segment.text)] if self._rules else [],
                "avg_logprob": segment.avg_logprob,
                "suspect": segment.suspect,
            }
            return
        begin, frame = segment.start, (segment.end - segment.start) / len(spelled.emission)
        # A letter ends where the next begins.
        edges = [round(number * frame + begin, 3) for number in (*(s.start for s in spans), spans[-1].end)]
        scores = [round(s.score, 3) for s in spans]
        times: dict[int, Times] = dict(zip(spelled.places, zip(edges, edges[1:], scores, strict=False), strict=True))
        cuts = self.sentences.spans(segment.text)
        if self._rules:
            times, cuts = self._trusted(segment.text, times, spelled), between_words(cuts, spelled.numbers)
            found = sentences(segment.text, cuts, times, spelled.numbers, None, "ignore", characters, reach=0)
        else:
            between = " " if self._spaced else ""
            found = sentences(segment.text, cuts, times, spelled.numbers, between, method, characters)
        for sentence in found:
            yield {**sentence, "avg_logprob": segment.avg_logprob, "suspect": segment.suspect}

    def _trusted(self, text: str, times: dict[int, Times], spelled: _Spelled) -> dict[int, Times]:
        """Keep letter times within their word's own sound, and remove the scores of letters that the model does not know."""
        own: dict[int, Times] = {
            place: (start, end, score if text[place].lower() in self._known else None)
            for place, (start, end, score) in times.items()
            if text[place] != " "
        }
        words: dict[int, list[int]] = {}
        for place in own:
            words.setdefault(spelled.numbers[place], []).append(place)
        return times | settled(own, words.values(), spelled.quiet)

    def _split(self, text: str) -> list[str]:
        """Split the text into words as an alignment does."""
        words: dict[int, str] = {}
        for number, char in zip(self._numbers(text), text, strict=True):
            words[number] = words.get(number, "") + char
        return [word.strip() for word in words.values() if word.strip()]

    def _numbers(self, text: str) -> list[int]:
        by_character = self._rules and self._by_character
        return character_words(text) if by_character else word_numbers(text, self._spaced)

    def _spelled(self, segment: Segment, audio: Audio) -> _Spelled | None:
        """Return the letters to align and the model's scores; None without letters or audio."""
        letters, places = letters_of(segment.text, self._known, self._spaced)
        if not letters or segment.start >= audio.seconds:
            return None
        samples = audio[int(segment.start * SAMPLE_RATE) : int(segment.end * SAMPLE_RATE)]
        emission, numbers = self._emission(samples), self._numbers(segment.text)
        wildcard: int = emission.shape[1]
        tokens = [self._known.get(letter, wildcard) for letter in letters]
        if wildcard in tokens:
            emission = with_wildcard(emission, self._blank)
        if not self._rules:
            return _Spelled(places, tokens, [False] * len(tokens), emission, numbers, [])
        lasting = open_letters(segment.text, places, self._known, numbers)
        return _Spelled(places, tokens, lasting, emission, numbers, pauses(samples, SAMPLE_RATE, segment.start))

    def _emission(self, samples: Samples) -> Scores:
        """Compute log-probabilities (frames, letters), float32. One segment at a time, because padding changes the result."""
        import torch

        waveform, lengths = torch.from_numpy(samples).unsqueeze(0), None
        if len(samples) < SHORTEST_SAMPLES:
            lengths = torch.as_tensor([len(samples)]).to(self._device)
            waveform = torch.nn.functional.pad(waveform, (0, SHORTEST_SAMPLES - len(samples)))
        with torch.inference_mode():
            if self._metadata["type"] == "torchaudio":
                scores, _ = self._model(waveform.to(self._device), lengths=lengths)
            else:
                scores = self._model(waveform.to(self._device)).logits
            found: Scores = torch.log_softmax(scores, dim=-1)[0].cpu().numpy()
        return found


def _segment(found: Sentence, characters: bool, longest: float | None = None) -> Segment:
    """Convert whisperX's dict to a Segment. `longest`: most seconds of a letter in a word without an aligned letter, and
    each such word is marked `interpolated`; None changes nothing."""
    start, end = found["start"], found["end"]
    timed = words_with_times(found["words"], start, end, math.inf if longest is None else longest)
    letters = _letters(timed, found.get("chars") or ()) if characters else [()] * len(timed)
    return Segment(
        round(start, 3),
        round(end, 3),
        found["text"],
        tuple(
            Word(
                w["word"],
                _thousandths(w["start"]),
                _thousandths(w["end"]),
                _score(w.get("score")),
                interpolated=w.get("interpolated", False) or (longest is not None and w.get("score") is None),
                chars=c,
            )
            for w, c in zip(timed, letters, strict=True)
        ),
        avg_logprob=found.get("avg_logprob"),
        suspect=found.get("suspect", ()),
    )


def _thousandths(value: SupportsFloat) -> float:
    """Round to three decimals as a Python float, because NumPy's floats round halves differently."""
    return round(float(value), 3)


def _rounded(value: object) -> object:
    return _thousandths(value) if isinstance(value, SupportsFloat) else value


def _score(value: float | None) -> float | None:
    return _thousandths(value) if value is not None and math.isfinite(value) else None


def _letters(words: Sequence[TimedWord], chars: Sequence[Letter]) -> list[tuple[dict[str, object], ...]]:
    """Assign the segment's characters to its words, in order, without the blanks between words."""
    inked = iter([{k: _rounded(v) for k, v in c.items()} for c in chars if c["char"].strip()])
    return [tuple(c for _, c in zip("".join(w["word"].split()), inked, strict=False)) for w in words]
