"""Which weights, where from, loaded once and dropped when told.

A *model set* (`models/<name>/model_set.json`) names every model, the VAD and the chunk size that belong together.
The operator's variables override single models. Nothing here comes from a job: weights are code.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .settings import ROOT, Settings

log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")

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
    """One model's place: a local folder (`path`), or a name that the hub resolves."""

    name: str
    path: Path | None = None

    @property
    def source(self) -> str:
        """What a loader is given."""
        return str(self.path) if self.path else self.name

    @property
    def identity(self) -> str:
        """`name@revision`, as results and cache keys carry it. The revision of a local folder is a digest of its files."""
        if self.path is None:
            return self.name
        return f"{self.name}@{revision(self.path)}"


@dataclass(frozen=True, slots=True)
class SpeakerModel:
    """The speaker encoder with the threshold and margin that were measured on it (cosines)."""

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
        self.chunk_size: int = self._set["chunk_size"]
        self.nltk_data = (self._folder / self._set["nltk_data"]).resolve()
        speaker = self._set["speaker"]
        self.speaker = SpeakerModel(
            self._place(settings.speaker_model or speaker["source"]),
            *(speaker[key] for key in ("threshold", "margin", "min_seconds", "calibrated")),
        )
        self.diarization = self._place(settings.diarization_model or self._set["diarization"])

    def speech(self, asked: str | None = None) -> Location:
        """The speech model: the job's (checked by the caller), WHISPERX_MODEL, the set's own folder, WHISPERX_MODEL_DIR, a name."""
        if asked or self._settings.whisperx_model:
            return self._place(asked or self._settings.whisperx_model or "", prefix="Systran/faster-whisper-")
        named = self._place(self._set["whisper"], prefix="Systran/faster-whisper-")
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

    def only_aligns(self, language: str) -> bool:
        """False for a language that this set's aligners do not cover. An empty list means whisperX's own choice for all."""
        return bool(self._settings.align_model) or not self._set["aligners"] or language in self._set["aligners"]

    def identities(self) -> dict[str, str]:
        """{stage: name@revision}; part of a result's fingerprint, so known without loading anything."""
        return {
            "transcribe": self.speech().identity,
            "diarize": self.diarization.identity,
            "name": self.speaker.location.identity,
        }

    @property
    def is_local(self) -> bool:
        """True when no configured model needs the hub, which may then be switched off altogether."""
        places = [self.speech(), self.diarization, self.speaker.location, *map(self.aligner, self._set["aligners"])]
        aligned = bool(self._set["aligners"]) or bool(self._settings.align_model)
        return aligned and not self._settings.allowed_models and all(p is not None and p.path for p in places)

    def admit_code(self) -> None:
        """Make the package importable that this set's checkpoints name. It lives in builder/, never beside the weights."""
        code = self._set.get("code")
        if code and str(ROOT / "builder") not in sys.path:
            sys.path.append(str(ROOT / "builder"))
            importlib.invalidate_caches()

    def _in_set(self, place: Location) -> bool:
        return place.path is not None and self._folder.resolve() in place.path.parents

    def _place(self, source: str, prefix: str = "") -> Location:
        for candidate in (self._folder / source, Path(source)):
            if candidate.is_dir() and source not in ("", "."):
                # A folder of the set keeps its short name; a snapshot's own name would be a bare hash.
                return Location(source if candidate != Path(source) else candidate.name, candidate.resolve())
        repository = source if "/" in source else SPEECH_REPOSITORIES.get(source, prefix + source)
        for cache in self._settings.hub_caches:
            if snapshot := cached_snapshot(cache, repository):
                return Location(source, snapshot)
        return Location(source)


def cached_snapshot(cache: Path, repository: str) -> Path | None:
    """The folder of a repository's `main` in a hub cache (`models--org--name/snapshots/<hash>`), if there is one."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    with contextlib.suppress(OSError):
        snapshot = folder / "snapshots" / (folder / "refs" / "main").read_text("utf-8").strip()
        if snapshot.is_dir() and any(snapshot.iterdir()):
            return snapshot
    return None


def revision(folder: Path) -> str:
    """12 hex digits: the hub's commit for a snapshot, else a digest of names, sizes and the first and last 64 KiB of each file."""
    if folder.parent.name == "snapshots":
        return folder.name[:12]
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder)}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(65536))
            stream.seek(max(0, size - 65536))
            digest.update(stream.read(65536))
    return digest.hexdigest()[:12]


class Shelf:
    """Models that are loaded once and stay until dropped. Two jobs asking at once load once."""

    def __init__(self) -> None:
        self._models: dict[str, Any] = {}
        self._lock = threading.RLock()

    def get(self, key: str, load: Callable[[], Loaded]) -> Loaded:
        """The model under `key`, loaded on the first call. What `load` raises is raised, and tried anew next time."""
        with self._lock:
            if key not in self._models:
                began = time.monotonic()
                self._models[key] = load()
                log.info("[Predict] loaded %s in %.1f s", key, time.monotonic() - began)
            return self._models[key]

    def drop(self, prefix: str) -> None:
        """Forget the models whose key begins so, and give their GPU memory back."""
        with self._lock:
            gone = [key for key in self._models if key.startswith(prefix)]
            for key in gone:
                del self._models[key]
        if gone:
            release_memory()

    def names(self) -> list[str]:
        """The keys of what is loaded."""
        with self._lock:
            return list(self._models)


def release_memory() -> None:
    """Collect garbage first, then empty torch's cache: the other order frees nothing that is still referenced."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
