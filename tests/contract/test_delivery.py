"""Delivery as RunPod and its users see it: the real SDK loop in a worker process whose STORAGE_* lead to a real S3 server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from support.s3server import S3Server

from .files import FileServer
from .platform import Platform
from .record import Record
from .test_contract import PATIENCE, assert_heard, sample_job
from .worker import WorkerProcess, demo_environment

FORMATS = ["json", "srt", "vtt", "tsv", "txt", "html"]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(scope="module")
def worker(
    platform: Platform, files: FileServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    folder = tmp_path_factory.mktemp("worker")
    storage = {
        "STORAGE_ENDPOINT": s3.endpoint,
        "STORAGE_BUCKET": s3.bucket,
        "STORAGE_ACCESS_KEY": s3.access_key,
        "STORAGE_SECRET_KEY": s3.secret_key,
        "PREFIX_TRANSCRIPTS": "team/transcripts",
    }
    with WorkerProcess(platform, demo_environment(files.host, folder / "jobs") | storage, cwd=folder) as running:
        yield running


@pytest.fixture(scope="module")
def delivered_twice(platform: Platform, files: FileServer, worker: WorkerProcess) -> Record:
    """The demo job in every format, handed out two times, when both answers are there."""
    job = sample_job(files, "conversation", formats=FORMATS)
    record = platform.record(platform.submit(job, deliveries=2))
    assert platform.until(lambda: len(record.late_results) == 1 or worker.ended, PATIENCE), worker.tail()
    return record


def body_of(artifact: dict[str, Any]) -> bytes:
    with urllib.request.urlopen(artifact["url"], timeout=30) as response:
        return response.read()


def test_the_demo_job_yields_every_format_each_reachable_by_its_link(delivered_twice: Record, s3: S3Server) -> None:
    assert delivered_twice.status == "COMPLETED", delivered_twice.error
    artifacts = delivered_twice.output["artifacts"]
    assert list(artifacts) == FORMATS
    for name, artifact in artifacts.items():
        body = body_of(artifact)
        assert len(body) == artifact["bytes"] > 0, name
        assert b"Anna" in body or name == "tsv", name
        assert artifact["key"].startswith(f"team/transcripts/{delivered_twice.id}/")
        assert artifact["expires_at"].endswith("Z")
    stored = json.loads(body_of(artifacts["json"]))
    assert_heard(stored["segments"], "conversation")
    assert all(segment["words"] for segment in stored["segments"])
    assert len(s3.objects()) == len(FORMATS) + 1


def test_delivered_twice_the_models_run_once_and_both_answers_are_the_same(
    delivered_twice: Record, worker: WorkerProcess, s3: S3Server
) -> None:
    first, second = delivered_twice.output, delivered_twice.late_results[0]["output"]
    assert {**first, "artifacts": 0} == {**second, "artifacts": 0}
    assert all(len(body_of(artifact)) == artifact["bytes"] for artifact in second["artifacts"].values())
    assert worker.text_with("delivered before").count("delivered before") == 1
    marks = [seen for seen in s3.requests if seen.method == "PUT" and seen.path.endswith("/result.json")]
    assert len(marks) == 1


def test_the_log_shows_no_key_no_signature_and_no_transcript(
    delivered_twice: Record, worker: WorkerProcess, s3: S3Server
) -> None:
    log = worker.text_of(delivered_twice.id)
    for hidden in (s3.access_key, s3.secret_key, "X-Amz-Signature", delivered_twice.output["segments"][0]["text"]):
        assert hidden.strip() not in log
