"""Bare WhisperX on a model set: its transcription, alignment, diarization and assignment of speakers, by their own functions.

What it lacks is the plain thing that people do: a speaker is given the name of the nearest enrolled voice, by the same
embeddings that the worker compares, without a threshold.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from support import stock_punkt

from scribe.models.loader import Models
from scribe.speakers.ecapa import Vector, cosine
from scribe.transcript import Turn, alone

BATCH = 4


class Stock:
    """Models are loaded once; a recognizer for each voice detector, and the diarizer, on first use."""

    def __init__(self, models: Models) -> None:
        import whisperx
        from whisperx.diarize import DiarizationPipeline

        stock_punkt.folder()  # whisperX would download it
        self._places, self._encoder = models.model_set, models.encoder()
        self._whispers: dict[str, Any] = {}
        self._aligner = whisperx.load_align_model("en", "cpu", model_name=models.model_set.aligner("en").source)
        self._diarizer = functools.cache(lambda: DiarizationPipeline(models.model_set.diarization.source))

    def recognized(self, audio: np.ndarray, vad: str | None = None) -> list[dict[str, Any]]:
        """float32 mono at 16 kHz -> segments with words. `vad`: silero or pyannote, the set's own by default."""
        chunk = self._places.chunk_size
        found = self._whisper(vad or self._places.vad_method).transcribe(audio, batch_size=BATCH, chunk_size=chunk)
        return self.aligned(found["segments"], audio)

    def _whisper(self, vad: str) -> Any:
        import whisperx

        if vad not in self._whispers:
            places = self._places
            heard = {"chunk_size": places.chunk_size, "vad_onset": places.vad_onset, "vad_offset": places.vad_offset}
            own = {"vad_model": _silero(places.vad_onset, places.chunk_size)} if vad == "silero" else {}
            with contextlib.redirect_stdout(None):
                self._whispers[vad] = whisperx.load_model(
                    places.speech().source, "cpu", compute_type="int8", language="en", vad_options=heard, **own
                )
        return self._whispers[vad]

    def aligned(self, segments: Sequence[Mapping[str, Any]], audio: np.ndarray) -> list[dict[str, Any]]:
        import whisperx

        return whisperx.align(segments, *self._aligner, audio, "cpu")["segments"] if segments else []

    def __call__(self, audio, enrolled: Mapping[str, Vector]) -> dict[str, Any]:
        """An Audio -> {segments, turns, names}."""
        from whisperx.diarize import assign_word_speakers

        samples = audio[:]
        result = {"segments": self.recognized(samples)}
        found = self._diarizer()(samples)
        turns = [Turn(start, end, label) for start, end, label in found[["start", "end", "speaker"]].values]
        names = {}
        for label, spans in alone(turns).items():
            voice = self._encoder.voice(audio, spans)
            if voice is not None and enrolled:
                names[label] = max(enrolled, key=lambda name, v=voice: cosine(v.vector, enrolled[name]))
        return {
            "segments": assign_word_speakers(found, result)["segments"],
            "turns": [{"start": turn.start, "end": turn.end, "speaker": turn.label} for turn in turns],
            "names": names,
        }


def _silero(onset: float, chunk_size: float):
    """whisperX's own silero detector fetches code from GitHub; the same network lies in faster-whisper's wheel."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps
    from whisperx.diarize import Segment
    from whisperx.vads.vad import Vad

    class Silero(Vad):
        def __call__(self, audio: dict, **_options) -> list[Segment]:
            waveform = np.asarray(audio["waveform"], np.float32).squeeze()
            found = get_speech_timestamps(waveform, VadOptions(threshold=onset, max_speech_duration_s=chunk_size))
            return [Segment(speech["start"] / 16000, speech["end"] / 16000, "UNKNOWN") for speech in found]

        @staticmethod
        def preprocess_audio(audio: np.ndarray) -> np.ndarray:
            return audio

        @staticmethod
        def merge_chunks(
            segments: list, chunk_size: float, onset: float = 0.5, offset: float | None = None
        ) -> list[dict]:
            return Vad.merge_chunks(segments, chunk_size, onset, offset) if segments else []

    return Silero(onset)
