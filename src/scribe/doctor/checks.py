"""Check what works on this machine, and say for each failure what to do about it.

`examine` is for a person (`--check`) and checks everything. `fit` is for the platform, which replaces a worker that fails
it: it is quick and checks only what every job needs.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.doctor.gpus import Gpu, accelerators, counted, graphics, judged, missing_gpu
from scribe.doctor.report import Finding, Report, State, summary
from scribe.engines.base import Engine, SpeechOptions, TranscriptionRequest
from scribe.errors import StorageDenied, WorkerError
from scribe.models import hub, published
from scribe.models.load_errors import loading
from scribe.models.model_set import Location, ModelSet
from scribe.runtime import machine
from scribe.settings import VOLUME, InvalidSettings, Settings
from scribe.transcript import Chunk

log = logging.getLogger(__name__)
GIB = 1024**3
PCM_BYTES_PER_SECOND = 2 * SAMPLE_RATE
# A recording of an hour needs 115 MB of scratch space in addition to its download.
LEAST_SCRATCH = 256 * 1024**2
# Memory for large-v3 with the other models, and the least in which the smallest models run.
ENOUGH_MEMORY, LEAST_MEMORY = 4 * GIB, GIB


class Loaders(Protocol):
    """The worker's models as the doctor uses them: each method loads a model or raises a WorkerError."""

    model_set: ModelSet
    device: str
    compute_type: str

    def engine(self, place: Location) -> Engine: ...
    def detector(self, method: str) -> object: ...
    def aligner(self, language: str) -> object: ...
    def diarizer(self) -> object: ...
    def encoder(self) -> object: ...


class Store(Protocol):
    """The operator's storage: `probe` raises a WorkerError when it does not work."""

    def probe(self) -> None: ...


class Space(Protocol):
    """A disk's free space in bytes."""

    @property
    def free(self) -> int: ...


