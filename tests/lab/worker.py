"""The worker's own pipeline as the laboratory asks it: what a job would get, and the turns behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from support import stock_punkt
from support.demo import ADDRESS, predicted, sound

from scribe.audio.decode import Audio
from scribe.diarization.assignment import label_by_speaker
from scribe.formats import json as whisperx_json
from scribe.formats.options import TextOptions
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline import predictor as predict
from scribe.pipeline.predictor import Predictor
from scribe.settings import Settings
from scribe.speakers.ecapa import Vector, VoiceSample
from scribe.transcript import Segment, Transcript, Turn

ASKED = {"language": "en", "align_output": True, "diarization": True}


class Worker:
    """`models` with or without parity."""

    def __init__(self, models: Models) -> None:
        self._models, self._predictor = models, Predictor(models)
        self._turns: list[Turn] = []
        diarizer = models.diarizer()
        diarize = diarizer.diarize

        def remembered(*arguments, **options):
            found = diarize(*arguments, **options)
            self._turns = list(found.turns)
            return found

        diarizer.diarize = remembered

    def __call__(self, audio: Audio, voices: Mapping[str, Audio], **options: Any) -> dict[str, Any]:
        """{segments, turns, names}: the transcript as it is delivered, its words' and segments' speakers by label."""
        self._turns = []
        samples = [VoiceSample(name, voice) for name, voice in voices.items()]
        named = [{"url": ADDRESS, "name": name} for name in voices]
        asked = ASKED | {"speaker_verification": bool(named), "speaker_samples": named} | options
        with mock.patch.object(predict, "label_by_speaker", self._label_by_speaker):
            found = predicted((audio,), asked, samples, by=self._predictor)
        told = json.loads(whisperx_json.render(found.transcript, TextOptions()))
        for segment in told["segments"]:
            segment["speaker"] = segment.get("speaker_label")
            for word in segment.get("words", ()):
                word["speaker"] = word.get("speaker_label", segment["speaker"]) if "speaker" in word else None
        return {
            "segments": told["segments"],
            "turns": [{"start": t.start, "end": t.end, "speaker": t.label} for t in self._turns],
            "speakers": told["speakers"],
            "names": {s["label"]: s["name"] for s in told["speakers"]},
            "warnings": [warning.code for warning in found.warnings],
        }

    def _label_by_speaker(self, *arguments: Any) -> tuple[list[Segment], list[Turn]]:
        """The turns that are left when labels without words are gone; in parity it is not asked."""
        found = label_by_speaker(*arguments)
        self._turns = found[1]
        return found

    def aligned(self, segments: Sequence[Mapping[str, Any]], audio: Audio) -> list[dict[str, Any]]:
        """The aligner alone, over given segments: {start, end, text} -> segments with words."""
        given = [Segment(s["start"], s["end"], s["text"]) for s in segments]
        found = self._models.aligner("en").align(given, audio, "nearest", False)
        return whisperx_json.to_dict(Transcript("en", audio.seconds, tuple(found)))["segments"]


def models_of(model_set: Path, parity: bool, half: bool = False) -> Models:
    """The models of a set's file on the CPU, wherever it lies, loaded: no mode's time is to hold that of its models."""

    class Elsewhere(Settings):
        @property
        def model_set_file(self) -> Path:
            return model_set

    places = ModelSet(Elsewhere(_env_file=None, whisperx_device="cpu"))
    if parity:
        places.punkt = lambda tables: stock_punkt.folder()  # type: ignore[method-assign]
    models = Models(places, "cpu", parity=parity, half=half)
    models.warm(("asr", "align", "diarization", "speakers"))
    return models


def enrolled(models: Models, voices: Mapping[str, Audio]) -> dict[str, Vector]:
    """The voice prints by name, as the worker makes them of samples."""
    detector, encoder = models.detector("silero"), models.encoder()
    found = {}
    for name, audio in voices.items():
        chunks = detector.chunks(audio, onset=0.5, offset=0.35, chunk_size=30)
        voice = encoder.enrolled(audio, lambda chunks=chunks: [span for chunk in chunks for span in chunk.speech])
        if voice is not None:
            found[name] = voice.vector
    return found


def recording(name: str, samples: np.ndarray) -> Audio:
    """float32 samples on disk, as the worker has what it decoded: all systems hear these 16-bit samples."""
    return sound(name.replace(" ", "-"), samples)
