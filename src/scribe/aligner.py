"""Forced alignment: text -> words with times, on a wav2vec2 model of one language.

The answer is whisperX's, its model and its rules; the way there is our own (viterbi.py, spelling.py), because whisperX
spends more time beside the model than in it. In parity mode its own function does the work.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .audio import SAMPLE_RATE, Audio
from .spelling import letters_of, sentences
from .stock_alignment import stock_align
from .transcript import Segment, Word, words_with_times
from .viterbi import Array, LetterSpan, letter_spans, with_wildcard

log = logging.getLogger(__name__)

# wav2vec2's first frame needs so many samples.
SHORTEST_SAMPLES = 400
# Segments whose paths are found together: 20 MB of scores for 30 s each.
GROUP_SEGMENTS = 8


@dataclass(frozen=True, slots=True)
class _Spelled:
    """A segment's letters: their places in the text, their columns, the model's scores (frames, columns)."""

    places: list[int]
    tokens: list[int]
    emission: Array


class Aligner:
    """`source` is a folder, a name, or None for whisperX's choice for the language.

    Raises ValueError for a language that whisperX has no model for, and what transformers raises when loading fails.
    """

    def __init__(
        self,
        language: str,
        source: str | None,
        device: str,
        nltk_data: Path,
        local_only: bool = False,
        parity: bool = False,
    ) -> None:
        import nltk
        from whisperx.alignment import LANGUAGES_WITHOUT_SPACES, load_align_model
        from whisperx.utils import PUNKT_LANGUAGES

        # whisperX downloads punkt in the middle of a job where it finds none.
        if str(nltk_data) not in nltk.data.path:
            nltk.data.path.insert(0, str(nltk_data))
        self._device = device
        self._parity = parity
        # Its loader prints the exception; the exception's chain says the same.
        with contextlib.redirect_stdout(None):
            self._model, self._metadata = load_align_model(
                language, device, model_name=source, model_cache_only=local_only
            )
        known = self._metadata["dictionary"]
        self._known: dict[str, int] = known
        self._blank = next((code for char, code in reversed(known.items()) if char in ("[pad]", "<pad>")), 0)
        self._spaced = language not in LANGUAGES_WITHOUT_SPACES
        # Once: nltk reads the file anew for every segment.
        self._punkt = nltk.data.load(f"tokenizers/punkt_tab/{PUNKT_LANGUAGES.get(language, 'english')}.pickle")

    def align(
        self,
        segments: Sequence[Segment],
        audio: Audio,
        interpolate_method: str,
        characters: bool,
        tick: Callable[[float | None], None],
    ) -> list[Segment]:
        """Segments by sentence, each with words that all have a start and an end. A segment that cannot be aligned stays as it was.

        `interpolate_method`: nearest, linear or ignore, whisperX's own ways to fill a word inside a segment.
        """
        if self._parity:
            found = stock_align(
                segments, self._model, self._metadata, audio, self._device, interpolate_method, characters, tick
            )
        else:
            found = self._aligned(segments, audio, interpolate_method, characters, tick)
        return [_segment(s, characters) for s in found]

    def _aligned(
        self,
        segments: Sequence[Segment],
        audio: Audio,
        method: str,
        characters: bool,
        tick: Callable[[float | None], None],
    ) -> Iterator[dict[str, Any]]:
        for first in range(0, len(segments), GROUP_SEGMENTS):
            group = segments[first : first + GROUP_SEGMENTS]
            spelled = []
            for number, segment in enumerate(group, first + 1):
                spelled.append(self._spelled(segment, audio))
                tick(number / len(segments))
            heard = [(s.emission, s.tokens) for s in spelled if s is not None]
            spans = iter(letter_spans(heard, self._blank) if heard else ())
            for segment, one in zip(group, spelled, strict=True):
                yield from self._cut(segment, one, next(spans) if one else None, method, characters)

    def _cut(
        self, segment: Segment, spelled: _Spelled | None, spans: list[LetterSpan] | None, method: str, characters: bool
    ) -> Iterator[dict[str, Any]]:
        """The segment's sentences; the segment as it was when it could not be aligned."""
        known = {} if segment.avg_logprob is None else {"avg_logprob": segment.avg_logprob}
        if spelled is None or spans is None:
            log.warning("a segment at %.1f s could not be aligned and stays as it was", segment.start)
            yield {"start": segment.start, "end": segment.end, "text": segment.text, "words": [], **known}
            return
        begin, frame = segment.start, (segment.end - segment.start) / len(spelled.emission)
        times = {
            place: (round(s.start * frame + begin, 3), round(s.end * frame + begin, 3), round(s.score, 3))
            for place, s in zip(spelled.places, spans, strict=True)
        }
        cuts = list(self._punkt.span_tokenize(segment.text))
        for found in sentences(segment.text, cuts, times, self._spaced, method, characters):
            yield found | known

    def _spelled(self, segment: Segment, audio: Audio) -> _Spelled | None:
        """The letters to align and what the model hears; None when there are none, or no audio."""
        letters, places = letters_of(segment.text, self._known, self._spaced)
        if not letters or segment.start >= audio.seconds:
            return None
        emission = self._emission(audio[int(segment.start * SAMPLE_RATE) : int(segment.end * SAMPLE_RATE)])
        wildcard = emission.shape[1]
        tokens = [self._known.get(letter, wildcard) for letter in letters]
        return _Spelled(places, tokens, with_wildcard(emission, self._blank) if wildcard in tokens else emission)

    def _emission(self, samples: Array) -> Array:
        """Log-probabilities (frames, letters), float32. One segment at a time: padding would change a model without a mask."""
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
            return torch.log_softmax(scores, dim=-1)[0].cpu().numpy()


def _segment(found: dict[str, Any], characters: bool) -> Segment:
    start, end = found["start"], found["end"]
    timed = words_with_times(found["words"], start, end)
    letters = _letters(timed, found.get("chars") or ()) if characters else [()] * len(timed)
    return Segment(
        round(start, 3),
        round(end, 3),
        found["text"],
        tuple(
            Word(
                w["word"],
                w["start"],
                w["end"],
                _score(w.get("score")),
                interpolated=w.get("interpolated", False),
                chars=c,
            )
            for w, c in zip(timed, letters, strict=True)
        ),
        avg_logprob=found.get("avg_logprob"),
    )


def _score(value: Any) -> float | None:
    return round(float(value), 3) if value is not None and math.isfinite(value) else None


def _letters(words: Sequence[dict[str, Any]], chars: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], ...]]:
    """Deal the segment's characters out to its words, in order; the blanks between words belong to none."""
    inked = iter([c for c in chars if c["char"].strip()])
    return [tuple(c for _, c in zip(w["word"].replace(" ", ""), inked, strict=False)) for w in words]
