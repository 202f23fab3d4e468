"""Which weights, where from, loaded once and dropped when told.

A *model set* (`models/<name>/model_set.json`) names every model, the VAD and the chunk size that belong together.
The operator's variables override single models. Nothing here comes from a job: weights are code.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import punkt
from .errors import WorkerError
from .hub import SPEECH_FILES, repository_folder
from .settings import ROOT, Settings

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
    """One model's place: a local folder (`path`), or a `repository` of the hub at the revision `pin` (None: main)."""

    name: str
    path: Path | None = None
    repository: str | None = field(default=None, compare=False)
    pin: str | None = field(default=None, compare=False)
    files: tuple[str, ...] = field(default=(), compare=False)
    """Patterns of the files that are needed; empty for all."""

    @property
    def source(self) -> str:
        """What a loader is given."""
        return str(self.path) if self.path else self.name

    @property
    def identity(self) -> str:
        """`name@revision`, as results and cache keys carry it. The revision of a local folder is a digest of its files."""
        if self.path is None:
            return f"{self.name}@{self.pin[:12]}" if self.pin else self.name
        return f"{self.name}@{revision(self.path)}"


# Threshold and margin (cosines) of an ECAPA that nobody has measured. SpeechBrain's 0.25 answers another question, whether
# two recordings are one voice: asked for each of ten names it gave one to 36 % of strangers whose cosines were drawn with
# mean 0.12 and deviation 0.10, this pair to 0.6 % (tests/test_speaker_processing.py draws them).
UNCALIBRATED_THRESHOLD, UNCALIBRATED_MARGIN = 0.45, 0.1


@dataclass(frozen=True, slots=True)
class SpeakerModel:
    """The speaker encoder with its threshold and margin (cosines); `calibrated`: they were measured, on it."""

    location: Location
    threshold: float
    margin: float
    min_seconds: float
    calibrated: bool


