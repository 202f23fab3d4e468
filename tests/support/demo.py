"""The demo models, loaded once a test process, and the recordings of samples/ as the pipeline takes them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scribe import settings as settings_module
from scribe.audio.decode import SAMPLE_RATE, Audio, decode
from scribe.engines.faster_whisper import WhisperEngine
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.context import JobContext
from scribe.pipeline.predictor import Predictor
from scribe.pipeline.progress import Event, Progress
from scribe.pipeline.record import JobRecord
from scribe.schema.parsing import JobRequest, parse
from scribe.settings import Settings
from scribe.speakers.ecapa import VoiceSample
from scribe.transcript import Transcript

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

    model_set = ModelSet(configured())
    model_set.punkt = lambda tables: folder()  # type: ignore[method-assign]
    return Models(model_set, "cpu", parity=True)


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


def asked(**options: Any) -> JobRequest:
    return parse({"audio_file": ADDRESS, **options})


@dataclass(frozen=True)
class Predicted:
    """A transcript, and what the job's record holds of it."""

    transcript: Transcript
    record: JobRecord

    def __getattr__(self, name: str) -> Any:
        return getattr(self.record, name)


@contextlib.contextmanager
def job_context(
    request: JobRequest,
    stopped: Callable[[], None] = lambda: None,
    sink: Callable[[Event], None] = lambda event: None,
) -> Iterator[JobContext]:
    """The context of one job, its progress delivered at once."""
    with Progress(sink, ["transcribe", "align", "diarize", "name"], interval_s=0.0) as progress:
        yield JobContext(progress, JobRecord(), stopped, request.options.strict)


def predicted(
    channels: Sequence[Audio],
    options: Mapping[str, Any],
    voices: Sequence[VoiceSample] = (),
    check: Callable[[], None] = lambda: None,
    sink: Callable[[Event], None] = lambda event: None,
    by: Predictor | None = None,
) -> Predicted:
    """One pass of the demo models over a recording."""
    request = asked(**options)
    with job_context(request, check, sink) as context:
        return Predicted((by or predictor()).run(channels, request, voices, context), context.record)


def renamed(stored: Transcript, voices: Sequence[VoiceSample], **options: Any) -> Predicted:
    """A stored transcript whose speakers are named anew."""
    samples = [{"url": ADDRESS, "name": sample.name} for sample in voices] or [{"url": ADDRESS}]
    naming = {"speaker_verification": True, "speaker_samples": samples}
    request = parse({"source": {"transcript_url": ADDRESS}, **naming, **options})
    with job_context(request) as context:
        return Predicted(predictor().rename(stored, request, voices, context), context.record)


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
