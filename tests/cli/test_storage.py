"""The command with a storage: a real S3 server on loopback."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
import srt
from contract.worker import WorkerProcess, demo_environment
from support.person import (
    PATIENCE,
    SAMPLES,
    Desk,
    Hand,
    lose_the_job,
    puts,
    read,
    said,
    storage_env,
    storage_on,
    storing,
)
from support.s3server import S3Server

from scribe.app import main
from scribe.cli.state import STATE_FILE


def test_a_forgotten_jobs_answer_is_found_in_the_storage(desk: Desk, stored: S3Server) -> None:
    with Hand(desk.platform, storing(stored)) as hand:
        recording = desk.recording("a.mp3")
        assert desk.run(recording, "-f", "srt") == 0
        lose_the_job(desk, "forgotten-e1")
        for key, (data, _) in stored.objects().items():
            storage_on(stored).put(key.replace(hand.jobs[0]["id"], "forgotten-e1"), data, "text/plain", "x")
        moved = json.loads(storage_on(stored).get("transcripts/forgotten-e1/f00d/result.json"))
        assert moved["artifacts"]["json"].keys() == {"key", "bytes"}
        (desk.out / "a.srt").unlink()
        assert desk.run(recording, "-f", "srt") == 0
    assert len(hand.jobs) == 1, "the GPU is not asked twice"
    assert read(desk.out / "a.srt") == "heard:sound"


def test_recordings_and_voices_go_through_the_storage_once_and_are_removed_at_the_end(
    desk: Desk, stored: S3Server
) -> None:
    recordings = [desk.recording(f"{n}.mp3", f"sound {n}") for n in "abc"]
    voice = desk.recording("alice smith.wav", "voice")
    with Hand(desk.platform, storing(stored)) as hand:
        assert desk.run(*recordings, "--name", f"Alice={voice}", "-f", "srt,txt", "--parallel", "1") == 0
    assert sorted(path.rpartition("/")[2] for path in puts(stored)) == ["a.mp3", "alice%20smith.wav", "b.mp3", "c.mp3"]
    assert {read(desk.out / f"{n}.{form}") for n in "abc" for form in ("srt", "txt")} == {
        f"heard:sound {n}" for n in "abc"
    }
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []
    assert "inline" not in hand.jobs[0]["input"]
    assert hand.jobs[0]["input"]["speaker_samples"][0]["name"] == "Alice"
    assert "X-Amz" not in (desk.out / STATE_FILE).read_text()


def test_kept_uploads_are_not_uploaded_again(desk: Desk, stored: S3Server) -> None:
    recording = desk.recording("a.mp3")
    with Hand(desk.platform, storing(stored)):
        assert desk.run(recording, "--keep-uploads") == 0
        assert desk.run(recording, "--keep-uploads", "--language", "en") == 0
        assert len(puts(stored)) == 1
        assert desk.run(recording, "--language", "en") == 0
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []


def test_uploads_of_failed_jobs_stay_until_they_are_done(desk: Desk, stored: S3Server) -> None:
    recording = desk.recording("a.mp3")
    with Hand(desk.platform, lambda job: {"error": "boom"}):
        assert desk.run(recording) == 1
    assert len([key for key in stored.objects() if key.startswith("uploads/")]) == 1
    with Hand(desk.platform, storing(stored)):
        assert desk.run(recording) == 0
    assert len(puts(stored)) == 1
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []


def test_a_large_recording_is_uploaded_in_parts(desk: Desk, stored: S3Server) -> None:
    large = "0123456789" * 2_000_000
    with Hand(desk.platform, storing(stored)):
        assert desk.run(desk.recording("a.mp3", large), "-f", "txt") == 0
    assert len(puts(stored)) > 1
    assert read(desk.out / "a.txt") == f"heard:{large[:16]}"


def test_a_link_that_has_run_out_is_read_by_its_key(desk: Desk, stored: S3Server) -> None:
    def expired(job: dict[str, Any]) -> dict[str, Any]:
        post = storing(stored)(job)
        artifact = post["output"]["artifacts"]["json"]
        artifact["url"] = None if job["input"].get("language") else artifact["url"] + "0"
        return post

    for number, options in enumerate(((), ("--language", "en"))):
        with Hand(desk.platform, expired):
            assert desk.run(desk.recording(f"{number}.mp3"), "-f", "srt,txt", *options) == 0
        assert {read(desk.out / f"{number}.{form}") for form in ("srt", "txt")} == {"heard:sound"}


def test_a_storage_that_fails_for_a_moment_is_asked_again(desk: Desk, stored: S3Server) -> None:
    def work(job: dict[str, Any]) -> dict[str, Any]:
        post = storing(stored)(job)
        stored.fail(503)
        stored.hang_up(after_bytes=3)
        return post

    with Hand(desk.platform, work):
        assert desk.run(desk.recording("a.mp3"), "-f", "srt") == 0
    assert read(desk.out / "a.srt") == "heard:sound"


def test_a_storage_that_refuses_is_told_apart_from_one_that_is_gone(
    desk: Desk, stored: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = desk.recording("a.mp3")
    stored.denied.add("PUT")
    assert desk.run(recording) == 1
    assert "storage_denied: The storage refused (AccessDenied)" in capsys.readouterr().out
    desk.environment["STORAGE_ENDPOINT"] = "http://127.0.0.1:9"
    assert desk.run(recording) == 3
    assert "storage_unreachable" in capsys.readouterr().out


def test_delete_removes_a_jobs_objects_and_nothing_else(
    desk: Desk, stored: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with Hand(desk.platform, storing(stored)) as hand:
        assert desk.run(desk.recording("a.mp3", "one"), desk.recording("b.mp3", "two"), "-f", "srt") == 0
    first, second = (job["id"] for job in hand.jobs)
    assert main(["delete", first]) == 0
    assert "2 objects" in capsys.readouterr().out
    assert {key.split("/")[1] for key in stored.objects()} == {second}
    assert main(["delete", first]) == 1
    assert main(["delete", "../transcripts"]) == 2


@pytest.mark.long
def test_a_folder_survives_the_killing_of_the_client(desk: Desk, stored: S3Server) -> None:
    for n in "abc":
        desk.recording(f"day/{n}.mp3", f"sound {n}")
    arguments = [str(desk.folder / "day"), "-f", "srt,txt", "--parallel", "1"]
    running = desk.start(*arguments)
    desk.until(lambda: len(desk.jobs) == 1)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    with Hand(desk.platform, storing(stored)) as hand:
        running = desk.start(*arguments, "--json")
        out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, err
    assert sorted(json.loads(line)["name"] for line in out.splitlines()) == ["a", "b", "c"]
    assert len(hand.jobs) == 3, "the first job was watched, not sent again"
    found = {p.name: read(p) for p in desk.out.iterdir() if p.suffix in (".srt", ".txt")}
    assert found == {f"{n}.{form}": f"heard:sound {n}" for n in "abc" for form in ("srt", "txt")}
    assert len(puts(stored)) == 3
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []


def test_a_transcript_whose_speakers_are_to_be_named_is_a_job_without_audio(desk: Desk, stored: S3Server) -> None:
    def work(job: dict[str, Any]) -> dict[str, Any]:
        return storing(stored)(job | {"input": job["input"] | {"audio_file": job["input"]["source"]["transcript_url"]}})

    (desk.folder / "talk.json").write_bytes(said("heard:before"))
    with Hand(desk.platform, work) as hand:
        voice = desk.recording("anna.wav")
        assert desk.run(str(desk.folder / "talk.json"), "-f", "srt", "--name", f"Anna={voice}") == 0
    assert "audio_file" not in hand.jobs[0]["input"]


def test_the_real_worker_names_the_voices_and_every_file_arrives(desk: Desk, stored: S3Server) -> None:
    host = stored.endpoint.removeprefix("http://")
    worker = demo_environment(host, desk.folder / "jobs")
    recording = str(SAMPLES / "conversation.mp3")
    voices = [f"--name={name}={SAMPLES / 'voices' / f'{name.lower()}.flac'}" for name in ("Anna", "Mark")]
    with WorkerProcess(desk.platform, worker | storage_env(stored), cwd=desk.folder):
        code = desk.run(recording, *voices, "-f", "json,srt,vtt,tsv,txt,html", "--align", "--language", "en")
    assert code == 0
    names = {f"conversation.{form}" for form in ("json", "srt", "vtt", "tsv", "txt", "html")}
    assert {path.name for path in desk.out.iterdir()} == names | {"conversation.mp3", STATE_FILE}, "the page plays it"
    transcript = json.loads((desk.out / "conversation.json").read_text())
    assert {speaker["name"] for speaker in transcript["speakers"]} == {"Anna", "Mark"}
    assert list(srt.parse((desk.out / "conversation.srt").read_text()))
    assert len(puts(stored)) == 3
    assert {key.split("/")[0] for key in stored.objects()} == {"transcripts"}
