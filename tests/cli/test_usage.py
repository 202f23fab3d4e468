"""What cannot be meant is a sentence, and 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from contract.platform import ENDPOINT
from support.person import PATIENCE, Desk, Hand, answered, surroundings

from scribe.app import main
from scribe.version import __version__


def test_every_problem_of_the_options_is_told_before_anything_is_sent(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    code = desk.run(desk.recording("a.mp3"), "--set", "vad_metod=silero", "--set", "beam_size=99", "-f", "exe")
    told = capsys.readouterr().err
    assert code == 2
    assert "did you mean vad_method" in told
    assert "beam_size" in told
    assert "formats" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.mp3"], "there is no file nowhere.mp3"),
        (["a.mp3", "--name", "alice"], "--name alice=alice.wav"),
        (["a.mp3", "--set", "beam_size"], "--set key=value"),
        (["a.mp3", "--set", "audio_file=x"], "audio_file"),
        (["empty"], "holds no recording"),
        (["http://[broken"], "host"),
    ],
)
def test_a_command_that_cannot_be_meant_ends_with_2_and_a_sentence(
    desk: Desk, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk.folder / "empty").mkdir()
    desk.recording("a.mp3")
    assert desk.run(*arguments) == 2
    assert told in capsys.readouterr().err


def test_without_a_key_or_an_endpoint_the_client_says_which_variable_is_missing(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = desk.recording("a.mp3")
    del desk.environment["RUNPOD_ENDPOINT_ID"]
    assert desk.run(recording) == 2
    assert "RUNPOD_ENDPOINT_ID" in capsys.readouterr().err
    del desk.environment["RUNPOD_API_KEY"]
    desk.monkeypatch.delenv("RUNPOD_API_KEY")
    assert desk.run(recording, "--endpoint", ENDPOINT) == 2
    assert "RUNPOD_API_KEY" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told_before_a_missing_key(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    del desk.environment["RUNPOD_ENDPOINT_ID"]
    assert desk.run("nowhere.mp3") == 2
    assert "there is no file nowhere.mp3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["transcribe", "a.mp3", "--diarise"], "No such option: --diarise; did you mean --diarize?"),
        (["transcribe", "a.mp3", "--parallel", "0"], "--parallel"),
        (["transcibe", "a.mp3"], "Did you mean 'transcribe'?"),
        (["transcribe", "a.mp3", "--language"], "--language"),
    ],
)
def test_a_mistyped_command_ends_with_2_and_names_what_was_meant(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert "--help'." in shown.err
    assert shown.out == ""


def test_the_bare_command_shows_its_help_and_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "transcribe" in capsys.readouterr().out
    assert main(["transcribe", "--help"]) == 0
    assert "--name Anna=anna.wav --name Mark=mark.wav" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"scribe {__version__}\n"


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    def completed(words: str, number: int) -> set[str]:
        asked = {"_SCRIBE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        shown = called(tmp_path, **asked)
        return set(shown.stdout.split())

    assert {"transcribe", "status", "delete", "check", "render"} <= completed("scribe ", 1)
    assert completed("scribe transcribe --dia", 2) == {"--diarize"}


def test_help_and_version_import_nothing_that_is_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom scribe.app import main\n"
        "codes = [main(['--help']), main(['transcribe', '--help']), main(['--version'])]\n"
        "heavy = {'torch', 'numpy', 'boto3', 'botocore', 'runpod', 'requests', 'av'} & set(sys.modules)\n"
        "assert (codes, heavy) == ([0, 0, 0], set()), (codes, heavy)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=surroundings(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def called(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m scribe` as a process."""
    command = [sys.executable, "-m", "scribe", *arguments]
    return subprocess.run(
        command, cwd=folder, env=surroundings() | variables, capture_output=True, encoding="utf-8", timeout=PATIENCE
    )


def test_the_key_that_runpods_own_tool_stored_is_used(desk: Desk) -> None:
    (desk.folder / ".runpod").mkdir()
    (desk.folder / ".runpod" / "config.toml").write_text(
        f'[default]\napi_key = "{desk.environment.pop("RUNPOD_API_KEY")}"\n'
    )
    with Hand(desk.platform, answered):
        assert desk.run(desk.recording("a.mp3")) == 0
