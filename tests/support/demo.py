"""The demo models, loaded once a test process, and the recordings of samples/ as the pipeline takes them."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scribe import settings as settings_module
from scribe.audio.decode import SAMPLE_RATE, Audio, decode
from scribe.engines.faster_whisper import WhisperEngine
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.predictor import Prediction, Predictor, VoiceSample
from scribe.pipeline.progress import Event, Progress
from scribe.schema.job import JobInput
from scribe.settings import Settings

if TYPE_CHECKING:
    import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
ADDRESS = "http://samples.local/a.mp3"


def configured(**values: Any) -> Settings:
    """Settings of the demo models on the CPU; `values` are fields of Settings."""
    return settings_module.load(None, **{"model_set": "demo", "whisperx_device": "cpu", **values})


def variables() -> set[str]:
    """The environment variables that settings reads."""
    names = set(Settings.model_fields)
    for field in Settings.model_fields.values():
        names |= set(getattr(field.validation_alias, "choices", ()))
    return {str(name).upper() for name in names}


@functools.cache
def models() -> Models:
    return Models(ModelSet(configured()), "cpu")


@functools.cache
def stock_models() -> Models:
    """The same in parity with whisperX, with NLTK's tables."""
    from support.stock_punkt import folder

    places = ModelSet(configured())
    places.punkt = lambda tables: folder()  # type: ignore[method-assign]
    return Models(places, "cpu", parity=True)


@functools.cache
def predictor() -> Predictor:
    """One for the whole process: its models are loaded on first use and stay."""
    return Predictor(models())


@functools.cache
def scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pipeline-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def recording(name: str, split: bool = False) -> tuple[Audio, ...]:
    """A file of samples/, decoded once: its mix, or an Audio a channel."""
    return _decoded(name, split)


@functools.cache
def _decoded(name: str, split: bool) -> tuple[Audio, ...]:
    folder = scratch() / f"{name.replace('/', '-')}-{split}"
    folder.mkdir()
    return decode(SAMPLES / name, folder, max_seconds=3600, split=split).channels


def truth(stem: str) -> dict[str, Any]:
    return json.loads((SAMPLES / f"{stem}.json").read_text("utf-8"))


def sound(name: str, samples: np.ndarray) -> Audio:
    """An Audio made of float samples in [-1, 1)."""
    path = scratch() / f"{name}.pcm"
    (np.clip(samples, -1, 1) * 32767).astype("<i2").tofile(path)
    return Audio(path, len(samples))


def excerpt(name: str, audio: Audio, start: float, end: float) -> Audio:
    """Seconds `start` to `end` of a recording as one of its own."""
    return sound(name, audio[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)])


def voice(name: str) -> VoiceSample:
    """The enrolment sample of a speaker of samples/voices/."""
    return VoiceSample(name, recording(f"voices/{name.lower()}.flac")[0])


def asked(**options: Any) -> JobInput:
    return JobInput.parse({"audio_file": ADDRESS, **options})


def predicted(
    channels: Sequence[Audio],
    options: Mapping[str, Any],
    voices: Sequence[VoiceSample] = (),
    check: Callable[[], None] = lambda: None,
    sink: Callable[[Event], None] = lambda event: None,
    by: Predictor | None = None,
) -> Prediction:
    """One pass of the demo models over a recording."""
    with Progress(sink, ["transcribe", "align", "diarize", "name"], interval_s=0.0) as progress:
        return (by or predictor()).run(channels, asked(**options), voices, progress, check)


class _Door:
    """CTranslate2's model with another `generate`; its own cannot be set."""

    def __init__(self, real: Any, generate: Callable[..., Any]) -> None:
        self._real = real
        self.generate = generate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def before_decoding(patch: pytest.MonkeyPatch, engine: WhisperEngine, stand_in: Callable[..., Any]) -> None:
    """Put `stand_in(real, features, prompts, **options)` before the decoder of a loaded engine."""
    real = engine._model.model
    patch.setattr(engine._model, "model", _Door(real, functools.partial(stand_in, real.generate)))
