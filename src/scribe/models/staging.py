"""Where a download grows: a folder of one worker's own inside a cache that many workers may share.

A lock of the operating system may not reach other hosts on a network volume, and one that is a file stays when its
holder dies. So nothing here is safe by a lock: each worker writes only to its own folder, and what is whole and checked
is renamed into the cache. Locks save work: workers that can see each other's wait instead of downloading the same twice.
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
# After so long without a written byte another host's download counts as dead; the pauses between tries are shorter.
ABANDONED_S = 300.0
# What a worker waits for another's download at most: RunPod gives a worker 7 minutes until it must be ready.
TURN_S = 300.0
POLL_S = 0.25


@contextlib.contextmanager
def staged(cache: Path, name: str) -> Iterator[Path]:
    """A folder below `cache` that no other worker writes to, removed when the block succeeds.

    When it fails the folder stays, and so it does when the worker is killed: the next download of the same `name` goes on
    with it. Raises OSError when the cache cannot be written to.
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
    """Rename what a dead worker left of `name` to `folder`, and remove what else is left; `held` keeps its lock."""
    for left in sorted(root.glob(f"{name}@*@{'[0-9a-f]' * 32}")):
        with contextlib.suppress(OSError), contextlib.ExitStack() as own:  # another worker may be quicker
            locked = _lock(own.enter_context((left / ".alive").open("r+b")))
            # The lock of a dead worker is free; on another host it may look so while it is held.
            if locked is False or not (_silent_s(left) > ABANDONED_S or (locked and left.name.split("@")[1] == host)):
                continue
            if folder.exists():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.rename(folder)
                held.enter_context(own.pop_all())


def _silent_s(folder: Path) -> float:
    """Seconds since anything below the folder was written, by the clock of its file system."""
    clock = folder / ".clock"
    clock.touch()
    now = clock.stat().st_mtime
    clock.unlink(missing_ok=True)
    return now - max((p.stat().st_mtime for p in folder.rglob("*") if p.is_file()), default=now)


@contextlib.contextmanager
def turn(path: Path, done: Callable[[], bool], wait_s: float) -> Iterator[None]:
    """Wait for the lock `path`, until what it is for is `done`, or `wait_s` have passed; then go on in any case."""
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
    """Whether the file is locked by this worker now; None where the file system knows no locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