class Doctor:
    """Checks this machine. `models` creates the loaders and may raise InvalidSettings; `storage` is None without a bucket.

    `usage`, `memory`, `gpus` (torch's) and `speech_gpus` (CTranslate2's count) query the machine; tests pass their own.
    """

    def __init__(
        self,
        settings: Settings,
        models: Callable[[], Loaders],
        storage: Store | None = None,
        usage: Callable[[Path], Space] = shutil.disk_usage,
        memory: Callable[[], int] = machine.memory_limit,
        gpus: Callable[[], list[Gpu]] = accelerators,
        speech_gpus: Callable[[], int] = counted,
    ) -> None:
        self._settings = settings
        self._models = models
        self._storage = storage
        self._usage = usage
        self._memory = memory
        self._gpus = gpus
        self._speech_gpus = speech_gpus

    def examine(self) -> Report:
        """Run all checks. Takes as long as loading every model that is on this machine."""
        found: list[Finding] = []
        for look in (self._machine, self._graphics, self._folders, self._all_models, self._store):
            try:
                found.extend(look())
            except Exception as error:
                log.exception("the examination broke off")
                name = look.__name__.strip("_").replace("_", " ")
                found.append(Finding(name, "failed", f"the examination broke off: {type(error).__name__}"))
        return Report(tuple(found))

    def fit(self, models: Loaders) -> None:
        """Raise RuntimeError, with all reasons, when this worker can run no job: memory, scratch space, GPU or decoding."""
        found = [*self._memory_limit(needed=True), *self._scratch("JOBS_DIR", self._settings.jobs_dir, needed=True)]
        found.extend(self._accelerated(models.device))
        if "asr" in self._settings.warmup and all(f.state != "failed" for f in found):
            found.append(self._decodes(models))
        failed = [f for f in found if f.state == "failed"]
        if failed:
            raise RuntimeError(summary(failed))

    def _accelerated(self, device: str) -> Iterator[Finding]:
        """Check the GPU, if the speech model is on one or should be."""
        if device == "cpu" and not self._settings.expects_gpu:
            return
        gpus, speech = self._gpus(), self._speech_gpus()
        yield from judged(gpus, self._settings.kernel_cache)
        if not (gpus and speech):
            yield missing_gpu(gpus, speech, machine.driver_version(), "failed")

    def _machine(self) -> Iterator[Finding]:
        return self._memory_limit(needed=False)

    def _memory_limit(self, needed: bool) -> Iterator[Finding]:
        memory = self._memory()
        text = f"{memory / GIB:.1f} GiB for this container"
        if memory >= ENOUGH_MEMORY:
            yield Finding("memory", "ok", text)
            return
        remedy = "Give the container 4 GiB or more: the models are killed without a word when it runs out."
        yield Finding("memory", "failed" if needed and 0 < memory < LEAST_MEMORY else "warning", text, remedy)

    def _graphics(self) -> Iterator[Finding]:
        settings = self._settings
        asked = settings.whisperx_device, settings.expects_gpu, settings.kernel_cache
        yield from graphics(self._gpus(), self._speech_gpus(), machine.driver_version(), *asked)

    def _folders(self) -> Iterator[Finding]:
        mounted = os.path.ismount(VOLUME)
        yield Finding(
            "volume",
            "ok",
            f"{VOLUME} is {'mounted' if mounted else 'not mounted: what is downloaded goes with the worker'}",
        )
        yield from self._scratch("JOBS_DIR", self._settings.jobs_dir, needed=True)
        yield from self._scratch("TMPDIR", Path(tempfile.gettempdir()), needed=True)
        yield from self._scratch("hub cache", self._settings.hub_caches[-1], needed=False)

    def _scratch(self, name: str, folder: Path, needed: bool) -> Iterator[Finding]:
        remedy = (
            f"Point {'HF_HOME' if name == 'hub cache' else name} at a folder with room that this user may write to."
        )
        problem: State = "failed" if needed else "warning"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
            free = self._usage(folder).free
        except OSError as error:
            yield Finding(name, problem, f"{folder} cannot be written to: {error.strerror}", remedy)
            return
        text = f"{folder}, {free / GIB:.1f} GiB free"
        longest = self._settings.max_audio_bytes + int(self._settings.max_audio_seconds * PCM_BYTES_PER_SECOND)
        if free < LEAST_SCRATCH:
            yield Finding(name, problem, text, remedy)
        elif name == "JOBS_DIR" and free < longest * self._settings.concurrency:
            yield Finding(name, "warning", f"{text}; the largest job may need {longest / GIB:.1f}", remedy)
        else:
            yield Finding(name, "ok", text)

    def _all_models(self) -> Iterator[Finding]:
        try:
            models = self._models()
        except InvalidSettings as error:
            yield Finding("models", "failed", f"not looked at: {error}", "Correct that variable, or unset it.")
            return
        yield self._compute_type(models)
        model_set, warm = models.model_set, self._settings.warmup
        speech = self._model("speech model", model_set.speech(), True, lambda: models.engine(model_set.speech()))
        yield speech
        method = model_set.vad_method
        yield self._loaded(f"voice activity ({method})", "", True, lambda: models.detector(method))
        if speech.state == "ok":
            yield self._decodes(models)
        yield from self._aligners(models)
        yield self._model("diarization model", model_set.diarization, "diarization" in warm, models.diarizer)
        yield self._model("speaker model", model_set.speaker.location, "speakers" in warm, models.encoder)

    def _aligners(self, models: Loaders) -> Iterator[Finding]:
        """Check the English aligner, which WARMUP loads, or the one for all languages, and count the others on this machine."""
        found = models.model_set.aligners()
        first = next((language for language in ("any", "en", *found) if language in found), None)
        if first is not None:
            load = (lambda code: lambda: models.aligner(code))("en" if first == "any" else first)
            yield self._model(f"aligner ({first})", found[first], "align" in self._settings.warmup, load)
        if len(found) > 1:
            here = sorted(language for language, place in found.items() if place.path is not None)
            text = f"{len(here)} of {len(found)} languages on this machine: {' '.join(here) or 'none'}"
            yield Finding("aligners", "ok", f"{text}; each other one comes when it is first needed")

    def _compute_type(self, models: Loaders) -> Finding:
        import ctranslate2

        known = sorted(ctranslate2.get_supported_compute_types(models.device))
        text = f"{models.compute_type} on {models.device}"
        if models.compute_type in {*known, "default", "auto"}:
            return Finding("compute type", "ok", text)
        return Finding("compute type", "failed", text, f"Set WHISPERX_COMPUTE_TYPE to one of {', '.join(known)}.")

    def _model(self, check: str, place: Location, needed: bool, load: Callable[[], object]) -> Finding:
        """Load a model that is on this machine; for any other one, ask the hub whether it can be downloaded."""
        if place.path is not None:
            return self._loaded(check, place.identity, needed, load)
        token = self._settings.hf_token.get_secret_value() if self._settings.hf_token else None
        try:
            with loading(check, place.name):
                if place.file:
                    offered = published.ask(place.file)
                else:
                    offered = hub.ask(place.repository or place.name, place.pin, token, place.kind).bytes
        except WorkerError as error:
            return Finding(check, "failed" if needed else "warning", error.message, error.remedy)
        text = f"{place.name} is not on this machine; {offered / 1e9:.1f} GB will be downloaded on first use"
        return Finding(check, "warning", text, "Bake it into the image (PRELOAD_MODELS) or keep HF_HOME on a volume.")

    def _loaded(self, check: str, name: str, needed: bool, load: Callable[[], object]) -> Finding:
        began = time.monotonic()
        try:
            load()
        except WorkerError as error:
            return Finding(check, "failed" if needed else "warning", error.message, error.remedy)
        return Finding(check, "ok", f"{name} loaded in {time.monotonic() - began:.1f} s".strip())

    def _decodes(self, models: Loaders) -> Finding:
        """Decode one second of faint noise with the speech model, to check that it runs."""
        import numpy as np

        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as folder, loading("speech model", models.model_set.speech().name):
                noise = np.random.default_rng(0).normal(0, 30, SAMPLE_RATE).astype("<i2")
                (Path(folder) / "noise.pcm").write_bytes(noise.tobytes())
                audio, chunk = Audio(Path(folder) / "noise.pcm", SAMPLE_RATE), Chunk(0.0, 1.0, ((0.0, 1.0),))
                # These thresholds accept any text, so that there is only one decoding pass.
                options = SpeechOptions(
                    batch_size=1, beam_size=1, compression_ratio_threshold=math.inf, log_prob_threshold=-math.inf
                )
                request = TranscriptionRequest(audio, [chunk], "en", options)
                models.engine(models.model_set.speech()).transcribe(request, lambda segment: None)
        except (WorkerError, OSError) as error:
            remedy = error.remedy if isinstance(error, WorkerError) else "Give TMPDIR room."
            return Finding("decoding", "failed", str(error), remedy)
        return Finding("decoding", "ok", f"one second decoded in {time.monotonic() - began:.1f} s")

    def _store(self) -> Iterator[Finding]:
        if self._storage is None:
            yield Finding("storage", "skipped", "no STORAGE_BUCKET: answers carry the transcript themselves")
            return
        began = time.monotonic()
        try:
            self._storage.probe()
        except StorageDenied as error:
            if error.details.get("action") != "delete":
                yield Finding("storage", "failed", error.message, error.remedy)
            else:
                yield Finding(
                    "storage", "ok", "put and get work; the keys may not delete, so a small probe object stays"
                )
        except WorkerError as error:
            yield Finding(
                "storage", "failed", error.message, "Check STORAGE_ENDPOINT and that the network lets it through."
            )
        else:
            yield Finding("storage", "ok", f"put, get and delete in {time.monotonic() - began:.1f} s")
