"""D: nothing that is secret is seen: in no log line at DEBUG, no answer, no progress, no object, no printed value."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import uuid
from pathlib import Path
from typing import Any

import pytest
from contract.worker import REPOSITORY
from support.demo import configured
from support.predictor import FakePredictor, Run
from support.secrets import carries
from support.transcripts import HELLO

from scribe.schema.parsing import parse

from .healthy import Worker, assert_failed, base64_of, wav
from .site import Site

TOKEN = "hf_canaryAAAAbbbbCCCC+/dd"
SIGNATURE = "canary-signature-6f1d0c"
USER = "canaryuser:canarypassword"
CALLER = {"accessId": "AKIACANARYCALLER0001", "accessSecret": "canary+/caller/secret=="}
SPOKEN = "the canary sings at noon"


def test_d1_no_fault_shows_a_secret_in_any_spelling(tmp_path: Path) -> None:
    """A worker at DEBUG: good jobs, missing files, refused addresses, storages that fail, callers' keys that do not work."""
    voice = base64_of(wav(0.4, 777.0))
    with Site(tmp_path) as site, site.worker(DEBUG="1", HF_TOKEN=TOKEN) as worker:
        signed = f"?X-Amz-Credential=AKIA&X-Amz-Signature={SIGNATURE}"
        audio = f"http://{USER}@{site.files.host}/a.wav{signed}"
        elsewhere = {**CALLER, "bucketName": "bucket", "endpointUrl": f"http://{site.files.host}"}
        inputs: list[dict[str, Any]] = [
            {"input": {"audio_file": audio, "inline": "full", "initial_prompt": SPOKEN}},
            {"input": {"audio_file": f"http://127.0.0.1:9/{signed}"}},
            {"input": {"audio_file": f"http://169.254.169.254/latest/{signed}"}},
            {"input": {"audio_file": f"http://absent.invalid/a.mp3{signed}"}},
            {"input": {"audio_base64": voice}},
            {"input": {"audio_base64": voice + "!"}},
            {"input": {"audio_file": audio, "batch_size": SPOKEN, "huggingface_access_token": TOKEN}},
            {"input": {"audio_file": audio, "result_urls": {"json": f"{site.files.url}/put{signed}"}}},
            {"input": {"audio_file": audio}, "s3Config": elsewhere},
            {"input": {"audio_file": audio}, "s3Config": {**elsewhere, "endpointUrl": "http://10.0.0.1"}},
            {"input": {"source": {"transcript_url": f"{site.files.url}/t.json{signed}"}}},
        ]
        records = [site.platform.record(site.platform.submit(job)) for job in inputs]
        for record in records:
            site.platform.wait(record.id, 120)
        site.storage.let_pass()
        site.storage.fail(500, times=50)
        records.append(site.submit())
        site.platform.wait(records[-1].id, 120)
        site.storage.over()
        log = worker.text_of(*(record.id for record in records))
    statuses = [record.status for record in records]
    assert min(statuses.count("COMPLETED"), statuses.count("FAILED")) >= 4, statuses
    seen = {
        "log": log,
        "answers": json.dumps([[r.output, r.error, r.progress] for r in records], ensure_ascii=False),
        "objects": "".join(data.decode("utf-8", "replace") for data, _ in site.storage.objects().values()),
    }
    secrets = [TOKEN, SIGNATURE, *USER.split(":"), CALLER["accessSecret"], site.storage.secret_key]
    for place, text in seen.items():
        assert len(text) > 500, place
        for secret in secrets:
            assert not carries(text, secret), (place, secret)
        assert not any(private in text for private in (SPOKEN, voice[40:90])), place
    assert "Hello there." not in log
    # A link names the key that signed it, by design; the log has neither.
    assert not any(carries(log, name) for name in (site.storage.access_key, CALLER["accessId"]))


def test_d2_settings_and_jobs_show_no_secret_however_they_are_written() -> None:
    settings = configured(
        hf_token=TOKEN, storage_bucket="b", storage_access_key="AKIACANARY", storage_secret_key="canary+/secret"
    )
    address = f"https://{USER}@example.com/a.mp3?X-Amz-Signature={SIGNATURE}"
    job = parse(
        {"audio_file": address, "speaker_samples": [{"url": address}], "result_urls": {"json": address}},
        1000,
        {**CALLER, "bucketName": "bucket", "endpointUrl": "https://example.com"},
    )
    for value in (settings, job.options, job.s3_config):
        assert value is not None
        shown = f"{value!r} {value} {value.model_dump_json()} {json.dumps(value.model_dump(mode='json'))}"
        assert "canary" not in shown.lower()
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(value)
    assert "**********" in repr(settings)
    assert "[secure]" in job.options.model_dump_json()


def test_d3_a_fault_that_nobody_foresaw_shows_nothing_of_the_inside(tmp_path: Path) -> None:
    def work(run: Run) -> None:
        if orders:
            raise RuntimeError(orders.pop())

    orders = [f"cannot read https://bucket.example/a?X-Amz-Signature={SIGNATURE} at {Path.home()}/src/predict.py"]
    worker = Worker(tmp_path / "jobs", predictor=FakePredictor(HELLO, work))
    answer = assert_failed(worker.ask(audio_base64=base64_of(wav(0.3))), "internal")
    assert answer["error_id"]
    assert SIGNATURE not in json.dumps(answer)
    assert "bucket.example" not in json.dumps(answer)
    worker.assert_healthy()


def test_d3_its_error_id_finds_the_traceback_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    canary = uuid.uuid4().hex

    def work(run: Run) -> None:
        raise RuntimeError(canary)

    with caplog.at_level(logging.WARNING):
        answer = Worker(tmp_path / "jobs", predictor=FakePredictor(HELLO, work)).ask(audio_base64=base64_of(wav(0.3)))
    found = [r for r in caplog.records if answer["error_id"] in r.getMessage()]
    assert found
    assert found[0].exc_info
    assert canary in str(found[0].exc_info[1])


def test_d4_the_sdk_prints_no_link_and_no_transcript(tmp_path: Path) -> None:
    with Site(tmp_path) as site, site.worker() as worker:
        record = site.finished(site.submit(), worker)
        log = worker.text_of(record.id)
    link = record.output["artifacts"]["json"]["url"]
    assert "X-Amz-Signature" in link
    assert "X-Amz-Signature" not in log
    assert "Hello there." not in log
    assert base64.b64encode(b"Hello there.").decode() not in log
    assert "job done in" in log
    assert "RUNPOD_LOG_LEVEL=INFO" in (REPOSITORY / "Dockerfile").read_text("utf-8")
