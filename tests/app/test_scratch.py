"""Recordings of local jobs do not stay on the disk, whichever way the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.person import PATIENCE, surroundings

from scribe.app.scratch import scratch
from scribe.settings import InvalidSettings

PROGRAM = """
from scribe.app.scratch import scratch
with scratch() as folder:
    (folder / "recording.wav").write_text("private")
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_next_process_removes_what_a_killed_one_left_and_nothing_of_one_that_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    env = surroundings() | {"TMPDIR": str(tmp_path)}
    with (
        subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed,
        subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running,
    ):
        assert killed.stdout is not None
        assert running.stdout is not None
        left, used = Path(killed.stdout.readline().strip()), Path(running.stdout.readline().strip())
        killed.kill()
        killed.wait(PATIENCE)
        assert (left / "recording.wav").is_file()
        with scratch() as own:
            assert own.stat().st_mode & 0o777 == own.parent.stat().st_mode & 0o777 == 0o700
            assert sorted(own.parent.iterdir()) == sorted([own, used])
        running.communicate("\n", timeout=PATIENCE)
    assert list(own.parent.iterdir()) == []


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"scribe-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidSettings, match="TMPDIR"), scratch():
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / f"scribe-{os.getuid()}"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(InvalidSettings, match="not a folder of this user"), scratch():
        pass