class ModelSet:
    """The configured models: the set's file, overridden by the operator's variables, resolved to places."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.model_set_file.parent
        self._set: dict[str, Any] = json.loads(settings.model_set_file.read_text("utf-8"))
        self.vad_method: str = self._set["vad_method"]
        self.vad_onset: float = self._set["vad_onset"]
        self.vad_offset: float = self._set["vad_offset"]
        self.vad_pause: float = self._set["vad_pause"]
        self.chunk_size: int = self._set["chunk_size"]
        self.log_prob_threshold: float = self._set["log_prob_threshold"]
        self._punkt_asked = False
        self._punkt_lock = threading.Lock()

    @property
    def speaker(self) -> SpeakerModel:
        """Looked up anew each time, like the others: a model that was brought here meanwhile has its revision."""
        speaker, settings = self._set["speaker"], self._settings
        threshold, margin = settings.speaker_threshold, settings.speaker_margin
        # What was measured on one encoder says nothing about another.
        known = (speaker["threshold"], speaker["margin"], speaker["calibrated"])
        own = (UNCALIBRATED_THRESHOLD, UNCALIBRATED_MARGIN, False) if settings.speaker_model else known
        return SpeakerModel(
            self._chosen(settings.speaker_model, speaker["source"]),
            own[0] if threshold is None else threshold,
            own[1] if margin is None else margin,
            speaker["min_seconds"],
            threshold is not None or own[2],
        )

    @property
    def diarization(self) -> Location:
        """The diarization pipeline."""
        return self._chosen(self._settings.diarization_model, self._set["diarization"])

    def speech(self, asked: str | None = None) -> Location:
        """The speech model: the job's (checked by the caller), WHISPERX_MODEL, the set's own folder, WHISPERX_MODEL_DIR, a name."""
        if asked is not None and asked != self.speech().name:
            return self._place(asked, prefix="Systran/faster-whisper-")
        if self._settings.whisperx_model:
            return self._place(self._settings.whisperx_model, prefix="Systran/faster-whisper-")
        named = self._chosen(None, self._set["whisper"], prefix="Systran/faster-whisper-")
        folder = self._settings.whisperx_model_dir
        if not self._in_set(named) and (folder / "model.bin").is_file():
            return Location(folder.name, folder)
        return named

    def allows(self, asked: str) -> bool:
        """Whether a job may ask for this model. The configured one is always allowed."""
        return asked in self._settings.allowed_models or asked == self.speech().name

    def aligner(self, language: str) -> Location | None:
        """The set's aligner for a language, ALIGN_MODEL for any, or None: whisperX's own choice."""
        source = self._settings.align_model or self._set["aligners"].get(language)
        return self._place(source) if source else None

    def aligners(self) -> dict[str, Location]:
        """The named aligners by language; `any` for ALIGN_MODEL. Empty: whisperX chooses."""
        if self._settings.align_model:
            return {"any": self._place(self._settings.align_model)}
        return {language: self._place(source) for language, source in self._set["aligners"].items()}

    def punkt(self, language: str) -> Path | None:
        """A folder for nltk.data.path with the sentence tables of `language` (NLTK's name: `german`), or None.

        They lie in the model cache and are downloaded when they are first needed; never for a set that needs no network.
        What failed is logged, and not tried again in this process.
        """
        folder = self.cache / "nltk_data"
        with self._punkt_lock:
            if not (punkt.holds(folder, language) or self._punkt_asked or self.is_local):
                self._punkt_asked = True
                try:
                    punkt.bring(folder)
                except (WorkerError, OSError) as error:
                    log.warning("NLTK's sentence tables cannot be had (%s): sentences are split by rules", error)
        return folder if punkt.holds(folder, language) else None

    @property
    def cache(self) -> Path:
        """The hub cache that downloads go into."""
        return self._settings.hub_caches[-1]

    def covers(self, language: str) -> bool:
        """False for a language that this set's aligners do not cover. An empty list means whisperX's own choice for all."""
        return bool(self._settings.align_model) or not self._set["aligners"] or language in self._set["aligners"]

    def identities(self, asked: str | None = None) -> dict[str, str]:
        """{stage: name@revision} for a job that asks for a speech model, or for none; part of a result's fingerprint, so
        known without loading anything."""
        return {
            "transcribe": self.speech(asked).identity,
            "diarize": self.diarization.identity,
            "name": self.speaker.location.identity,
            "align": " ".join(place.identity for place in self.aligners().values()),
        }

    @property
    def is_local(self) -> bool:
        """True when no configured model needs the hub, which may then be switched off altogether."""
        places = [self.speech(), self.diarization, self.speaker.location, *self.aligners().values()]
        aligned = bool(self._set["aligners"]) or bool(self._settings.align_model)
        return aligned and not self._settings.allowed_models and all(p.path for p in places)

    def admit_code(self) -> None:
        """Make the package importable that this set's checkpoints name. It lives in builder/, never beside the weights."""
        code = self._set.get("code")
        if code and str(ROOT / "builder") not in sys.path:
            sys.path.append(str(ROOT / "builder"))
            importlib.invalidate_caches()

    def _in_set(self, place: Location) -> bool:
        return place.path is not None and self._folder.resolve() in place.path.parents

    def _chosen(self, operators: str | None, own: str, prefix: str = "") -> Location:
        """The operator's model, else the set's: at the set's revision, or as RunPod's model cache holds it, which takes main."""
        if operators:
            return self._place(operators, prefix)
        place = self._place(own, prefix)
        if place.path is None and place.repository:
            snapshot = cached_snapshot(self._settings.hub_caches[0], place.repository)
            return replace(place, path=snapshot)
        return place

    def _place(self, source: str, prefix: str = "") -> Location:
        """`source` is a folder, or a repository or short name with an optional `@revision`."""
        name, _, pin = (source, "", "") if Path(source).is_dir() else source.partition("@")
        for candidate in (self._folder / name, Path(name)):
            if candidate.is_dir() and name not in ("", "."):
                # A folder of the set keeps its short name; a snapshot's own name would be a bare hash.
                return Location(name if candidate != Path(name) else candidate.name, candidate.resolve())
        repository = name if "/" in name else SPEECH_REPOSITORIES.get(name, prefix + name)
        files = SPEECH_FILES if prefix else ()
        for cache in self._settings.hub_caches:
            if snapshot := cached_snapshot(cache, repository, pin or "main"):
                return Location(name, snapshot, repository, pin or None, files)
        return Location(name, None, repository, pin or None, files)


def cached_snapshot(cache: Path, repository: str, wanted: str = "main") -> Path | None:
    """The folder of a repository's branch or commit in a hub cache (`models--org--name/snapshots/<hash>`), if it is whole.

    A ref that holds the commit is the sign that all of it is there: `hub.bring` writes it last.
    """
    folder = repository_folder(cache, repository)
    with contextlib.suppress(OSError):
        refs = {ref.name: ref.read_text("utf-8").strip() for ref in (folder / "refs").iterdir() if ref.is_file()}
        commit = refs.get(wanted, wanted)
        snapshot = folder / "snapshots" / commit
        if commit in refs.values() and snapshot.is_dir() and any(snapshot.iterdir()):
            return snapshot
    return None


def revision(folder: Path) -> str:
    """12 hex digits: the commit of a snapshot or of a baked model (`.revision`), else a digest of its files.

    The digest takes names, sizes and the first and last 64 KiB of each.
    """
    if folder.parent.name == "snapshots":
        return folder.name[:12]
    with contextlib.suppress(OSError):
        return (folder / ".revision").read_text("utf-8")[:12]
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder)}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(65536))
            stream.seek(max(0, size - 65536))
            digest.update(stream.read(65536))
    return digest.hexdigest()[:12]
