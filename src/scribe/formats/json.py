"""Convert a transcript to whisperX's JSON and back, with more keys: speaker_label, speakers, duration and others.

    {language, language_probability, duration, speakers: [{label, name, score, seconds, reason?, embedding?}],
     segments: [{start, end, text, avg_logprob?, suspect?, speaker?, speaker_label?, overlap?, words?: [word]}],
     word_segments?: [word]}
    word: {word, start, end, score, speaker?, speaker_label?, overlap?, interpolated?, chars?}

`speaker` is the display name; `speaker_label` is the diarizer's. A word has its own `speaker_label` only if it differs
from its segment's. `overlap` (somebody else speaks too) and `interpolated` (the aligner could not time the word) are
present only when true. Times are seconds with three decimals.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TypedDict

from pydantic import BaseModel, Field, ValidationError

from scribe.errors import InvalidInput
from scribe.formats.options import TextOptions
from scribe.formats.text import well_formed
from scribe.transcript import Segment, Speaker, Transcript, Voiceprint, Word, words_with_times

# Voices are compared by the cosine of their embeddings; rounding 192 small numbers to three decimals would change it.
EMBEDDING_DECIMALS = 6


def render(transcript: Transcript, options: TextOptions) -> str:
    """Return the transcript as strict JSON on one line: no NaN, no lone surrogates."""
    return json.dumps(to_dict(transcript), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


class _Said(TypedDict):
    start: float | None
    end: float | None
    text: str


class SegmentDict(_Said, total=False):
    """A segment as JSON-ready values."""

    avg_logprob: float | None
    suspect: list[str]
    speaker: str
    speaker_label: str
    overlap: bool
    words: list[dict[str, object]]


class _Whole(TypedDict):
    language: str | None
    language_probability: float | None
    duration: float | None
    speakers: list[dict[str, object]]
    segments: list[SegmentDict]


class TranscriptDict(_Whole, total=False):
    """A transcript as JSON-ready values."""

    word_segments: list[dict[str, object]]


def to_dict(transcript: Transcript, words: bool = True) -> TranscriptDict:
    """Return the transcript as JSON-ready values; `words` False leaves out `words` and `word_segments`."""
    segments = [_segment(s, transcript, words) for s in transcript.segments]
    shape: TranscriptDict = {
        "language": None if transcript.language is None else well_formed(transcript.language),
        "language_probability": _rounded(transcript.language_probability),
        "duration": _rounded(transcript.duration),
        "speakers": [_speaker(s) for s in transcript.speakers],
        "segments": segments,
    }
    if words:
        shape["word_segments"] = [w for s in segments for w in s.get("words", [])]
    return shape


def _segment(segment: Segment, transcript: Transcript, words: bool) -> SegmentDict:
    shape: SegmentDict = {
        "start": _rounded(segment.start),
        "end": _rounded(segment.end),
        "text": well_formed(segment.text),
    }
    if segment.avg_logprob is not None:
        shape["avg_logprob"] = _rounded(segment.avg_logprob)
    if segment.suspect:
        shape["suspect"] = [well_formed(reason) for reason in segment.suspect]
    if segment.label is not None:
        shape["speaker"] = _name(transcript, segment.label)
        shape["speaker_label"] = well_formed(segment.label)
    if segment.overlap:
        shape["overlap"] = True
    if words and segment.words:
        shape["words"] = [_word(w, segment.label, transcript) for w in segment.words]
    return shape


def _word(word: Word, segment_label: str | None, transcript: Transcript) -> dict[str, object]:
    shape: dict[str, object] = {
        "word": well_formed(word.text),
        "start": _rounded(word.start),
        "end": _rounded(word.end),
        "score": _rounded(word.score),
    }
    if word.label is not None:
        shape["speaker"] = _name(transcript, word.label)
        if word.label != segment_label:
            shape["speaker_label"] = well_formed(word.label)
    if word.overlap:
        shape["overlap"] = True
    if word.interpolated:
        shape["interpolated"] = True
    if word.chars:
        shape["chars"] = [_plain(c) for c in word.chars]
    return shape


def _speaker(speaker: Speaker) -> dict[str, object]:
    shape: dict[str, object] = {
        "label": well_formed(speaker.label),
        "name": None if speaker.name is None else well_formed(speaker.name),
        "score": _rounded(speaker.score),
        "seconds": _rounded(speaker.seconds),
    }
    if speaker.reason is not None:
        shape["reason"] = well_formed(speaker.reason)
    if speaker.embedding is not None:
        vector = [_rounded(x, EMBEDDING_DECIMALS) for x in speaker.embedding.vector]
        shape["embedding"] = {
            "model": speaker.embedding.model,
            "dimension": len(vector),
            "seconds": _rounded(speaker.embedding.seconds),
            "vector": vector,
        }
    return shape


def _name(transcript: Transcript, label: str) -> str:
    return well_formed(transcript.display(label) or label)


def _rounded(number: float | None, decimals: int = 3) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, decimals)


def _plain(value: object) -> object:
    """Convert any value in the aligner's data of a character to strict JSON."""
    if isinstance(value, float):
        return _rounded(value)
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {well_formed(str(k)): _plain(v) for k, v in value.items()}
    return value


