"""Downloads in a shared cache: each worker in its own folder, what a dead one left is gone on with, no wait without end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scribe.models import staging
from scribe.models.staging import FOLDER, staged, turn


class Stopped(Exception):
    """In place of a kill: the block ends, the lock is free and the folder stays."""


def begun(cache: Path, name: str = "a") -> Path:
    """What a worker leaves that was stopped half way."""
    with contextlib.suppress(Stopped), staged(cache, name) as folder:
        (folder / "half").write_bytes(b"12")
        raise Stopped
    return folder


def test_a_finished_download_leaves_nothing(tmp_path: Path) -> None:
    with staged(tmp_path, "a") as folder:
        (folder / "file").touch()
        assert folder.is_relative_to(tmp_path / FOLDER)
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_two_workers_at_once_have_two_folders(tmp_path: Path) -> None:
    with staged(tmp_path, "a") as one, staged(tmp_path, "a") as other:
        (one / "half").touch()
        assert list(other.glob("half")) == []


def test_what_a_dead_worker_of_this_host_left_is_gone_on_with_and_the_rest_removed(tmp_path: Path) -> None:
    with staged(tmp_path, "a") as alive:
        first = begun(tmp_path)
        second = tmp_path / FOLDER / f"{first.name[:-32]}{'f' * 32}"
        second.mkdir()
        (second / ".alive").touch()
        with staged(tmp_path, "a") as folder:
            assert (folder / "half").read_bytes() == b"12"
        assert alive.is_dir()
        assert not first.exists()
        assert not second.exists()


def test_another_models_folder_is_left_alone(tmp_path: Path) -> None:
    left = begun(tmp_path, "a.b")
    with staged(tmp_path, "a") as folder:
        assert not (folder / "half").exists()
    assert left.is_dir()


@pytest.fixture(params=[True, False], ids=["locks", "no locks"])
def _locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not request.param:

        def none(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(staging.fcntl, "flock", none)
    return


@pytest.mark.usefixtures("_locks")
def test_another_hosts_folder_is_taken_over_only_after_a_long_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = begun(tmp_path)
    left = left.rename(left.with_name(left.name.replace(os.uname().nodename, "elsewhere")))
    with staged(tmp_path, "a") as folder:
        assert not (folder / "half").exists()
    for file in left.iterdir():
        stamp = file.stat().st_mtime - staging.ABANDONED_S - 1
        os.utime(file, (stamp, stamp))
    with staged(tmp_path, "a") as folder:
        assert (folder / "half").exists()


def test_a_turn_is_waited_for_until_what_it_is_for_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "POLL_S", 0.0)
    answers = [False, False, True]
    with (tmp_path / "lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with turn(tmp_path / "lock", lambda: answers.pop(0), wait_s=1e9):
            assert answers == []


def test_a_turn_that_never_comes_is_gone_without(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with turn(tmp_path / "lock", lambda: False, wait_s=0.0):
            pass


def test_a_turn_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with turn(tmp_path / "lock", pytest.fail, wait_s=0.0):
            pass
