"""Make a directory for each job, JOBS_DIR/<worker>/<uuid>, and always remove it.

JOBS_DIR may be a volume that many workers share, and may hold other programs' files. So a directory is removed only by
the `open` that made it, or by a sweep that recognises it: its name is a uuid, it holds a heartbeat file, and it either
belongs to this worker (a leftover, because a worker sweeps before its first job) or had no heartbeat for an hour.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from scribe.errors import DiskFull, StorageUnavailable

log = logging.getLogger(__name__)

HEARTBEAT = ".heartbeat"
HEARTBEAT_S = 60.0
# Seconds without a heartbeat after which a worker counts as killed; shorter gaps may be an unmounted volume or clock skew.
ABANDONED_S = 60 * HEARTBEAT_S
_NAME = re.compile(r"[0-9a-f]{32}")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class Workspaces:
    """The workspaces of one worker under `root`. Safe to use from several threads."""

    def __init__(self, root: Path, worker_id: str) -> None:
        self._root = root
        self._own = root / slug(worker_id)

    def sweep(self) -> None:
        """Remove this worker's leftovers and all workspaces without a heartbeat for ABANDONED_S. Call it before any `open`."""
        if not self._root.is_dir():
            return
        for folder in [entry.path for entry in os.scandir(self._root) if entry.is_dir(follow_symlinks=False)]:
            worker = Path(folder)
            for space in _spaces(worker):
                if worker == self._own or time.time() - _last_sign(space) > ABANDONED_S:
                    _remove(space)
            if worker == self._own:
                with contextlib.suppress(OSError):
                    worker.rmdir()

    @contextlib.contextmanager
    def open(self) -> Iterator[Path]:
        """Yield a new directory of mode 0700, removed with its contents when the block ends. Raises StorageError."""
        space = self._own / uuid.uuid4().hex
        try:
            try:
                self._own.mkdir(mode=0o700, parents=True, exist_ok=True)
                space.mkdir(mode=0o700)
                (space / HEARTBEAT).touch(mode=0o600)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise DiskFull("the worker's disk has no room for a job") from error
                raise StorageUnavailable(f"JOBS_DIR cannot be written to: {error.strerror}") from error
            with _heartbeat(space / HEARTBEAT):
                yield space
        finally:
            _remove(space)


def slug(worker_id: str) -> str:
    """Return `worker_id` as a safe directory name; an id that had to be changed gets a digest, so that names stay unique."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", worker_id).strip("-")[:64]
    if clean == worker_id and clean:
        return clean
    return f"{clean or 'worker'}-{hashlib.sha256(worker_id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


@contextlib.contextmanager
def _heartbeat(file: Path) -> Iterator[None]:
    """Touch `file` once a minute, so that no other worker's sweep takes a long job for an abandoned one."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # a volume that is unavailable for a minute must not end the job
                os.utime(file)

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _spaces(worker: Path) -> list[Path]:
    """Return the workspaces in a worker's directory, and nothing else that lies there."""
    with contextlib.suppress(OSError), os.scandir(worker) as entries:
        named = [entry for entry in entries if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
        spaces = [Path(entry.path) for entry in named]
        return [space for space in spaces if (space / HEARTBEAT).is_file() or not any(space.iterdir())]
    return []


def _last_sign(space: Path) -> float:
    for sign in (space / HEARTBEAT, space):
        with contextlib.suppress(OSError):
            return sign.stat().st_mtime
    return time.time()


def _remove(space: Path) -> None:
    """Remove a tree without following links. A failure is only logged, so that it does not hide the job's outcome."""
    try:
        shutil.rmtree(space)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("a workspace could not be removed: %s", error.strerror)
