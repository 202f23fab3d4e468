"""The standard input and output as recording and transcript, and folders that are watched."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.person import PATIENCE, Desk, Hand, answered, read, storing, surroundings
from support.s3server import S3Server

from scribe.app import main
from scribe.cli import watching
from scribe.cli.recording import Recording, gather
from scribe.cli.watching import arrivals


def piped(desk: Desk, *arguments: str, given: bytes = b"ID3 sound") -> subprocess.CompletedProcess[bytes]:
    """`python -m scribe transcribe` in a pipe."""
    command = [sys.executable, "-m", "scribe", "transcribe", *arguments]
    variables = surroundings() | desk.environment
    return subprocess.run(command, cwd=desk.folder, env=variables, input=given, capture_output=True, timeout=PATIENCE)


def test_a_recording_comes_by_the_standard_input_and_its_transcript_leaves_by_the_output(
    desk: Desk, stored: S3Server
) -> None:
    before = set(desk.folder.iterdir())
    with Hand(desk.platform, storing(stored)) as hand:
        done = piped(desk, "-", "-f", "srt", "-o", "-", "--stdin-name", "talk.mp3")
    assert (done.returncode, done.stdout.decode().count("heard:sound")) == (0, 1), done.stderr
    assert done.stdout.startswith(b"1\n00:00:00")
    assert b"talk: done\n" in done.stderr
    assert hand.jobs[0]["input"]["audio_file"].partition("?")[0].endswith("/talk.mp3")
    assert set(desk.folder.iterdir()) == before
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []


def test_the_same_sound_in_a_pipe_is_finished_before_and_another_has_a_name_of_its_own(desk: Desk) -> None:
    with Hand(desk.platform, answered) as hand:
        assert piped(desk, "-", "-o", "out").returncode == 0
        assert b"finished before" in piped(desk, "-", "-o", "out").stdout
        assert piped(desk, "-", "-o", "out", given=b"ID3 other").returncode == 0
    assert len(hand.jobs) == 2
    assert {file.name for file in desk.out.glob("stdin*")} == {"stdin.json", "stdin-2.json"}


def test_a_failure_leaves_the_standard_output_empty(desk: Desk) -> None:
    with Hand(desk.platform, lambda job: {"error": "boom"}):
        done = piped(desk, "-", "-o", "-")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"boom" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a.mp3", "-o", "-", "-f", "srt,vtt"], "one format"),
        (["a.mp3", "b.mp3", "-o", "-"], "one recording"),
        (["a.mp3", "-o", "-", "--json"], "-o - and --json"),
        (["-", "-"], "give - once"),
        (["-"], "the standard input is empty"),
        (["-", "--stdin-name", "../talk.mp3"], "--stdin-name"),
        (["a.mp3", "--watch"], "give one"),
        (["-", "--watch"], "--watch and -"),
        ([".", "--watch", "-o", "-"], "-o - and --watch"),
        (["a.mp3", "--local", "--endpoint", "x"], "--local"),
    ],
)
def test_what_contradicts_itself_ends_with_2_and_a_sentence(
    desk: Desk, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.recording("a.mp3")
    desk.recording("b.mp3")
    desk.export()
    desk.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert main(["transcribe", *arguments]) == 2
    assert told in capsys.readouterr().err


class Over(Exception):
    """The test has seen enough."""


def found(folder: Path, between: list[Callable[[], None]]) -> list[str]:
    """What arrives in the folder when these things happen between two looks."""
    names: list[str] = []
    happenings = iter(between)

    def look(named: Mapping[str, str]) -> list[Recording]:
        return gather([str(folder)], named, empty=True)

    def wait(seconds: float) -> None:
        assert seconds == watching.POLL_S
        happening = next(happenings, None)
        if happening is None:
            raise Over
        happening()

    with contextlib.suppress(Over):
        for recording in arrivals(look, {}, wait):
            names.append(recording.name)
    return names


def test_a_recording_is_taken_once_it_has_stood_still_and_again_when_it_has_changed(tmp_path: Path) -> None:
    file, other = tmp_path / "a.mp3", tmp_path / "a.flac"

    def nothing() -> None:
        pass

    def grow() -> None:
        with file.open("a") as recording:
            recording.write("ID3 sound")

    assert found(tmp_path, [nothing, grow, grow, nothing, nothing]) == ["a"]
    assert found(tmp_path, [nothing, nothing, nothing, grow, nothing]) == ["a", "a"]
    empty = [(tmp_path / "b.mp3").touch, nothing, nothing, nothing]
    assert found(tmp_path, empty) == ["a"], "an empty file is not whole"
    arriving = [nothing, nothing, lambda: other.write_text("fLaC"), nothing]
    assert found(tmp_path, arriving) == ["a", "a.flac"], "what was taken keeps its name"


def test_a_watched_folder_is_transcribed_as_recordings_arrive_until_ctrl_c(desk: Desk, stored: S3Server) -> None:
    inbox = desk.folder / "inbox"
    inbox.mkdir()
    with Hand(desk.platform, storing(stored)) as hand:
        running = desk.start(str(inbox), "--watch", "-f", "srt,html")
        desk.recording("inbox/day/one.mp3", "sound a")
        desk.until(lambda: (desk.out / "day" / "one.html").is_file())
        desk.recording("inbox/two.mp3", "sound b")
        desk.until(lambda: (desk.out / "two.html").is_file())
        desk.until(lambda: all(entry["status"] == "done" for entry in desk.state["recordings"].values()))
        desk.until(lambda: not [key for key in stored.objects() if key.startswith("uploads/")])
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, "Traceback" in err) == (130, False)
    assert "nothing is under way" in err
    assert (read(desk.out / "day" / "one.srt"), read(desk.out / "two.srt")) == ("heard:sound a", "heard:sound b")
    assert len(hand.jobs) == 2


def test_a_watched_folder_may_be_away_for_a_moment(desk: Desk) -> None:
    inbox, away = desk.folder / "inbox", desk.folder / "away"
    inbox.mkdir()
    desk.environment["PYTHONUNBUFFERED"] = "1"
    with Hand(desk.platform, answered):
        running = desk.start(str(inbox), "--watch")
        assert running.stdout is not None
        printed = [next(line for line in running.stdout if "waiting for recordings" in line)]
        inbox.rename(away)
        printed.append(next(line for line in running.stdout if "not readable now" in line))
        desk.recording("away/one.mp3")
        away.rename(inbox)
        desk.until(lambda: (desk.out / "one.json").is_file())
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, "Traceback" in err) == (130, False), err
    assert "not readable now" not in out, "it is said once"


def test_what_lies_in_the_output_folder_is_no_new_recording_of_the_folder_around_it(desk: Desk) -> None:
    with Hand(desk.platform, answered) as hand:
        desk.recording("a.mp3")
        for _ in range(2):
            assert desk.run(str(desk.folder), "-f", "html") == 0
    assert (desk.out / "a.mp3").is_file()
    assert len(hand.jobs) == 1
    assert len(json.loads((desk.out / "transcribe-state.json").read_text())["recordings"]) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_command_acts_as_ctrl_c(desk: Desk, number: int) -> None:
    copies = desk.folder / "tmp"
    copies.mkdir()
    desk.environment["TMPDIR"] = str(copies)
    command = [sys.executable, "-m", "scribe", "transcribe", "-", "-o", str(desk.out)]
    running = subprocess.Popen(
        command, cwd=desk.folder, env=surroundings() | desk.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdin is not None
    running.stdin.write(b"ID3 sound")
    running.stdin.close()
    running.stdin = None
    desk.until(lambda: bool(desk.jobs))
    assert list(copies.iterdir())
    running.send_signal(number)
    _, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, b"go on at the endpoint" in err, b"Traceback" in err) == (130, True, False), err
    with Hand(desk.platform, answered) as hand:
        desk.until(lambda: bool(hand.jobs))  # the platform has no job left for another test
    assert list(copies.iterdir()) == [], "the copy of the standard input is removed"
