"""The model hub: bring a repository here whole, at one revision, checked; or only ask whether it may be had.

The hub's own client lists a snapshot under its branch before the files are there, so a second worker on the same
volume could take half a model. Here the branch is written last, when every file is present and has its checksum.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .errors import WeightsCorrupt

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 15.0
# The client itself goes on after a lost connection, but not after one that was closed half way.
PAUSES_S = (1.0, 4.0, 10.0)
# What CTranslate2 and the tokenizer read of a speech repository, which may hold other formats too.
SPEECH_FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
# Other frameworks' copies of the same weights, and language models that no loader here reads.
NEVER = ("*.h5", "*.msgpack", "*.ot", "*.onnx", "*.tflite", "language_model/*", "*.md", ".gitattributes")


@dataclass(frozen=True, slots=True)
class Offer:
    """What the hub would give: the commit, the files and their bytes in all."""

    commit: str
    files: tuple[Any, ...]
    bytes: int


def repository_folder(cache: Path, repository: str) -> Path:
    """Where a hub cache keeps a repository."""
    return cache / f"models--{repository.replace('/', '--')}"


def ask(repository: str, revision: str | None, token: str | None, only: Sequence[str] = ()) -> Offer:
    """What the hub has under this name, and that this token may have it. Raises what the hub's client raises."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    info = HfApi(token=token).model_info(repository, revision=revision, timeout=ASK_TIMEOUT_S, files_metadata=True)
    if getattr(info, "gated", False) and info.siblings:
        # Anyone may see a gated model's page; only its files are refused to those who did not accept the terms.
        address = hf_hub_url(repository, info.siblings[0].rfilename, revision=info.sha)
        get_hf_file_metadata(address, token=token, timeout=ASK_TIMEOUT_S)
    names = [s.rfilename for s in info.siblings or ()]
    never = (*NEVER, "*.bin") if any(name.endswith(".safetensors") for name in names) else NEVER
    files = tuple(s for s in info.siblings or () if _taken(s.rfilename, only, never))
    return Offer(str(info.sha), files, sum(s.size or 0 for s in files))


def bring(repository: str, revision: str | None, cache: Path, token: str | None, only: Sequence[str] = ()) -> Path:
    """The folder of a whole, checked snapshot in `cache`; what is there already is not downloaded again.

    `revision`: a branch, tag or commit, None for main. `only`: file patterns, empty for all that a loader here could
    want. A cut download goes on where it broke off. Two workers may do this at once. Raises WeightsCorrupt when bytes
    arrived that are not the announced ones (they are removed), else what the hub's client raises.
    """
    offer = ask(repository, revision, token, only)
    log.info("fetching %s at %s: %.2f GB", repository, offer.commit[:12], offer.bytes / 1e9)
    for file in offer.files:
        _check(_downloaded(repository, file.rfilename, offer.commit, cache, token), file)
    _write_ref(repository_folder(cache, repository), revision or "main", offer.commit)
    return repository_folder(cache, repository) / "snapshots" / offer.commit


def _downloaded(repository: str, name: str, commit: str, cache: Path, token: str | None) -> Path:
    """One file, going on after each break."""
    from huggingface_hub import hf_hub_download

    for pause in (*PAUSES_S, None):
        try:
            # File by file: the call that brings a whole snapshot asks the hub once more, without any time limit.
            return Path(
                hf_hub_download(
                    repository, name, revision=commit, cache_dir=cache, token=token, etag_timeout=ASK_TIMEOUT_S
                )
            )
        except OSError as error:
            # A full disk has a number and a refusal an answer: no other try would change them.
            if pause is None or error.errno is not None or getattr(error, "response", None) is not None:
                raise
            log.warning("the download of %s broke off (%s): going on", repository, type(error).__name__)
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _taken(name: str, only: Sequence[str], never: Sequence[str]) -> bool:
    if only:
        return any(fnmatch(name, pattern) for pattern in only)
    return not any(fnmatch(name, pattern) for pattern in never)


def _check(path: Path, announced: Any) -> None:
    """Compare a file with the checksum that the hub announced: SHA-256 of a large file, git's SHA-1 of a small one."""
    if announced.lfs:
        expected, digest = announced.lfs.sha256, hashlib.sha256()
    elif announced.blob_id:
        expected, digest = announced.blob_id, hashlib.sha1(usedforsecurity=False)
        digest.update(f"blob {path.stat().st_size}\0".encode())
    else:
        return
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise WeightsCorrupt(
            f"{announced.rfilename} arrived from the hub with other bytes than announced; it was deleted, try again"
        )


def _write_ref(folder: Path, revision: str, commit: str) -> None:
    """Name the snapshot; a commit gets a name too, as the sign that its files are complete."""
    ref = folder / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    part = ref.with_name(f"{ref.name}.{os.getpid()}.part")
    part.write_text(commit, "utf-8")
    part.replace(ref)
