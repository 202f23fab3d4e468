"""E: the storage fails. It is asked again where that helps, denied access is told before the first job, nothing is lost.

A real S3 server on loopback that checks signatures and refuses what R2 refuses; whole jobs around it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from contract.worker import REPOSITORY
from support.desk import Desk, Steered, asking, codes
from support.predictor import FakePredictor
from support.wiring import answered

from scribe.errors import StorageDenied
from scribe.storage import s3 as storage_module

from .healthy import Worker, base64_of, wav

RECORDING = base64_of(wav(0.3))


@pytest.fixture
def server() -> Iterator[Steered]:
    with Steered() as running:
        yield running


@pytest.fixture
def desk(server: Steered) -> Desk:
    return Desk(server)


@pytest.fixture
def worker(desk: Desk, tmp_path: Path) -> Worker:
    """A worker whose storage is as patient as on the platform."""
    return Worker(tmp_path / "jobs", storage=desk.storage(attempts=3))


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_e1_a_storage_that_fails_twice_is_asked_a_third_time(
    status: int, code: str, server: Steered, worker: Worker
) -> None:
    server.let_pass()  # the look for an earlier result
    server.fail(status, code, times=2)
    answer = worker.ask(audio_base64=RECORDING, formats=["srt"])
    assert (codes(answer), set(answer["artifacts"])) == ([], {"srt"})
    tries = [r.status for r in server.requests if r.path.endswith("transcript.srt")]
    assert tries == [status, status, 200]
    worker.assert_healthy()


def test_e2_denied_access_is_told_in_a_sentence_and_costs_no_transcript(desk: Desk, tmp_path: Path) -> None:
    for changes in ({"secret_key": "wrong" * 4}, {"bucket": "not-there"}):
        worker = Worker(tmp_path / "jobs", storage=storage_of(desk, **changes))
        answer = worker.ask(audio_base64=RECORDING, formats=["srt"])
        assert codes(answer) == ["storage_denied"]
        assert [s["text"].strip() for s in answer["segments"]] == ["Hello there."]
        worker.assert_healthy()


def test_e2_a_clock_that_is_wrong_is_named(desk: Desk, server: Steered) -> None:
    server.ahead = 3600.0
    with pytest.raises(StorageDenied, match="clock"):
        desk.storage().probe()


def test_e2_a_wrong_key_is_in_the_log_before_the_first_job(server: Steered, tmp_path: Path) -> None:
    """By keys that may put, get and delete under the prefix and nothing else; the bucket itself is never asked."""
    found = checked(server, tmp_path, STORAGE_SECRET_KEY="wrong" * 4)
    assert (found["state"], found["check"]) == ("failed", "storage")
    assert checked(server, tmp_path)["state"] == "ok"
    assert all(f"/{server.bucket}/transcripts/probe-" in r.path for r in server.requests)


def test_e3_an_upload_that_dies_leaves_no_object_and_the_transcript_comes_inline(
    server: Steered, worker: Worker
) -> None:
    """Artifacts are sent whole, in one request: there are no parts that could be left behind."""
    server.let_pass()
    server.hang_up(times=20)
    answer = worker.ask(audio_base64=RECORDING, formats=["srt"])
    assert codes(answer) == ["storage_unavailable"]
    assert [s["text"].strip() for s in answer["segments"]] == ["Hello there."]
    assert server.objects() == {}
    assert not [r for r in server.requests if "uploads" in r.path]
    server.over()
    worker.assert_healthy()


def test_e4_without_a_storage_there_are_no_artifacts_and_no_path_is_passed_off_as_a_link(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "jobs")
    answer = worker.ask(audio_base64=RECORDING, formats=["json", "srt"])
    assert answer["artifacts"] == {}
    assert codes(answer) == ["storage_not_configured"]
    assert str(tmp_path) not in json.dumps(answer)
    assert answer["segments_total"] == 1
    worker.assert_healthy()


def test_e5_no_checksum_or_trailer_is_sent_that_r2_refuses(server: Steered, worker: Worker) -> None:
    answer = worker.ask(audio_base64=RECORDING, formats=["json", "srt"])
    assert set(answer["artifacts"]) == {"json", "srt"}
    sent = [r for r in server.requests if r.method == "PUT"]
    assert len(sent) == 3
    assert not any("checksum" in name or name == "x-amz-trailer" for r in sent for name in r.headers)


def test_e6_a_link_opens_its_object_alone_until_it_says_it_ends(server: Steered, desk: Desk) -> None:
    began = datetime.now(timezone.utc)
    handler = desk.handler(FakePredictor(), desk.storage(presign_ttl=7200))
    answer = answered(handler, asking(formats=["srt", "html"]))
    links = {name: artifact["url"] for name, artifact in answer["artifacts"].items()}
    with urlopen(links["srt"], timeout=20) as link:
        assert link.headers["Content-Type"] == "application/x-subrip; charset=utf-8"
        assert "Sentence" in link.read().decode("utf-8")
    for artifact in answer["artifacts"].values():
        ends = datetime.fromisoformat(artifact["expires_at"].replace("Z", "+00:00"))
        assert timedelta(seconds=7190) <= ends - began <= timedelta(seconds=7210)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urlopen(links["srt"].replace("transcript.srt", "transcript.html"), timeout=20)
    server.ahead = 7300.0
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urlopen(links["srt"], timeout=20)


def storage_of(desk: Desk, **changes: Any) -> storage_module.Storage:
    s3 = desk.server
    values = {"bucket": s3.bucket, "secret_key": s3.secret_key} | changes
    return storage_module.Storage(
        s3.endpoint, values["bucket"], s3.access_key, values["secret_key"], "transcripts", presign_ttl=3600, attempts=1
    )


def checked(server: Steered, folder: Path, **changes: str) -> dict[str, Any]:
    """What `--check` says of the storage, on a machine without models: there it loads none."""
    env = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "WHISPERX_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "JOBS_DIR": str(folder / "jobs"),
        "STORAGE_ENDPOINT": server.endpoint,
        "STORAGE_BUCKET": server.bucket,
        "STORAGE_ACCESS_KEY": server.access_key,
        "STORAGE_SECRET_KEY": server.secret_key,
    }
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "src" / "init_and_run.py"), "--check", "--json"],
        cwd=folder,
        env=env | changes,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return next(f for f in json.loads(done.stdout)["findings"] if "storage" in f["check"].lower())
