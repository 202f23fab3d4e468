"""The command against the stand-in of the platform: jobs, resumption, failures, formats."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import srt
from contract.platform import API_KEY
from contract.worker import WorkerProcess
from support.person import ANSWER, PATIENCE, SOUND, Desk, Hand, answered, lose_the_job, read, said


def test_without_storage_the_recording_travels_in_the_job_and_the_files_are_rendered_here(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    with Hand(desk.platform, answered) as hand:
        code = desk.run(
            desk.recording("talk.mp3"),
            "--name",
            f"Alice={desk.recording('alice.wav')}",
            "-f",
            "json,srt,html",
            "--align",
        )
    asked = hand.jobs[0]["input"]
    assert (code, asked["audio_base64"], asked["inline"], asked["speaker_verification"]) == (
        0,
        SOUND,
        "full",
        True,
    )
    assert asked["speaker_samples"] == [{"audio_base64": SOUND, "name": "Alice"}]
    assert [cue.content for cue in srt.parse((desk.out / "talk.srt").read_text())] == ["Alice: Hello there."]
    assert json.loads((desk.out / "talk.json").read_text())["speakers"][0]["embedding"]["vector"] == [0.6, 0.8]
    assert "talk.mp3" in (desk.out / "talk.html").read_text()
    assert "travels inside the job" in capsys.readouterr().out


def test_without_storage_a_large_recording_is_refused_before_it_is_sent(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.run(desk.recording("talk.mp3", "x" * 8_000_000)) == 1
    assert "too_large" in capsys.readouterr().out
    assert desk.jobs == []


def test_a_preview_is_not_taken_for_a_transcript(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    with Hand(desk.platform, lambda job: {"output": ANSWER | {"segments_total": 900}}):
        assert desk.run(desk.recording("talk.mp3"), "-f", "srt") == 1
    assert "result_truncated: The worker stored no json, and 1 of 900 segments came inline" in capsys.readouterr().out


def test_a_failed_job_is_shown_by_its_code_and_the_others_are_done(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(job: dict[str, Any]) -> dict[str, Any]:
        if job["input"]["audio_base64"] == "SUQzIG5vdGhpbmc=":
            return {"error": "not_audio: the file is a page", "output": {"code": "not_audio", "retryable": False}}
        return answered(job)

    with Hand(desk.platform, work) as hand:
        arguments = [desk.recording("a.mp3"), desk.recording("b.mp3", "nothing"), "--json"]
        assert desk.run(*arguments) == 1
        shown = capsys.readouterr()
        reports = {report["name"]: report for report in map(json.loads, shown.out.splitlines())}
        assert reports["b"]["error"] == {"code": "not_audio", "message": "the file is a page"}
        assert (reports["a"]["status"], reports["a"]["files"], reports["a"]["language"]) == (
            "done",
            [str(desk.out / "a.json")],
            "en",
        )
        assert "b: not_audio: the file is a page" in shown.err
        assert desk.run(*arguments) == 1
    assert len(hand.jobs) == 3, "what is done is not sent again, what failed is"


def test_only_failures_are_said_with_quiet(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    with Hand(desk.platform, lambda job: {"error": "boom"}):
        assert desk.run(desk.recording("a.mp3"), "--quiet") == 1
    assert capsys.readouterr() == ("", "a: job_failed: boom\n")


def test_where_nothing_can_be_reached_it_ends_with_3(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    recordings = [desk.recording(f"{n}.mp3") for n in "abc"]
    assert desk.run(*recordings, "--api-base", "http://127.0.0.1:9/v2", "--parallel", "1") == 3
    assert "endpoint_unreachable: RunPod could not be reached" in capsys.readouterr().out
    desk.environment["RUNPOD_API_KEY"] = "rpa_WRONG"
    assert desk.run(*recordings) == 3
    assert "endpoint_denied" in capsys.readouterr().out
    desk.environment |= {"RUNPOD_API_KEY": API_KEY, "RUNPOD_ENDPOINT_ID": "another"}
    assert desk.run(*recordings) == 3
    assert "endpoint_not_found" in capsys.readouterr().out


def test_what_is_finished_and_unchanged_is_skipped_and_what_changed_is_done_anew(desk: Desk) -> None:
    with Hand(desk.platform, answered) as hand:
        recordings = [desk.recording("a.mp3"), desk.recording("b.mp3")]
        assert desk.run(*recordings) == 0
        assert desk.run(*recordings) == 0
        assert len(hand.jobs) == 2
        desk.recording("a.mp3", "another sound")
        assert desk.run(*recordings) == 0
        assert len(hand.jobs) == 3
        (desk.out / "b.json").unlink()
        assert desk.run(*recordings) == 0
        assert len(hand.jobs) == 4
        assert desk.run(*recordings, "--language", "en") == 0
        assert len(hand.jobs) == 6


def test_a_file_that_somebody_else_wrote_is_not_overwritten(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.recording("out/talk.json", "mine")
    assert desk.run(desk.recording("talk.mp3")) == 1
    assert "file_exists" in capsys.readouterr().out
    assert (desk.out / "talk.json").read_text() == "mine"


def test_a_job_that_the_platform_forgot_is_submitted_again(desk: Desk) -> None:
    with Hand(desk.platform, answered) as hand:
        recording = desk.recording("a.mp3")
        assert desk.run(recording) == 0
        lose_the_job(desk)
        (desk.out / "a.json").unlink()
        assert desk.run(recording) == 0
    assert len(hand.jobs) == 2
    assert (desk.out / "a.json").is_file()


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(desk: Desk) -> None:
    recording = desk.recording("a.mp3")
    running = desk.start(recording)
    desk.until(lambda: len(desk.jobs) == 1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, "Traceback" in err) == (130, False)
    assert "1 submitted jobs go on at the endpoint. The same command continues with them." in err
    with Hand(desk.platform, answered) as hand:
        assert desk.run(recording) == 0
    assert len(hand.jobs) == 1


SLOW = """
import os, time, runpod
from pathlib import Path


