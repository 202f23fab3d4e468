"""Directories of jobs: made private, removed always, and never somebody else's."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scribe.jobs.workspace as workspace
from scribe.errors import DiskFull
from scribe.jobs.workspace import HEARTBEAT, Workspaces, slug

DAY, HOUR = 86400, 3600


def age(space: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(space / HEARTBEAT, (then, then))
    os.utime(space, (then, then))


def left_behind(root: Path, worker_id: str) -> Path:
    """A workspace as a killed worker leaves it."""
    made = Workspaces(root, worker_id).open()
    space = made.__enter__()
    kept = space.with_name("f" * 32)
    space.rename(kept)
    made.__exit__(None, None, None)
    (kept / "audio").write_bytes(b"x")
    return kept


def test_a_workspace_is_private_and_is_gone_after_its_job(tmp_path: Path) -> None:
    with Workspaces(tmp_path / "jobs", "pod1").open() as space:
        assert stat.S_IMODE(space.stat().st_mode) == 0o700
        assert space.parent == tmp_path / "jobs" / "pod1"
        (space / "deep" / "er").mkdir(parents=True)
        (space / "deep" / "er" / "audio").write_bytes(b"x")
    assert not space.exists()


def test_a_failing_job_leaves_nothing_either(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Workspaces(tmp_path, "pod1").open() as space:
        raise RuntimeError
    assert not space.exists()


def test_removal_does_not_follow_links(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"x")
    with Workspaces(tmp_path / "jobs", "pod1").open() as space:
        (space / "link").symlink_to(precious)
    assert (precious / "file").exists()


def test_a_sweep_removes_this_workers_leftovers_at_once(tmp_path: Path) -> None:
    space = left_behind(tmp_path, "pod1")
    Workspaces(tmp_path, "pod1").sweep()
    assert not space.exists()


def test_a_sweep_spares_another_live_worker(tmp_path: Path) -> None:
    with Workspaces(tmp_path, "pod2").open() as space:
        Workspaces(tmp_path, "pod1").sweep()
        assert space.exists()


def test_a_sweep_removes_what_another_worker_left_an_hour_ago(tmp_path: Path) -> None:
    space = left_behind(tmp_path, "pod2")
    age(space, HOUR - 600)
    Workspaces(tmp_path, "pod1").sweep()
    assert space.exists()
    age(space, HOUR + 600)
    Workspaces(tmp_path, "pod1").sweep()
    assert not space.exists()


def test_a_sweep_leaves_alone_what_is_not_a_workspace(tmp_path: Path) -> None:
    own, other = tmp_path / "pod1", tmp_path / "models"
    kept = [own / "notes", own / ("a" * 32), other / ("b" * 32), other / "snapshots"]
    for folder in kept:
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x")
        os.utime(folder, (0, 0))
    outside = tmp_path / "link"
    outside.symlink_to(own)
    Workspaces(tmp_path, "pod1").sweep()
    assert all((folder / "file").exists() for folder in kept)
    assert outside.is_symlink()


def test_a_sweep_of_no_directory_is_fine(tmp_path: Path) -> None:
    Workspaces(tmp_path / "absent", "pod1").sweep()
    assert not (tmp_path / "absent").exists()


def test_the_heartbeat_beats_while_a_workspace_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "HEARTBEAT_S", 0.02)
    with Workspaces(tmp_path, "pod1").open() as space:
        age(space, DAY + 600)
        for _ in range(5000):
            if time.time() - (space / HEARTBEAT).stat().st_mtime < DAY:
                break
            time.sleep(0.02)
        Workspaces(tmp_path, "pod2").sweep()
        assert space.exists()


def test_jobs_of_one_worker_do_not_meet(tmp_path: Path) -> None:
    spaces = Workspaces(tmp_path, "pod1")
    with spaces.open() as first:
        with spaces.open() as second:
            assert first != second
        assert first.exists()


@pytest.mark.parametrize("worker_id", ["../../x", "/etc", "", ".", "..", "a/b", "a\0b", "é" * 300, "x" * 5000])
def test_no_worker_id_leads_out_of_the_root(worker_id: str, tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "c"
    with Workspaces(root, worker_id).open() as space:
        assert space.parent.parent == root
        assert space.resolve().is_relative_to(root.resolve())


@given(st.text(), st.text())
def test_a_slug_is_one_harmless_name_and_two_ids_never_share_it(one: str, other: str) -> None:
    assert slug(one).replace("-", "").replace("_", "").isalnum()
    assert len(slug(one)) <= 80
    assert (slug(one) == slug(other)) == (one == other)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(DiskFull), Workspaces(tmp_path, "pod1").open():
        pass
    monkeypatch.undo()
    assert list((tmp_path / "pod1").iterdir()) == []