class _WordShape(BaseModel):
    word: str
    start: float | None = None
    end: float | None = None
    score: float | None = None
    speaker: str | None = None
    speaker_label: str | None = None
    interpolated: bool = False
    overlap: bool = False
    chars: list[dict[str, object]] = Field(default_factory=list)


class _SegmentShape(BaseModel):
    start: float = Field(allow_inf_nan=False)
    end: float = Field(allow_inf_nan=False)
    text: str = ""
    words: list[_WordShape] = Field(default_factory=list)
    speaker: str | None = None
    speaker_label: str | None = None
    avg_logprob: float | None = None
    suspect: tuple[str, ...] = ()
    overlap: bool = False


class _EmbeddingShape(BaseModel):
    model: str
    seconds: float = Field(0.0, allow_inf_nan=False)
    vector: tuple[float, ...]


class _SpeakerShape(BaseModel):
    label: str
    name: str | None = None
    score: float | None = None
    seconds: float | None = None
    reason: str | None = None
    embedding: _EmbeddingShape | None = None


class _TranscriptShape(BaseModel):
    language: str | None = None
    duration: float | None = Field(None, allow_inf_nan=False)
    segments: list[_SegmentShape]
    speakers: list[_SpeakerShape] = Field(default_factory=list)
    language_probability: float | None = None


def from_dict(shape: Mapping[str, object]) -> Transcript:
    """Read the JSON of `to_dict`, or whisperX's own (no labels, words without times).

    A missing duration becomes the last segment's end. Raises InvalidInput, naming the first invalid key.
    """
    try:
        read = _TranscriptShape.model_validate(shape)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        message = f"The transcript is not in whisperX's JSON shape: {where}: {first['msg']}."
        raise InvalidInput(message, {"key": where}) from None
    labels = {s.name: s.label for s in read.speakers if s.name}
    last = max((s.end for s in read.segments), default=0.0)
    return Transcript(
        language=read.language,
        duration=last if read.duration is None else read.duration,
        segments=tuple(_read_segment(s, labels) for s in read.segments),
        speakers=tuple(_read_speaker(s) for s in read.speakers),
        language_probability=read.language_probability,
    )


def _read_speaker(read: _SpeakerShape) -> Speaker:
    given = read.embedding
    voice = None if given is None else Voiceprint(given.model, given.seconds, given.vector)
    return Speaker(read.label, read.name, read.score, read.seconds or 0.0, read.reason, voice)


def _read_segment(read: _SegmentShape, labels: Mapping[str, str]) -> Segment:
    label = _label(read, None, None, labels)
    # whisperX interpolates with NaN at the edges: such a time counts as missing and is filled in.
    words = [{"word": w.word, "start": _finite(w.start), "end": _finite(w.end)} for w in read.words]
    return Segment(
        start=read.start,
        end=read.end,
        text=read.text,
        words=tuple(
            Word(
                text=word["word"],
                start=word["start"],
                end=word["end"],
                score=_finite(shape.score),
                label=_label(shape, read.speaker, label, labels),
                interpolated=word.get("interpolated", shape.interpolated),
                chars=tuple(shape.chars),
                overlap=shape.overlap,
            )
            for word, shape in zip(words_with_times(words, read.start, read.end), read.words, strict=True)
        ),
        label=label,
        avg_logprob=read.avg_logprob,
        suspect=read.suspect,
        overlap=read.overlap,
    )


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def _label(
    read: _SegmentShape | _WordShape, speaker: str | None, inherited: str | None, labels: Mapping[str, str]
) -> str | None:
    """Return the written label; else the segment's, if the name is the same; else the label that has this name."""
    if read.speaker_label is not None or read.speaker is None:
        return read.speaker_label
    return inherited if read.speaker == speaker else labels.get(read.speaker, read.speaker)