def handler(job):
    runpod.serverless.progress_update(job, {"stage": "transcribe", "percent": 40.0, "stage_percent": 10.0})
    if Path("hang").exists():
        time.sleep(600)
    return ANSWER | {"job_id": job["id"]}

if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
"""


@pytest.mark.long
def test_a_worker_killed_at_work_costs_the_client_nothing_but_time(desk: Desk) -> None:
    place = desk.folder / "worker"
    desk.recording("worker/handler.py", SLOW.replace("ANSWER", repr(ANSWER)))
    desk.recording("worker/hang")
    running = desk.start(desk.recording("a.mp3"))
    first = WorkerProcess(desk.platform, {}, cwd=place, entry=place / "handler.py").__enter__()
    try:
        desk.until(lambda: bool(desk.jobs) and bool(desk.platform.record(desk.jobs[0]).progress))
    finally:
        first.kill()
    (place / "hang").unlink()
    desk.platform.deliver_again(desk.jobs[0])
    with WorkerProcess(desk.platform, {}, cwd=place, entry=place / "handler.py"):
        out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, err
    assert "transcribing" in out
    assert (desk.out / "a.json").is_file()
    assert desk.platform.record(desk.jobs[0]).deliveries == 2


def test_a_transcript_here_becomes_other_formats_without_a_job(desk: Desk) -> None:
    (desk.folder / "talk.json").write_bytes(said("heard:before"))
    assert desk.run(str(desk.folder / "talk.json"), "-f", "srt,html") == 0
    assert read(desk.out / "talk.srt") == "heard:before"
    assert (desk.out / "talk.html").is_file()
    assert desk.jobs == [""]


def test_other_formats_of_what_is_finished_are_made_here_and_cost_nothing(desk: Desk) -> None:
    recording = desk.recording("a.mp3")
    with Hand(desk.platform, answered) as hand:
        assert desk.run(recording, "-f", "srt") == 0
        assert (desk.out / "a.json").is_file(), "the transcript is always kept"
        assert desk.run(recording, "-f", "vtt,html") == 0
        assert (desk.out / "a.vtt").read_text().startswith("WEBVTT")
        assert desk.run(recording, "-f", "srt", "--set", "max_line_width=10") == 0
        assert max(map(len, (desk.out / "a.srt").read_text().splitlines())) <= len("00:00:00,000 --> 00:00:00,000")
        assert len(hand.jobs) == 1
        assert hand.jobs[0]["input"]["formats"] == ["json"]
        assert desk.run(recording, "-f", "srt", "--force") == 0
    assert len(hand.jobs) == 2


def test_the_page_has_its_recording_beside_it_and_a_file_that_is_there_stays(desk: Desk) -> None:
    with Hand(desk.platform, answered):
        assert desk.run(desk.recording("a.mp3"), "-f", "html") == 0
        (desk.out / "b.mp3").write_text("mine")
        assert desk.run(desk.recording("b.mp3"), "-f", "html") == 0
    assert (desk.out / "a.mp3").read_text() == "ID3 sound"
    assert (desk.out / "b.mp3").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "told"), [("# README", "plain text"), ("%PDF-1.7", "a PDF document"), ("", "is empty")]
)
def test_what_is_no_recording_is_refused_before_anything_is_sent(
    desk: Desk, content: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Hand(desk.platform, answered):
        assert desk.run(desk.recording("README.md", content)) == 1
    shown = capsys.readouterr().out
    assert "not_audio: README.md is" in shown
    assert told in shown
    assert desk.jobs == []


def test_what_somebody_else_wrote_is_not_overwritten_by_a_format_that_is_made_here(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = desk.recording("a.mp3")
    with Hand(desk.platform, answered):
        assert desk.run(recording, "-f", "srt") == 0
        desk.recording("out/a.vtt", "mine")
        assert desk.run(recording, "-f", "vtt") == 1
        assert desk.run(recording, "-f", "srt", "--set", "max_line_width=10") == 0, "its own it may write anew"
    assert "file_exists" in capsys.readouterr().out
    assert (desk.out / "a.vtt").read_text() == "mine"


def test_a_transcript_from_elsewhere_is_copied_where_its_json_is_asked_for(desk: Desk) -> None:
    (desk.folder / "talk.json").write_bytes(said("heard:before"))
    assert desk.run(str(desk.folder / "talk.json"), "-f", "json,srt") == 0
    assert (desk.out / "talk.json").read_bytes() == said("heard:before")


def test_two_recordings_of_one_name_have_each_their_own_beside_their_page(desk: Desk) -> None:
    monday, tuesday = desk.recording("monday/talk.mp3", "ID3 monday"), desk.recording("tuesday/talk.mp3", "ID3 tuesday")
    with Hand(desk.platform, answered):
        assert desk.run(monday, tuesday, "-f", "html") == 0
    for page in desk.out.glob("*.html"):
        name = re.search(r'data-audio="([^"]*)"', page.read_text())
        assert name
        (entry,) = [e for e in desk.state["recordings"].items() if page.name in e[1]["files"]]
        assert (page.parent / name[1]).read_bytes() == Path(entry[0]).read_bytes()
