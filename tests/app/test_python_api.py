"""The Python API: the examples of docs/python-api.md, run against the stand-in of the platform and on the demo models."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from contract.worker import demo_environment
from support.person import ANSWER, PATIENCE, SAMPLES, SRC, Desk, Hand, answered, puts, storing, surroundings
from support.s3server import S3Server

import scribe

PAGE = SRC.parent / "docs" / "python-api.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def ran(desk: Desk, example: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The example as a program of its own in the person's folder."""
    return subprocess.run(
        [sys.executable, "-c", example],
        cwd=desk.folder,
        env=surroundings() | desk.environment | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=2 * PATIENCE,
    )


def test_the_pages_first_example_prints_the_transcript_of_the_endpoint(desk: Desk) -> None:
    desk.recording("meeting.mp3")
    with Hand(desk.platform, answered) as hand:
        done = ran(desk, EXAMPLES[0])
    assert (done.returncode, done.stdout) == (0, "   0.0  Alice: Hello there.\n"), done.stderr
    assert "Alice: Hello there." in (desk.folder / "meeting.srt").read_text()
    asked = hand.jobs[0]["input"]
    assert (asked["diarization"], asked["language"], asked["inline"]) == (True, "en", "full")


@pytest.mark.models
def test_the_pages_second_example_runs_on_the_demo_models_in_its_own_process(desk: Desk) -> None:
    shutil.copyfile(SAMPLES / "conversation.mp3", desk.folder / "meeting.mp3")
    variables = demo_environment("127.0.0.1", desk.folder / "jobs") | {"RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:9"}
    done = ran(desk, EXAMPLES[1], **variables)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()
    assert said[-1] == "2 speakers"
    assert {"transcribe", "diarize"} <= {line.split()[0] for line in said}


def test_the_pages_third_example_says_what_is_wrong(desk: Desk) -> None:
    desk.recording("notes.pdf", "%PDF-1.7")
    done = ran(desk, EXAMPLES[2])
    assert done.stdout.startswith("not_audio notes.pdf is no recording but a PDF document"), done.stderr


def test_every_public_name_is_on_the_page_and_importing_the_package_imports_none_of_them() -> None:
    for name in scribe.__all__:
        assert f"`scribe.{name}" in PAGE.read_text("utf-8")
        assert getattr(scribe, name) is not None
    with pytest.raises(AttributeError, match="translate"):
        scribe.translate  # noqa: B018
    program = "import sys, scribe; print(sorted(name for name in sys.modules if name.startswith('scribe')))"
    done = subprocess.run([sys.executable, "-c", program], env=surroundings(), capture_output=True, text=True)
    assert done.stdout.strip() == "['scribe']", done.stderr


def test_the_options_of_the_call_reach_the_job_and_uploads_are_taken_back(desk: Desk, stored: S3Server) -> None:
    desk.export()
    with Hand(desk.platform, storing(stored)) as hand:
        transcript = scribe.transcribe(
            Path(desk.recording("a.mp3")), voices={"Anna": desk.recording("anna.wav", "voice")}, num_speakers=2
        )
    assert [segment.text for segment in transcript.segments] == ["heard:sound"]
    asked = hand.jobs[0]["input"]
    assert (asked["num_speakers"], asked["speaker_verification"], asked["formats"]) == (2, True, ["json"])
    assert asked["speaker_samples"][0]["name"] == "Anna"
    assert len(puts(stored)) == 2
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []


def test_progress_is_called_and_warnings_are_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.export()
    seen: list[tuple[str, float | None]] = []
    warning = {"stage": "decode", "code": "audio_damaged", "message": "a part is missing"}

    def work(job: dict[str, Any]) -> dict[str, Any]:
        return {"output": ANSWER | {"warnings": [warning]}}

    with caplog.at_level(logging.WARNING, "scribe"), Hand(desk.platform, work):
        scribe.transcribe(desk.recording("a.mp3"), on_progress=lambda doing, percent: seen.append((doing, percent)))
    assert "decode: a part is missing" in caplog.messages
    assert all(percent is None or 0 <= percent <= 100 for _, percent in seen)


@pytest.mark.parametrize(
    ("post", "kind", "code", "retryable"),
    [
        ({"error": "too_long: x", "output": {"code": "too_long"}}, "TooLong", "too_long", False),
        ({"error": "gpu_broken: x", "output": {"code": "gpu_broken"}}, "GpuBroken", "gpu_broken", True),
        ({"error": "boom"}, "WorkerError", "job_failed", False),
        ({"output": ANSWER | {"segments_total": 900}}, "WorkerError", "result_truncated", False),
    ],
)
def test_what_goes_wrong_is_an_error_of_the_workers_tree(
    desk: Desk, post: dict[str, Any], kind: str, code: str, retryable: bool
) -> None:
    desk.export()
    with Hand(desk.platform, lambda job: post), pytest.raises(scribe.WorkerError) as raised:
        scribe.transcribe(desk.recording("a.mp3"))
    error = raised.value
    assert (type(error).__name__, error.code, error.retryable) == (kind, code, retryable)


def test_an_endpoint_that_cannot_be_reached_and_wrong_options_are_errors_too(desk: Desk) -> None:
    desk.export()
    recording = desk.recording("a.mp3")
    with pytest.raises(scribe.WorkerError) as raised:
        scribe.transcribe(recording, api_base="http://127.0.0.1:9/v2")
    assert (raised.value.code, raised.value.retryable) == ("endpoint_unreachable", True)
    with pytest.raises(scribe.InvalidInput, match="did you mean num_speakers"):
        scribe.transcribe(recording, num_speaker=2)
    with pytest.raises(scribe.InvalidInput, match="no file"):
        scribe.transcribe(desk.folder / "nowhere.mp3")
    assert desk.jobs == []


def test_a_transcript_is_rendered_in_every_format() -> None:
    transcript = scribe.Transcript("en", 2.0, (scribe.Segment(0.0, 1.0, "Hello there."),))
    for form in ("json", "srt", "vtt", "tsv", "txt", "html"):
        assert "Hello there." in scribe.render(transcript, form)
    assert json.loads(scribe.render(transcript, "json"))["language"] == "en"
    with pytest.raises(scribe.InvalidInput, match="docx is no format"):
        scribe.render(transcript, "docx")
