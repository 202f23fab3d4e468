"""Download a model repository from the hub, complete, at one revision and with checksums; or only check access to it.

The hub's own client lists a snapshot under its branch before its files are complete, and two workers on a volume whose
locks do not reach across hosts write to the same file. Here each worker downloads to a folder of its own (staging.py),
every file's checksum is verified, and a mark is written last (snapshots.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol, TypeVar

from scribe.errors import ModelNotFound, WeightsCorrupt
from scribe.models import snapshots
from scribe.models.network_errors import passing
from scribe.models.snapshots import repository_folder
from scribe.models.staging import FOLDER, TURN_S, staged, turn
from scribe.runtime.digest import file_digest

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

ASK_TIMEOUT_S = 15.0
ASK_PAUSES_S = (1.0, 4.0)
# The client itself resumes after a lost connection, but not after one that was closed early.
PAUSES_S = (1.0, 4.0, 10.0)
# Never downloaded: the same weights for other frameworks, and language models that no loader here reads.
NEVER = ("*.h5", "*.msgpack", "*.ot", "*.onnx", "*.tflite", "language_model/*", "*.md", ".gitattributes")


class _Large(Protocol):
    @property
    def sha256(self) -> str: ...


class HubFile(Protocol):
    """A file as the hub's client describes it (its `RepoSibling`)."""

    @property
    def rfilename(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def blob_id(self) -> str | None: ...
    @property
    def lfs(self) -> _Large | None: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """What the hub offers for a repository: the commit, the files and their total bytes."""

    commit: str
    files: tuple[HubFile, ...]
    bytes: int


def ask(repository: str, revision: str | None, token: str | None, kind: str) -> Offer:
    """Return what the hub offers for a model of this kind (snapshots.FILES), after checking the token's access.

    Raises ModelNotFound when the repository lacks a file that the kind needs, else what the hub's client raises.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    hub = HfApi(token=token)
    info = hub.model_info(repository, revision=revision, timeout=ASK_TIMEOUT_S, files_metadata=True)
    if getattr(info, "gated", False):
        # A gated model's information is public and only its files are refused without accepted terms. The client's own
        # auth_check has no time limit.
        address = f"{hub.endpoint}/api/models/{repository}/auth-check"
        hf_raise_for_status(get_session().get(address, headers=build_hf_headers(token=token), timeout=ASK_TIMEOUT_S))
    files = _taken(info.siblings or (), kind)
    lacking = snapshots.lacking(kind, {s.rfilename for s in files})
    if lacking:
        raise ModelNotFound(f"{repository} has no {', '.join(lacking)}, which this worker needs", {"model": repository})
    return Offer(str(info.sha), files, sum(s.size or 0 for s in files))


def bring(repository: str, revision: str | None, cache: Path, token: str | None, kind: str) -> Path:
    """Download what is missing of a snapshot in `cache`, verify it and return its folder.

    `revision`: a branch, tag or commit; None for main, as it was at the first download. A cache that another client has
    filled is completed and verified; when that is impossible (no hub, read-only) it is used if it has all files that the
    kind needs. A broken download is resumed. Any number of workers may do this at once. Raises WeightsCorrupt when the
    bytes differ from the announced ones twice, ModelNotFound when the repository is no model of this kind, else what the
    hub's client raises.
    """
    branch = revision or "main"
    wanted = snapshots.kept_commit(cache, repository, branch) or branch
    found = snapshots.held(cache, repository, kind, wanted)
    try:
        # No retries if the cache can be used, so that a worker without access to the hub starts without waiting.
        offer = _patient(lambda: ask(repository, wanted, token, kind), () if found else ASK_PAUSES_S, repository)
    except Exception as error:
        if found is None:
            raise
        log.warning(
            "the hub cannot be asked about %s (%s): the cache's files are used", repository, type(error).__name__
        )
        return found
    folder = repository_folder(cache, repository)
    snapshot = folder / "snapshots" / offer.commit
    if _is_read_only(folder) and all(snapshots.size(snapshot / f.rfilename) == f.size for f in offer.files):
        return snapshot

    def done() -> bool:
        return snapshots.finished(cache, repository, offer.commit) is not None

    with turn(cache / FOLDER / f"{folder.name}.lock", done, TURN_S):
        if not done():
            log.info("fetching %s at %s: %.2f GB", repository, offer.commit[:12], offer.bytes / 1e9)
            _complete(repository, offer, folder, token)
        if not done() or snapshots.kept_commit(cache, repository, branch) is None:
            files = {f.rfilename: snapshots.size(snapshot / f.rfilename) or 0 for f in offer.files}
            snapshots.mark_finished(folder, offer.commit, branch, files)
            snapshots.name_commit(folder, branch, offer.commit)
    return snapshot


def _complete(repository: str, offer: Offer, folder: Path, token: str | None) -> None:
    """Download the files that the snapshot lacks or has with a wrong checksum."""
    with staged(folder.parent, folder.name) as own:
        # On a file system without locks the client uses lock files, and a killed worker leaves them locked.
        shutil.rmtree(own / ".locks", ignore_errors=True)
        for file in offer.files:
            place = folder / "snapshots" / offer.commit / file.rfilename
            if _is_whole(place, file):
                continue
            blob = folder / "blobs" / str(file.lfs.sha256 if file.lfs else file.blob_id)
            if _is_whole(blob, file):
                _link(blob, place)
            else:
                _put(_downloaded(repository, file, offer.commit, own, token), folder, place)


def _downloaded(repository: str, file: HubFile, commit: str, own: Path, token: str | None) -> Path:
    """Download one file to the worker's own folder and verify it; a wrong one is downloaded once more.

    Raises WeightsCorrupt when it is wrong again.
    """
    from huggingface_hub import hf_hub_download

    for again in (False, True):

        def download(force: bool = again) -> Path:
            # File by file: the client's snapshot_download asks the hub again, without a time limit.
            return Path(
                hf_hub_download(
                    repository,
                    file.rfilename,
                    revision=commit,
                    cache_dir=own,
                    token=token,
                    etag_timeout=ASK_TIMEOUT_S,
                    force_download=force,
                )
            )

        place = _patient(download, PAUSES_S, repository, last=_without_xet)
        if _is_whole(place, file):
            return place
        log.warning("%s arrived from the hub with other bytes than announced", file.rfilename)
    place.resolve().unlink(missing_ok=True)
    place.unlink(missing_ok=True)
    raise WeightsCorrupt(
        f"{file.rfilename} arrived twice from the hub with other bytes than announced; try again later"
    )


def _patient(
    call: Callable[[], Answer],
    pauses: tuple[float, ...],
    repository: str,
    last: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Answer:
    """Call, and retry after each pause while the error may be temporary; the last try runs inside `last`."""
    for pause in (*pauses, None):
        try:
            with last() if pause is None else contextlib.nullcontext():
                return call()
        except (OSError, RuntimeError) as error:
            # The client reports a short file by an OSError without an errno; a full disk has one.
            short = type(error) is OSError and error.errno is None
            if pause is None or not (short or passing(error)):
                raise
            log.warning("%s: the hub failed (%s): trying again", repository, type(error).__name__)
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


@contextlib.contextmanager
def _without_xet() -> Iterator[None]:
    """Make the client download by plain HTTP, which may work when Xet's servers fail."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


def _taken(offered: Sequence[HubFile], kind: str) -> tuple[HubFile, ...]:
    """Return the files that the loaders can use; when weights come in two formats, only the safetensors."""
    only = snapshots.FILES[kind] or ("*",)
    files = [f for f in offered if any(fnmatch(f.rfilename, pattern) for pattern in only)]
    twice = kind != "speech" and any(f.rfilename.endswith(".safetensors") for f in files)
    never = (*NEVER, "*.bin") if twice else NEVER
    return tuple(f for f in files if not any(fnmatch(f.rfilename, pattern) for pattern in never))


def _is_whole(path: Path, announced: HubFile) -> bool:
    """Return whether the file exists with the announced checksum: SHA-256 for large files, git's SHA-1 for small ones."""
    found = snapshots.size(path)
    if found is None or announced.size not in (None, found):
        return False
    if announced.lfs:
        return file_digest(path) == announced.lfs.sha256
    if announced.blob_id:
        begun = hashlib.sha1(f"blob {found}\0".encode(), usedforsecurity=False)
        return file_digest(path, begun) == announced.blob_id
    return True


def _put(brought: Path, folder: Path, place: Path) -> None:
    """Move a verified file from the worker's own cache into the shared one; a link is moved as its blob and a new link."""
    if brought.is_symlink():
        blob = folder / "blobs" / brought.resolve().name
        blob.parent.mkdir(parents=True, exist_ok=True)
        brought.resolve().replace(blob)
        _link(blob, place)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        brought.replace(place)


def _link(blob: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    link = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    link.symlink_to(os.path.relpath(blob, place.parent))
    link.replace(place)


def _is_read_only(folder: Path) -> bool:
    return folder.is_dir() and not os.access(folder, os.W_OK)
