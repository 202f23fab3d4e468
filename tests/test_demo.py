"""`make demo` leaves a page that plays: its recording lies beside it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "samples"))

import demo

ANSWER: dict[str, Any] = {
    "detected_language": "en",
    "duration": 2.0,
    "segments": [{"start": 0.0, "end": 1.0, "text": "Hello there."}],
    "speakers": [],
    "warnings": [],
}


def test_the_page_and_the_recording_that_it_names_lie_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "OUT", tmp_path / "out")
    recording = tmp_path / "my talk.mp3"
    recording.write_bytes(b"ID3 sound")
    written = demo.write(ANSWER, recording)
    page = (tmp_path / "out" / "my talk.html").read_text("utf-8")
    assert re.search(r"my(%20| )talk\.mp3", page)
    assert (tmp_path / "out" / "my talk.mp3").read_bytes() == b"ID3 sound"
    assert tmp_path / "out" / "my talk.mp3" in written
    assert demo.write(ANSWER, tmp_path / "out" / "my talk.mp3") == written, "a recording in out/ is its own copy"
