"""Repositories of the hub in a cache on disk, as every client lays them out, and which of their snapshots are whole.

`models--<org>--<name>/snapshots/<commit>/` holds a commit's files, `refs/<branch>` a branch's commit. Most clients write
the ref first, so it is no sign that the files are there. `hub.bring` writes a mark of its own last: `.complete-<commit>`
with the names and sizes of the files.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypedDict

# What CTranslate2 and the tokenizer read of a speech repository, which may hold other formats too.
SPEECH_FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
# What transformers reads of an aligner's, which may hold checkpoints of its training and language models.
ALIGNER_FILES = (
    "config.json",
    "*processor_config.json",
    "vocab.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "model*.safetensors*",
    "pytorch_model*.bin*",
)
# By kind of model the patterns of the files that are brought; empty for all that a loader here could want.
FILES: dict[str, tuple[str, ...]] = {
    "speech": SPEECH_FILES,
    "aligner": ALIGNER_FILES,
    "diarization": (),
    "speaker": (),
}
# By kind what its loader cannot do without, each as a choice of names.
NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "speech": (("config.json",), ("model.bin",), ("tokenizer.json",)),
    "aligner": (
        ("config.json",),
        ("preprocessor_config.json", "processor_config.json"),
        ("vocab.json", "tokenizer.json"),
        ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    ),
    "diarization": (("config.yaml",),),
    "speaker": (("hyperparams.yaml",), ("embedding_model.ckpt",)),
}
# The parts of their own repository that pyannote's and SpeechBrain's descriptions name.
PARTS = {
    "config.yaml": re.compile(r"\$model/([\w./-]+)"),
    "hyperparams.yaml": re.compile(r"<pretrained_path>/([\w./-]+)"),
}


def repository_folder(cache: Path, repository: str) -> Path:
    """Where a hub cache keeps a repository."""
    return cache / f"models--{repository.replace('/', '--')}"


class _Mark(TypedDict):
    """What is written down of a finished snapshot: the revisions it was brought for, its files' names and bytes."""

    revisions: list[str]
    files: dict[str, int]


def finished(cache: Path, repository: str, wanted: str = "main") -> Path | None:
    """The folder of a branch's or commit's snapshot that `hub.bring` has finished, if its files are there as they were."""
    folder = repository_folder(cache, repository)
    for commit, note in _marks(folder):
        if wanted == commit or wanted in note["revisions"]:
            snapshot = folder / "snapshots" / commit
            if all(size(snapshot / name) == known for name, known in note["files"].items()):
                return snapshot
    return None


def kept_commit(cache: Path, repository: str, branch: str) -> str | None:
    """The commit of a branch as it was when it was brought first; later ones are not taken."""
    found = _marks(repository_folder(cache, repository))
    return next((commit for commit, note in found if branch in note["revisions"]), None)


def mark_finished(folder: Path, commit: str, revision: str, files: Mapping[str, int]) -> None:
    """Write down that the snapshot of `commit`, brought for `revision`, is whole: `files` are names and bytes."""
    before = next((note["revisions"] for known, note in _marks(folder) if known == commit), [])
    note: _Mark = {"revisions": sorted({*before, revision}), "files": dict(files)}
    _write(folder / f".complete-{commit}", json.dumps(note))


def name_commit(folder: Path, revision: str, commit: str) -> None:
    """Let other clients find the snapshot by its branch; a ref that they wrote stays theirs."""
    if not (folder / "refs" / revision).exists():
        _write(folder / "refs" / revision, commit)


def held(cache: Path, repository: str, kind: str, wanted: str = "main") -> Path | None:
    """The snapshot of a branch or commit that has every file which a model of this kind needs, whoever brought it."""
    folder, commit = repository_folder(cache, repository), wanted
    if not folder.is_dir():
        return None
    with contextlib.suppress(OSError):
        commit = (folder / "refs" / wanted).read_text("utf-8").strip()
    if commit == "main":
        with contextlib.suppress(OSError):
            names = [place.name for place in (folder / "snapshots").iterdir()]
            commit = names[0] if len(names) == 1 else commit
    snapshot = folder / "snapshots" / commit
    return None if missing(kind, snapshot) else snapshot


def missing(kind: str, snapshot: Path) -> list[str]:
    """The files that a model of this kind needs and the folder lacks, or has empty."""
    absent = lacking(kind, [name for choice in NEEDED[kind] for name in choice if size(snapshot / name)])
    for description, pattern in PARTS.items():
        with contextlib.suppress(OSError):
            parts = pattern.findall((snapshot / description).read_text("utf-8"))
            absent += [part for part in dict.fromkeys(parts) if not _has(snapshot / part)]
    return absent


def lacking(kind: str, names: Collection[str]) -> list[str]:
    """Of each choice of files that a model of this kind needs, the first, where `names` has none of them."""
    return [choice[0] for choice in NEEDED[kind] if not any(name in names for name in choice)]


def _has(place: Path) -> bool:
    """Whether there is a file that is not empty, or a folder with one."""
    if place.is_dir():
        return any(size(file) for file in place.rglob("*"))
    return bool(size(place))


def size(file: Path) -> int | None:
    """A file's bytes; None when there is none."""
    with contextlib.suppress(OSError):
        return file.stat().st_size if file.is_file() else None
    return None


def _marks(folder: Path) -> list[tuple[str, _Mark]]:
    """Commits and notes of the snapshots that were finished; what cannot be read is no mark."""
    found: list[tuple[str, _Mark]] = []
    with contextlib.suppress(OSError):
        for file in sorted(folder.glob(".complete-*")):
            with contextlib.suppress(OSError, ValueError):
                note = json.loads(file.read_text("utf-8"))
                if isinstance(note, dict) and {"revisions", "files"} <= note.keys():
                    mark: _Mark = {"revisions": note["revisions"], "files": note["files"]}
                    found.append((file.name.removeprefix(".complete-"), mark))
    return found


def _write(place: Path, text: str) -> None:
    """Whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{uuid.uuid4().hex}.part")
    part.write_text(text, "utf-8")
    os.replace(part, place)
