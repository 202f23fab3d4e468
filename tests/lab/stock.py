"""Bare whisperX and pyannote on a model set: what the worker's own pipeline is compared with."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

BATCH = 4


def stock(audio: np.ndarray, model_set: Path) -> dict:
    """float32 mono at 16 kHz -> {segments, turns}. Models are loaded once a process.

    `model_set` is the file that names the models; its voice detector is silero, since pyannote's needs no comparison here.
    """
    import torch
    import whisperx

    settings, whisper, (aligner, metadata), diarization = _models(model_set)
    answer = whisper.transcribe(audio, batch_size=BATCH, chunk_size=settings["chunk_size"])
    segments = (
        whisperx.align(answer["segments"], aligner, metadata, audio, "cpu")["segments"] if answer["segments"] else []
    )
    output = diarization({"waveform": torch.from_numpy(audio)[None], "sample_rate": 16000})
    turns = [
        {"start": turn.start, "end": turn.end, "speaker": label}
        for turn, _, label in output.speaker_diarization.itertracks(yield_label=True)
    ]
    return {"segments": segments, "turns": turns}


@lru_cache(maxsize=1)
def _models(model_set: Path):
    import whisperx
    from pyannote.audio import Pipeline

    settings = json.loads(model_set.read_text(encoding="utf-8"))
    folder = model_set.parent
    chunk = settings["chunk_size"]
    whisper = whisperx.load_model(
        str(folder / settings["whisper"]),
        "cpu",
        compute_type="int8",
        language="en",
        vad_model=_silero(settings["vad_onset"], chunk),
        vad_options={"chunk_size": chunk},
    )
    aligner = whisperx.load_align_model("en", "cpu", model_name=str(folder / settings["aligners"]["en"]))
    return settings, whisper, aligner, Pipeline.from_pretrained(str(folder / settings["diarization"]))


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
