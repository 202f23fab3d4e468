"""Make the folder for the recordings of local jobs, and remove the folders of processes that were killed.

All lie in one folder for each user. A process locks its own folder as long as it lives, so an unlocked one is a leftover.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from scribe.settings import InvalidSettings


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a new folder in TMPDIR that only this user can read, removed when the block ends. Raises InvalidSettings."""
    root = Path(tempfile.gettempdir()) / f"scribe-{os.getuid()}"
    folder = root / uuid.uuid4().hex
    with contextlib.ExitStack() as stack:
        try:
            _make_private(root)
            with _locked(root):
                _remove_leftovers(root)
                folder.mkdir(mode=0o700)
                stack.enter_context(_locked(folder))
        except OSError as error:
            raise InvalidSettings(f"TMPDIR: {root} cannot be written to ({error.strerror})") from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _make_private(root: Path) -> None:
    """Create the folder with mode 0700. Raises InvalidSettings if it belongs to another user or is a link."""
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise InvalidSettings(
            f"TMPDIR: {root} is not a folder of this user; remove it, or set TMPDIR to another folder"
        )
    root.chmod(0o700)


def _remove_leftovers(root: Path) -> None:
    for folder in root.iterdir():
        with contextlib.suppress(OSError), _locked(folder, wait=False):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Lock the folder itself. Raises BlockingIOError if it is locked and `wait` is False."""
    import fcntl

    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(held)
