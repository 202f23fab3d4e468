"""Decide which model each stage uses, from the model set and the operator's settings.

A *model set* (`models/<name>/model_set.json`) names every model, the VAD and the chunk size that belong together.
The operator's variables override single models. A job can choose only among the allowed speech models, because loading
weights can run code.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypedDict

from scribe.errors import WorkerError
from scribe.models import punkt, snapshots
from scribe.models import torchaudio_bundles as bundles
from scribe.models.published import Published
from scribe.models.revision import revision
from scribe.settings import ROOT, Settings

log = logging.getLogger(__name__)

# Names that faster-whisper does not find under Systran/faster-whisper-<name>.
SPEECH_REPOSITORIES = {
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    **{
        f"distil-{size}": f"Systran/faster-distil-whisper-{size}"
        for size in ("small.en", "medium.en", "large-v2", "large-v3")
    },
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}


@dataclass(frozen=True, slots=True)
class Location:
    """Where a model is: a local folder or file (`path`), a hub `repository` at the revision `pin` (None: main), or a `file`
    at a public URL."""

    name: str
    path: Path | None = None
    repository: str | None = field(default=None, compare=False)
    pin: str | None = field(default=None, compare=False)
    kind: str = field(default="speech", compare=False)
    """speech, aligner, diarization or speaker."""
    file: Published | None = field(default=None, compare=False)

    @property
    def source(self) -> str:
        """The path or name that is passed to a loader."""
        return str(self.path) if self.path and not self.file else self.name

    @property
    def identity(self) -> str:
        """`name@revision`, for answers and cache keys. The revision of a local folder is a digest of its files."""
        if self.file is not None:
            return f"{self.name}@{self.file.sha256[:12]}" if self.file.sha256 else self.name
        if self.path is None:
            return f"{self.name}@{self.pin[:12]}" if self.pin else self.name
        return f"{self.name}@{revision(self.path)}"


# Threshold and margin (cosines) of an uncalibrated ECAPA. SpeechBrain's 0.25 is for verification, the comparison of two
# recordings: compared with ten enrolled voices, 36 % of strangers (cosines drawn with mean 0.12 and deviation 0.10) got
# a name by it, and 0.6 % by this pair (tests/speakers draws them).
UNCALIBRATED_THRESHOLD, UNCALIBRATED_MARGIN = 0.45, 0.1


@dataclass(frozen=True, slots=True)
class SpeakerModel:
    """The speaker encoder with its threshold and margin (cosines); `calibrated`: these were measured on this encoder."""

    location: Location
    threshold: float
    margin: float
    min_seconds: float
    calibrated: bool


class _Speaker(TypedDict):
    source: str
    threshold: float
    margin: float
    min_seconds: float
    calibrated: bool


class _File(TypedDict):
    """The keys of a model_set.json."""

    vad_method: str
    vad_onset: float
    vad_offset: float
    vad_pause: float
    chunk_size: int
    log_prob_threshold: float
    whisper: str
    diarization: str
    aligners: dict[str, str]
    speaker: _Speaker
    code: str | None


class ModelSet:
    """The configured models: those of the set's file, overridden by the operator's variables, and where they are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.model_set_file.parent
        self._set: _File = json.loads(settings.model_set_file.read_text("utf-8"))
        self.vad_method: str = self._set["vad_method"]
        self.vad_onset: float = self._set["vad_onset"]
        self.vad_offset: float = self._set["vad_offset"]
        self.vad_pause: float = self._set["vad_pause"]
        self.chunk_size: int = self._set["chunk_size"]
        self.log_prob_threshold: float = self._set["log_prob_threshold"]
        self._allowed = settings.allowed_models
        self._punkt_asked = False
        self._punkt_lock = threading.Lock()

    @property
    def speaker(self) -> SpeakerModel:
        """The speaker encoder. Looked up on each access, because a model downloaded since then has a revision."""
        speaker, settings = self._set["speaker"], self._settings
        threshold, margin = settings.speaker_threshold, settings.speaker_margin
        # The set's threshold was measured on the set's encoder and does not apply to another one.
        known = (speaker["threshold"], speaker["margin"], speaker["calibrated"])
        own = (UNCALIBRATED_THRESHOLD, UNCALIBRATED_MARGIN, False) if settings.speaker_model else known
        return SpeakerModel(
            self._chosen("speaker", settings.speaker_model, speaker["source"]),
            own[0] if threshold is None else threshold,
            own[1] if margin is None else margin,
            speaker["min_seconds"],
            threshold is not None or own[2],
        )

    @property
    def diarization(self) -> Location:
        """The diarization pipeline."""
        return self._chosen("diarization", self._settings.diarization_model, self._set["diarization"])

    def speech(self, asked: str | None = None) -> Location:
        """Return the speech model: the job's `asked` (checked by the caller), else the operator's, else the set's.

        WHISPERX_MODEL comes first, then the set's own folder, WHISPERX_MODEL_DIR and the name in the set's file.
        """
        if asked is not None and asked != public_name(self.speech().name):
            return self._place("speech", self._by_name().get(asked, asked))
        if self._settings.whisperx_model:
            return self._place("speech", self._settings.whisperx_model)
        named = self._chosen("speech", None, self._set["whisper"])
        folder = self._settings.whisperx_model_dir
        if not self._in_set(named) and (folder / "model.bin").is_file():
            return Location(folder.name, folder)
        return named

    def allows(self, asked: str) -> bool:
        """Return whether a job may ask for this model. The configured one is always allowed."""
        return asked in self.allowed() or asked in self._allowed

    def allowed(self) -> list[str]:
        """Return the names of the models that a job may ask for, the configured one first; of a path the last part."""
        return list(dict.fromkeys([public_name(self.speech().name), *self._by_name()]))

    def _by_name(self) -> dict[str, str]:
        """Return ALLOWED_MODELS by the names that callers see."""
        return {public_name(source): source for source in self._allowed}

    def allow(self, model: str) -> None:
        """Let jobs ask for this speech model too. Not thread-safe."""
        self._allowed = tuple(dict.fromkeys([*self._allowed, model]))

    def aligner(self, language: str) -> Location | None:
        """Return ALIGN_MODEL for any language, else the set's aligner; None if the set has none for this language."""
        source = self._settings.align_model or self._set["aligners"].get(language)
        return self._place("aligner", source) if source else None

    def aligners(self) -> dict[str, Location]:
        """Return the aligners by language, or ALIGN_MODEL as `any`."""
        if self._settings.align_model:
            return {"any": self._place("aligner", self._settings.align_model)}
        return {language: self._place("aligner", source) for language, source in self._set["aligners"].items()}

    def punkt(self, language: str) -> Path | None:
        """Return a folder for nltk.data.path with the sentence tables of `language` (NLTK's name: `german`), or None.

        They are in the set's folder if the image has them, else in the model cache, where they are downloaded when first
        needed, unless the set is local. A failed download is logged and not tried again in this process.
        """
        baked, cached = self._folder / "nltk_data", self.cache / "nltk_data"
        with self._punkt_lock:
            known = any(punkt.holds(folder, language) for folder in (baked, cached))
            if not (known or self._punkt_asked or self.is_local):
                self._punkt_asked = True
                try:
                    punkt.bring(cached)
                except (WorkerError, OSError) as error:
                    log.warning("NLTK's sentence tables cannot be downloaded (%s): sentences are split by rules", error)
        return next((folder for folder in (baked, cached) if punkt.holds(folder, language)), None)

    @property
    def cache(self) -> Path:
        """The hub cache that models are downloaded to."""
        return self._settings.hub_caches[-1]

    @property
    def checkpoints(self) -> Path:
        """The folder in which torch.hub keeps files downloaded by URL."""
        return (self._settings.torch_home or Path.home() / ".cache" / "torch") / "hub" / "checkpoints"

    def identities(self, asked: str | None = None) -> dict[str, str]:
        """Return {stage: name@revision} for a job that asks for this speech model, or for none, without loading a model.

        It is part of a result's fingerprint. `settings` holds the operator's settings that change a result.
        """
        settings, speaker, vad = self._settings, self.speaker, self._settings.vad_model_path
        shaping = (
            settings.parity, settings.whisperx_compute_type, settings.diarization_precision, speaker.threshold, speaker.margin,
        )  # fmt: skip
        return {
            "detect": f"{self.vad_method}@{revision(vad)}" if vad else self.vad_method,
            "transcribe": self.speech(asked).identity,
            "diarize": self.diarization.identity,
            "name": speaker.location.identity,
            "align": " ".join(self._aligners_identities()),
            "settings": " ".join(map(str, shaping)),
        }

    @property
    def is_local(self) -> bool:
        """Whether all configured models are on this machine, so that the hub is not needed."""
        # Lazy: the first missing model ends the search, because 40 look-ups on a network volume delay every start.
        others: tuple[Callable[[], Location], ...] = (
            self.speech, lambda: self.diarization, lambda: self.speaker.location,
        )  # fmt: skip
        languages = ["any"] if self._settings.align_model else self._set["aligners"]
        places = chain((locate() for locate in others), map(self.aligner, languages))
        return not self._allowed and all(place.path for place in places if place)

    def admit_code(self) -> None:
        """Make the package importable that this set's checkpoints refer to. It is in builder/, never next to the weights."""
        code = self._set.get("code")
        if code and str(ROOT / "builder") not in sys.path:
            sys.path.append(str(ROOT / "builder"))
            importlib.invalidate_caches()

    def _aligners_identities(self) -> list[str]:
        """Return the aligners' names without looking up revisions: forty look-ups on a network volume would delay every job."""
        if self._settings.align_model or all((self._folder / s).is_dir() for s in self._set["aligners"].values()):
            return [place.identity for place in self.aligners().values()]
        return list(self._set["aligners"].values())

    def _in_set(self, place: Location) -> bool:
        return place.path is not None and self._folder.resolve() in place.path.parents

    def _chosen(self, kind: str, operators: str | None, own: str) -> Location:
        """Return the operator's model, else the set's: at the set's revision, or at main if RunPod's model cache has that."""
        if operators:
            return self._place(kind, operators)
        place = self._place(kind, own)
        if place.path is None and place.repository:
            return replace(place, path=snapshots.held(self._settings.hub_caches[0], place.repository, kind))
        return place

    def _place(self, kind: str, source: str) -> Location:
        """Locate `source`: a folder, a torchaudio bundle, or a repository or short name with an optional `@revision`."""
        name, _, pin = (source, "", "") if Path(source).is_dir() else source.partition("@")
        for candidate in (self._folder / name, Path(name)):
            if candidate.is_dir() and name not in ("", "."):
                # A folder of the set keeps its short name, because the folder of a snapshot is named by a hash.
                return Location(name if candidate != Path(name) else candidate.name, candidate.resolve(), kind=kind)
        if kind == "aligner" and (file := bundles.weights(name)):
            places = (self._folder / "checkpoints" / file.name, self.checkpoints / file.name)
            return Location(name, next((p for p in places if p.is_file()), None), kind=kind, file=file)
        known = SPEECH_REPOSITORIES.get(name, f"Systran/faster-whisper-{name}")
        repository = known if kind == "speech" and "/" not in name else name
        (runpods, own), wanted = self._settings.hub_caches, pin or "main"
        # RunPod's cache is filled before the worker starts and is read-only, so any complete snapshot in it is used. Our
        # own cache is used only when the download was marked as finished.
        path = snapshots.held(runpods, repository, kind, wanted) or snapshots.finished(own, repository, wanted)
        return Location(name, path, repository, pin or None, kind)


def public_name(source: str) -> str:
    """Return a model's name as callers see it: of an absolute path only the last part."""
    return Path(source).name if Path(source).is_absolute() else source
