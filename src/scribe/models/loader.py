"""Load models on first use and cache them. Raises ModelError naming the model that failed."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from scribe.alignment.aligner import Aligner
from scribe.alignment.sentences import punkt_tables
from scribe.diarization.diarizer import Diarizer
from scribe.engines.base import Engine
from scribe.engines.batched import BatchedEngine
from scribe.engines.whisperx import WhisperXEngine
from scribe.errors import ModelNotFound
from scribe.models import hub, published
from scribe.models.cache import ModelCache, Stage
from scribe.models.import_ahead import ImportAhead
from scribe.models.load_errors import loading
from scribe.models.model_set import Location, ModelSet
from scribe.runtime.gpu_memory import LEAST_FREE
from scribe.runtime.machine import free_gpu_memory, usable_cores
from scribe.runtime.out_of_memory import Ceiling
from scribe.schema.plan import Plan
from scribe.settings import InvalidSettings
from scribe.speakers.ecapa import SpeakerEncoder
from scribe.vad.detectors import PyannoteDetector, SileroDetector, SpeechDetector

log = logging.getLogger(__name__)


class Models:
    """Loads the configured models. Each method returns a loaded model or raises a ModelError that says what to do."""

    def __init__(
        self,
        model_set: ModelSet,
        device: str = "auto",
        compute_type: str | None = None,
        token: str | None = None,
        vad_weights: Path | None = None,
        parity: bool = False,
        half: bool = False,
    ) -> None:
        self.model_set = model_set
        self.parity = parity
        self._half = half
        self.device = resolve_device(device)
        self.compute_type = resolve_compute_type(compute_type, self.device)
        self._token = token
        self._vad_weights = vad_weights
        self._cache = ModelCache()
        self._ceilings: dict[str, Ceiling] = {}
        self._imports = ImportAhead()
        self._threads = usable_cores()
        model_set.admit_code()
        speech = model_set.speech()
        log.info("[Predict] device=%s compute_type=%s", self.device, self.compute_type)
        log.info("[Predict] whisper_arch=%s (%s)", speech.name, "path" if speech.path else "name")

    def warm(self, stages: Sequence[str]) -> None:
        """Load the models of these stages (asr, align, diarization, speakers) before the first job."""
        self._begin([self.model_set.vad_method if s == "asr" else s for s in stages])
        if "asr" in stages:
            self.engine(self.model_set.speech())
            self.detector(self.model_set.vad_method)
        if "align" in stages:
            self.aligner("en")
        if "diarization" in stages:
            self.diarizer()
        if "speakers" in stages:
            self.encoder()

    def import_ahead(self, plan: Plan, vad_method: str | None) -> None:
        """Start importing in the background the packages that the plan's stages need."""
        detector = vad_method or self.model_set.vad_method
        needed = {detector: plan.recognize, "align": plan.align, "diarization": plan.diarize, "speakers": plan.name}
        self._begin([stage for stage, wanted in needed.items() if wanted])

    def _begin(self, stages: Sequence[str]) -> None:
        if not self.parity:
            self._imports.begin(stages)

    def engine(self, place: Location) -> Engine:
        """Return the speech model. Another loaded one is dropped first, so that only one is in memory."""
        # Keyed by repository, not folder: the folder is unknown before the first load, and the key would change after it.
        key = f"asr:{place.repository}@{place.pin or 'main'}" if place.repository else f"asr:{place.source}"
        for other in self._cache.names():
            if other.startswith("asr:") and other != key:
                self._cache.drop(other)
        kind = WhisperXEngine if self.parity else BatchedEngine
        with loading("speech model", place.name):
            return self._cache.get(
                key, lambda: kind(self._here(place), self.device, self.compute_type, self._threads, True)
            )

    def detector(self, method: str) -> SpeechDetector:
        """Return the voice activity detector `method`, silero or pyannote."""
        pause_s = math.inf if self.parity else self.model_set.vad_pause
        with loading("voice activity model", method):
            if method == "silero":
                return self._cache.get("vad:silero", lambda: SileroDetector(pause_s, self.parity))
            # Wait only for pyannote's own packages, while those of later stages are still being imported.
            wait = self._imports.wait
            wait("pyannote")
            return self._cache.get(
                "vad:pyannote", lambda: PyannoteDetector(self.device, self._vad_weights, pause_s, self.parity, wait)
            )

    def aligner(self, language: str) -> Aligner:
        """Return the aligner of a language. On a GPU with little free memory, idle aligners are dropped first.

        Raises ModelNotFound when the model set has none for it.
        """
        place = self.model_set.aligner(language)
        if place is None:
            message = f"the model set has no alignment model for '{language}': set ALIGN_MODEL to one that knows it"
            raise ModelNotFound(message, {"language": language})
        self._imports.wait()
        tables = punkt_tables(language, self.parity)
        if self.device == "cuda" and f"align:{language}" not in self._cache.names():
            while _narrow(free_gpu_memory()) and self._cache.drop_idle({Stage.ALIGNMENT}):
                continue
        with loading("alignment model", place.name):
            return self._cache.get(
                f"align:{language}",
                lambda: Aligner(
                    language,
                    self._here(place),
                    self.device,
                    self.model_set.punkt(tables) if tables else None,
                    self._checkpoints(place),
                    self.parity,
                ),
            )

    def diarizer(self) -> Diarizer:
        """Return the diarization pipeline."""
        place = self.model_set.diarization
        self._imports.wait()
        with loading("diarization model", place.name):
            return self._cache.get(
                "diarize", lambda: Diarizer(self._here(place), self.device, self._token, self.parity, self._half)
            )

    def encoder(self) -> SpeakerEncoder:
        """Return the speaker encoder."""
        place = self.model_set.speaker.location
        self._imports.wait()
        with loading("speaker model", place.name):
            return self._cache.get(
                "speaker",
                lambda: SpeakerEncoder(self._here(place), self.model_set.speaker.location.identity, self.device),
            )

    def drop_idle(self, *in_use: Stage) -> bool:
        """Drop one model whose stage is not in use; return whether there was one. It is loaded again on demand."""
        return self._cache.drop_idle(set(Stage) - set(in_use))

    def ceiling(self, place: Location) -> Ceiling:
        """Return the known limit of batch sizes with this speech model; it lasts as long as the process."""
        return self._ceilings.setdefault(f"{place.repository or place.source}@{place.pin}", Ceiling())

    def _here(self, place: Location) -> str:
        """Return the model's folder, downloaded first if needed, or the name of a model that is a single file."""
        if place.file is not None or place.path is not None or place.repository is None:
            return place.source
        return str(hub.bring(place.repository, place.pin, self.model_set.cache, self._token, place.kind))

    def _checkpoints(self, place: Location) -> Path | None:
        """Return the folder that holds the model's single file, downloaded first if needed; None for other models."""
        if place.file is None:
            return None
        return published.bring(place.file, place.path.parent if place.path else self.model_set.checkpoints).parent


def _narrow(free_bytes: int | None) -> bool:
    """Return whether the free GPU memory is too little to load another aligner."""
    return free_bytes is not None and free_bytes < LEAST_FREE


def resolve_compute_type(wanted: str | None, device: str) -> str:
    """Return CTranslate2's compute type: `wanted`, else float16 on a GPU and int8 on a CPU. Raises InvalidSettings."""
    import ctranslate2

    known = ctranslate2.get_supported_compute_types(device) | {"default", "auto"}
    if wanted is not None and wanted not in known:
        raise InvalidSettings(f"WHISPERX_COMPUTE_TYPE: this {device} does {', '.join(sorted(known))}")
    return wanted or ("float16" if device == "cuda" else "int8")


def resolve_device(wanted: str) -> str:
    """Return cpu or cuda. Raises InvalidSettings when cuda is wanted and CTranslate2 finds no usable GPU."""
    import ctranslate2

    count = ctranslate2.get_cuda_device_count()
    if wanted == "cuda" and count == 0:
        raise InvalidSettings("WHISPERX_DEVICE: cuda was asked for and no GPU (or no driver) is there; use auto or cpu")
    return "cuda" if count and wanted != "cpu" else "cpu"
