"""`scribe transcribe --local` and `scribe check` with the worker's packages: the demo models, in a process of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from contract.truth import likeness
from contract.worker import demo_environment
from support.person import PATIENCE, SAMPLES, Desk, surroundings

from scribe.app import here, main
from scribe.app.local import settings_here
from scribe.cli.installed import absent, pip_command


def environment(desk: Desk) -> dict[str, str]:
    """The demo models, and a platform and a storage that nothing may ask."""
    nowhere = {
        "RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:9",
        "STORAGE_BUCKET": "b",
        "STORAGE_ENDPOINT": "http://127.0.0.1:9",
        "STORAGE_ACCESS_KEY": "not-asked",
        "STORAGE_SECRET_KEY": "not-asked-either",
    }
    return surroundings() | desk.environment | demo_environment("nowhere.invalid", desk.folder / "jobs") | nowhere


def run(desk: Desk, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m scribe` as a process."""
    command = [sys.executable, "-m", "scribe", *arguments]
    return subprocess.run(
        command, cwd=desk.folder, env=environment(desk), capture_output=True, encoding="utf-8", timeout=2 * PATIENCE
    )


def left(desk: Desk) -> list[Path]:
    """Files of jobs that are still on the disk."""
    return [path for path in (desk.folder / "jobs").rglob("*") if path.is_file()]


@pytest.mark.models
def test_two_recordings_are_transcribed_here_with_names_and_nothing_is_sent(desk: Desk) -> None:
    voices = [f"--name={name}={SAMPLES / 'voices' / f'{name.lower()}.flac'}" for name in ("Anna", "Mark")]
    recordings = [str(SAMPLES / "conversation.mp3"), str(SAMPLES / "silence.flac")]
    done = run(desk, "transcribe", *recordings, "--local", *voices, "-f", "srt,html", "-o", "out", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    reports = {report["name"]: report for report in map(json.loads, done.stdout.splitlines())}
    assert {speaker["name"] for speaker in reports["conversation"]["speakers"]} == {"Anna", "Mark"}
    codes = [warning["code"] for warning in reports["silence"]["warnings"]]
    assert codes == ["no_speech"], "that nothing is stored is no warning where nothing should be"
    assert "separating the speakers" in done.stderr
    transcript = json.loads((desk.out / "conversation.json").read_text())
    assert likeness(" ".join(segment["text"] for segment in transcript["segments"]), "conversation") > 0.9
    assert any("words" in segment for segment in transcript["segments"])
    assert (desk.out / "conversation.mp3").is_file(), "the page plays it"
    assert left(desk) == [], "the workspaces are removed"
    again = run(desk, "transcribe", *recordings, "--local", *voices, "-f", "srt,html", "-o", "out")
    assert again.stdout.count("finished before") == 2


@pytest.mark.models
def test_a_recording_that_is_none_fails_by_the_workers_own_sentence(desk: Desk) -> None:
    done = run(desk, "transcribe", desk.recording("a.mp3"), "--local", "-f", "txt", "-o", "-")
    assert (done.returncode, done.stdout) == (1, "")
    assert "a: not_audio: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.models
def test_ctrl_c_ends_the_job_that_runs_here(desk: Desk) -> None:
    command = [sys.executable, "-m", "scribe", "transcribe", str(SAMPLES / "meeting.mp3"), "--local", "-o", "out"]
    running = subprocess.Popen(
        command, cwd=desk.folder, env=environment(desk), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "transcribing" in line:
            running.send_signal(signal.SIGINT)
            break
    _, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, "Traceback" in err) == (130, False), err
    assert err.index("stopping…") < err.index("The same command begins again")
    assert left(desk) == []


@pytest.mark.models
def test_check_examines_the_worker_where_its_packages_are(desk: Desk) -> None:
    done = run(desk, "check", "--json")
    assert done.returncode == 1, "the storage that is named does not answer"
    states = {finding["check"]: finding["state"] for finding in json.loads(done.stdout)["findings"]}
    assert (states["decoding"], states["storage"]) == ("ok", "failed")


def test_without_the_workers_packages_the_command_says_how_to_install_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(here, "NEEDED", ("json", "no_such_package"))
    assert main(["transcribe", desk.recording("a.mp3"), "--local"]) == 2
    told = capsys.readouterr().err
    assert "no_such_package missing" in told
    assert pip_command("worker") in told
    assert "[worker]" in pip_command("worker")
    assert absent(["json", "no_such_package"]) == ["no_such_package"]
    desk.export()
    assert main(["check"]) == 0, "the client's part is looked at then"
    assert capsys.readouterr().out.startswith("endpoint")


@pytest.mark.models
def test_a_wrong_setting_is_named(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.monkeypatch.setenv("MODEL_SET", "nowhere")
    assert main(["transcribe", desk.recording("a.mp3"), "--local"]) == 2
    assert "MODEL_SET" in capsys.readouterr().err


def test_settings_of_this_machine_know_no_platform_and_no_storage(desk: Desk, tmp_path: Path) -> None:
    for name, value in {**environment(desk), "RUNPOD_GPU_COUNT": "1", "PRESIGN_TTL": "60"}.items():
        desk.monkeypatch.setenv(name, value)
    settings = settings_here("127.0.0.1:1", "small")
    assert (settings.storage_configured, settings.expects_gpu, settings.warmup) == (False, False, ())
    assert "127.0.0.1:1" in settings.fetch_allow_hosts
    assert settings.allowed_models == ("small",)
    assert settings.presign_ttl == 60, "the operator's others stay"


@pytest.mark.parametrize(
    "half", [{"STORAGE_BUCKET": "b"}, {"STORAGE_ACCESS_KEY": "k"}, {"STORAGE_ENDPOINT": "s3.example.com"}]
)
def test_a_storage_that_is_not_used_may_be_set_by_half(desk: Desk, half: dict[str, str]) -> None:
    (desk.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in half.items()))
    for name, value in half.items():
        desk.monkeypatch.setenv(name, value)
    assert not settings_here("127.0.0.1:1").storage_configured
