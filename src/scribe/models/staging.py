"""Download into a staging folder of the worker's own, inside a cache that many workers may share.

On a network volume, locks of the operating system may not reach other hosts, and a lock file stays when its holder
dies. So correctness does not depend on locks: each worker writes only to its own folder, and complete, verified files
are renamed into the cache. Locks only save work: workers that see each other's wait instead of downloading twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

FOLDER = ".staging"
# Seconds without a written byte after which another host's download counts as dead; pauses between tries are shorter.
ABANDONED_S = 300.0
# Longest wait for another worker's download, in seconds: RunPod gives a worker 7 minutes until it must be ready.
TURN_S = 300.0
POLL_S = 0.25


@contextlib.contextmanager
def staged(cache: Path, name: str) -> Iterator[Path]:
    """Yield a folder below `cache` that no other worker writes to, removed when the block succeeds.

    When the block fails or the worker is killed, the folder stays, and the next download of the same `name` resumes from
    it. Raises OSError when the cache cannot be written to.
    """
    root, host = cache / FOLDER, re.sub(r"\W", "-", os.uname().nodename)
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{name}@{host}@{uuid.uuid4().hex}"
    with contextlib.ExitStack() as held:
        _take_over(root, name, host, folder, held)
        if not folder.exists():
            folder.mkdir()
            _lock(held.enter_context((folder / ".alive").open("wb")))
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def _take_over(root: Path, name: str, host: str, folder: Path, held: contextlib.ExitStack) -> None:
    """Rename a dead worker's folder of `name` to `folder`, and remove further ones; `held` keeps the lock on it."""
    for left in sorted(root.glob(f"{name}@*@{'[0-9a-f]' * 32}")):
        with contextlib.suppress(OSError), contextlib.ExitStack() as own:  # another worker may take it first
            locked = _lock(own.enter_context((left / ".alive").open("r+b")))
            # A dead worker's lock is free. A lock held on another host may look free too.
            if locked is False or not (_silent_s(left) > ABANDONED_S or (locked and left.name.split("@")[1] == host)):
                continue
            if folder.exists():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.rename(folder)
                held.enter_context(own.pop_all())


def _silent_s(folder: Path) -> float:
    """Return the seconds since a file below the folder was written, by the clock of its file system."""
    clock = folder / ".clock"
    clock.touch()
    now = clock.stat().st_mtime
    clock.unlink(missing_ok=True)
    return now - max((p.stat().st_mtime for p in folder.rglob("*") if p.is_file()), default=now)


@contextlib.contextmanager
def turn(path: Path, done: Callable[[], bool], wait_s: float) -> Iterator[None]:
    """Wait until the lock `path` is free, `done()` is true or `wait_s` seconds have passed; then run the block anyway."""
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait_s
    with path.open("ab") as stream:
        while _lock(stream) is False:
            if done():
                break
            if time.monotonic() > until:
                log.warning("another worker has been downloading for %.0f s: going on beside it", wait_s)
                break
            time.sleep(POLL_S)
        yield


def _lock(stream: IO[bytes]) -> bool | None:
    """Try to lock the file; return whether this worker holds it now, None if the file system has no locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
