"""`scribe render`: other formats of a kept transcript, without a job."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.person import said

from scribe.app import main


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A kept transcript, its recording beside it."""
    (tmp_path / "talk.json").write_bytes(said("Good morning."))
    (tmp_path / "talk.mp3").write_text("ID3 sound")
    return tmp_path / "talk.json"


def test_a_transcript_becomes_other_formats_beside_it(talk: Path) -> None:
    assert main(["render", str(talk), "-f", "srt,html"]) == 0
    assert "Good morning." in talk.with_suffix(".srt").read_text()
    assert 'data-audio="talk.mp3"' in talk.with_suffix(".html").read_text(), "the page plays what lies beside it"
    assert {file.name for file in talk.parent.iterdir()} == {"talk.json", "talk.mp3", "talk.srt", "talk.html"}


def test_a_file_that_is_there_is_replaced_only_by_force(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk.with_suffix(".srt").write_text("mine")
    assert main(["render", str(talk)]) == 1
    assert "file_exists" in capsys.readouterr().err
    assert talk.with_suffix(".srt").read_text() == "mine"
    assert main(["render", str(talk), "--force"]) == 0
    assert "Good morning." in talk.with_suffix(".srt").read_text()


def test_one_format_goes_to_the_standard_output(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(talk.parent.iterdir())
    assert main(["render", str(talk), "-f", "vtt", "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith("WEBVTT")
    assert set(talk.parent.iterdir()) == before
    assert main(["render", str(talk), "-f", "json", "-o", "-"]) == 0
    assert capsys.readouterr().out == talk.read_text()


def test_the_pages_recording_may_be_named_and_lies_beside_it_in_another_folder(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_text("RIFF")
    out = tmp_path / "out"
    assert main(["render", str(talk), "-f", "html", "--audio", str(tmp_path / "other.wav"), "-o", str(out)]) == 0
    assert 'data-audio="other.wav"' in (out / "talk.html").read_text()
    assert (out / "other.wav").read_text() == "RIFF"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere.json"], 2, "there is no file nowhere.json"),
        (["talk.json", "-f", "srt,vtt", "-o", "-"], 2, "one format"),
        (["talk.json", "-f", "exe"], 2, "formats"),
        (["talk.json", "--audio", "nowhere.mp3"], 2, "--audio nowhere.mp3"),
        (["talk.mp3"], 1, "is no transcript"),
    ],
)
def test_what_cannot_be_rendered_is_a_sentence(
    talk: Path,
    arguments: list[str],
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(talk.parent)
    assert main(["render", *arguments]) == code
    assert told in capsys.readouterr().err
