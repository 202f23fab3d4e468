"""Find repositories in a hub cache on disk, and decide which of their snapshots are complete.

`models--<org>--<name>/snapshots/<commit>/` holds a commit's files, `refs/<branch>` a branch's commit. Most clients write
the ref first, so it does not prove that the files are there. `hub.bring` writes a mark of its own last:
`.complete-<commit>` with the names and sizes of the files.
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

# What CTranslate2 and the tokenizer read from a speech repository, which may hold other formats too.
SPEECH_FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
# What transformers reads from an aligner's repository, which may also hold training checkpoints and language models.
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
# Patterns of the files to download by kind of model; empty: all but hub.NEVER.
FILES: dict[str, tuple[str, ...]] = {
    "speech": SPEECH_FILES,
    "aligner": ALIGNER_FILES,
    "diarization": (),
    "speaker": (),
}
# The files that each kind's loader needs, each with its alternative names.
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
# How pyannote's and SpeechBrain's configuration files refer to other files of their repository.
PARTS = {
    "config.yaml": re.compile(r"\$model/([\w./-]+)"),
    "hyperparams.yaml": re.compile(r"<pretrained_path>/([\w./-]+)"),
}


def repository_folder(cache: Path, repository: str) -> Path:
    """Return the folder of a repository in a hub cache."""
    return cache / f"models--{repository.replace('/', '--')}"


class _Mark(TypedDict):
    """The mark of a finished snapshot: the revisions it was downloaded for, its files' names and bytes."""

    revisions: list[str]
    files: dict[str, int]


def finished(cache: Path, repository: str, wanted: str = "main") -> Path | None:
    """Return the snapshot of a branch or commit that `hub.bring` has finished, if its files still have their sizes."""
    folder = repository_folder(cache, repository)
    for commit, note in _marks(folder):
        if wanted == commit or wanted in note["revisions"]:
            snapshot = folder / "snapshots" / commit
            if all(size(snapshot / name) == known for name, known in note["files"].items()):
                return snapshot
    return None


def kept_commit(cache: Path, repository: str, branch: str) -> str | None:
    """Return the commit that a branch had at its first download, which is used from then on; None if there was none."""
    found = _marks(repository_folder(cache, repository))
    return next((commit for commit, note in found if branch in note["revisions"]), None)


def mark_finished(folder: Path, commit: str, revision: str, files: Mapping[str, int]) -> None:
    """Mark the snapshot of `commit`, downloaded for `revision`, as complete; `files` holds names and bytes."""
    before = next((note["revisions"] for known, note in _marks(folder) if known == commit), [])
    note: _Mark = {"revisions": sorted({*before, revision}), "files": dict(files)}
    _write(folder / f".complete-{commit}", json.dumps(note))


def name_commit(folder: Path, revision: str, commit: str) -> None:
    """Write a ref, so that other clients find the snapshot by its branch; an existing ref is not changed."""
    if not (folder / "refs" / revision).exists():
        _write(folder / "refs" / revision, commit)


def held(cache: Path, repository: str, kind: str, wanted: str = "main") -> Path | None:
    """Return the snapshot of a branch or commit, by any client, if it has every file that a model of this kind needs."""
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
    """Return the files that a model of this kind needs and that are missing or empty in the folder."""
    absent = lacking(kind, [name for choice in NEEDED[kind] for name in choice if size(snapshot / name)])
    for description, pattern in PARTS.items():
        with contextlib.suppress(OSError):
            parts = pattern.findall((snapshot / description).read_text("utf-8"))
            absent += [part for part in dict.fromkeys(parts) if not _has(snapshot / part)]
    return absent


def lacking(kind: str, names: Collection[str]) -> list[str]:
    """Return the needed files of which `names` has no alternative, each by its first name."""
    return [choice[0] for choice in NEEDED[kind] if not any(name in names for name in choice)]


def _has(place: Path) -> bool:
    """Return whether `place` is a non-empty file, or a folder with one."""
    if place.is_dir():
        return any(size(file) for file in place.rglob("*"))
    return bool(size(place))


def size(file: Path) -> int | None:
    """Return a file's size in bytes; None if it does not exist."""
    with contextlib.suppress(OSError):
        return file.stat().st_size if file.is_file() else None
    return None


def _marks(folder: Path) -> list[tuple[str, _Mark]]:
    """Return (commit, mark) of the finished snapshots; unreadable marks are ignored."""
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
    """Write the file atomically, by renaming a temporary one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{uuid.uuid4().hex}.part")
    part.write_text(text, "utf-8")
    os.replace(part, place)
