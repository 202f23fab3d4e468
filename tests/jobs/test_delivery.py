"""Finished work to the storage and back: artifacts first, the commit mark last, and nothing lost when it fails."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.demo import ADDRESS
from support.shelf import Shelf

from scribe.errors import StorageDenied, StorageError, StorageUnavailable, UrlBlocked
from scribe.formats import FORMATS
from scribe.jobs.delivery import Delivery, Outbox
from scribe.net.client import GuardedClient
from scribe.pipeline.record import JobRecord
from scribe.schema.parsing import parse


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def delivery(
    shelf: Shelf | None, client: GuardedClient | None = None, job_id: str = "job-1", **options: Any
) -> Delivery:
    task = parse({"audio_file": ADDRESS, **options})
    return Outbox(shelf, client or GuardedClient(), "transcripts", 3600).delivery(task, job_id, "f00d")


def answer(artifacts: dict[str, Any]) -> dict[str, Any]:
    return {
        "job_id": "job-1",
        "segments": [{"text": "ü"}],
        "artifacts": artifacts,
        "warnings": [{"code": "a", "stage": "b", "message": "c"}],
    }


@pytest.mark.parametrize(
    ("stores", "options", "made", "homeless"),
    [
        (True, {}, ["json"], []),
        (True, {"formats": ["srt", "json", "srt"]}, ["srt", "json"], []),
        (True, {"formats": []}, [], []),
        (False, {}, [], []),
        (False, {"formats": ["srt", "vtt"]}, [], ["srt", "vtt"]),
    ],
)
def test_formats_are_the_jobs_else_json_where_there_is_a_storage(
    shelf: Shelf, stores: bool, options: dict[str, Any], made: list[str], homeless: list[str]
) -> None:
    this = delivery(shelf if stores else None, **options)
    assert (this.formats, this.homeless) == (made, homeless)


def test_every_format_lies_under_its_own_key_with_its_type(shelf: Shelf) -> None:
    artifacts = delivery(shelf).upload({name: name.encode() for name in FORMATS}, record := JobRecord())
    assert record.warnings == []
    for name, form in FORMATS.items():
        shown = artifacts[name]
        assert shown["key"] == f"transcripts/job-1/f00d/transcript.{form.extension}"
        assert shown["bytes"] == len(name)
        assert shown["url"].startswith(f"https://storage.example/{shown['key']}?")
        assert shown["expires_at"]
        assert shelf.objects[shown["key"]] == name.encode()
        assert shelf.types[shown["key"]] == (form.content_type, f"transcript.{form.extension}")


def test_a_committed_job_comes_back_with_links_of_today_and_without_a_signature_in_the_store(shelf: Shelf) -> None:
    this = delivery(shelf)
    assert this.recall() is None
    artifacts = this.upload({"json": b"{}"}, JobRecord())
    this.commit(answer(artifacts))
    assert not any(b"signature" in data for data in shelf.objects.values())
    again = delivery(shelf).recall()
    assert again is not None
    assert again["artifacts"]["json"]["url"].endswith("signature=2")
    assert {**again, "artifacts": 0} == {**answer(artifacts), "artifacts": 0}
    assert list(shelf.objects)[-1] == "transcripts/job-1/f00d/result.json"


def test_another_job_or_another_input_is_not_answered_from_it(shelf: Shelf) -> None:
    delivery(shelf).commit(answer({}))
    assert delivery(shelf, job_id="job-2").recall() is None
    task = parse({"audio_file": ADDRESS})
    assert Outbox(shelf, GuardedClient(), "transcripts", 3600).delivery(task, "job-1", "beef").recall() is None


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"artifacts": []}',
        b'{"artifacts": {"json": 5}, "warnings": []}',
    ],
)
def test_a_mark_that_cannot_be_read_is_no_mark(shelf: Shelf, stored: bytes) -> None:
    shelf.objects["transcripts/job-1/f00d/result.json"] = stored
    assert delivery(shelf).recall() is None


def test_a_storage_that_does_not_answer_only_means_that_the_job_runs(shelf: Shelf) -> None:
    shelf.failing["get"] = StorageUnavailable("no answer")
    assert delivery(shelf).recall() is None


@pytest.mark.parametrize(
    ("error", "again"), [(StorageDenied("wrong key"), False), (StorageUnavailable("no answer"), True)]
)
def test_a_format_that_cannot_be_stored_is_missing_and_told(shelf: Shelf, error: StorageError, again: bool) -> None:
    shelf.failing["put"] = error
    artifacts = delivery(shelf).upload({"json": b"{}", "srt": b""}, record := JobRecord())
    assert artifacts == {}
    assert [(n.code, n.stage) for n in record.warnings] == [(error.code, "publish")] * 2
    assert all(n.message.startswith(name) for n, name in zip(record.warnings, ("json", "srt"), strict=True))
    assert all(("send the job again" in n.message) is again for n in record.warnings)


def test_a_link_that_cannot_be_signed_is_a_warning_and_the_key_still_comes(shelf: Shelf) -> None:
    shelf.failing["presign"] = StorageUnavailable("no credentials")
    artifacts = delivery(shelf).upload({"json": b"{}"}, record := JobRecord())
    assert artifacts["json"] == {
        "key": "transcripts/job-1/f00d/transcript.json",
        "bytes": 2,
        "url": None,
        "expires_at": None,
    }
    assert [n.code for n in record.warnings] == ["presign_failed"]
    delivery(shelf).commit(answer(artifacts))
    again = delivery(shelf).recall()
    assert again is not None
    assert [w["code"] for w in again["warnings"]] == ["a", "presign_failed"]


def test_a_commit_that_fails_is_only_logged(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    shelf.failing["put"] = StorageUnavailable("no answer")
    delivery(shelf).commit(answer({}))
    assert "could not be committed" in caplog.text


def test_without_storage_nothing_is_stored_or_recalled() -> None:
    this = delivery(None)
    assert this.recall() is None
    assert this.upload({}, JobRecord()) == {}
    this.commit(answer({}))


class Receiver:
    """An HTTP server that takes PUTs, as a presigned address does; `status` is what it answers."""

    def __init__(self) -> None:
        self.received: dict[str, tuple[bytes, str]] = {}
        self.status = 200
        receiver = self

        class Door(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.received[self.path] = (body, self.headers["Content-Type"])
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    this = Receiver()
    thread = threading.Thread(target=this.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield this
    this.server.shutdown()
    this.server.server_close()
    thread.join(timeout=30)


def test_a_format_goes_to_the_address_that_the_job_names_for_it(shelf: Shelf, receiver: Receiver) -> None:
    url = f"http://{receiver.host}/in/a.srt?X-Amz-Signature=canary"
    this = delivery(shelf, GuardedClient(frozenset({receiver.host})), formats=["json"], result_urls={"srt": url})
    assert this.formats == ["json", "srt"]
    artifacts = this.upload({"json": b"{}", "srt": b"1\n"}, record := JobRecord())
    assert record.warnings == []
    assert receiver.received["/in/a.srt?X-Amz-Signature=canary"] == (b"1\n", FORMATS["srt"].content_type)
    assert artifacts["srt"] == {"key": None, "bytes": 2, "url": f"http://{receiver.host}/in/a.srt", "expires_at": None}
    this.commit(answer(artifacts))
    assert not any(b"canary" in data for data in shelf.objects.values())
    again = delivery(shelf).recall()
    assert again is not None
    assert again["artifacts"]["srt"] == artifacts["srt"]


def test_an_address_that_refuses_is_a_warning_without_its_signature(receiver: Receiver) -> None:
    receiver.status = 403
    url = f"http://{receiver.host}/a.json?X-Amz-Signature=canary"
    this, record = delivery(None, GuardedClient(frozenset({receiver.host})), result_urls={"json": url}), JobRecord()
    artifacts = this.upload({"json": b"{}"}, record)
    assert artifacts == {}
    assert [n.code for n in record.warnings] == ["storage_denied"]
    assert "canary" not in record.warnings[0].message


@pytest.mark.parametrize(
    "options",
    [
        {"result_urls": {"json": "http://169.254.169.254/x"}},
        {"result_urls": {"json": "http://127.0.0.1:9/x"}},
    ],
)
def test_a_private_address_is_refused_before_any_work_is_done(options: dict[str, Any]) -> None:
    with pytest.raises(UrlBlocked):
        delivery(None, **options)


def test_a_private_s3_endpoint_of_the_job_is_refused_before_any_work_is_done() -> None:
    config = {
        "accessId": "AKIAEXAMPLE",
        "accessSecret": "secret",
        "bucketName": "my-bucket",
        "endpointUrl": "http://127.0.0.1:9",
    }
    task = parse({"audio_file": ADDRESS}, s3_config=config)
    with pytest.raises(UrlBlocked):
        Outbox(None, GuardedClient(), "transcripts", 3600).delivery(task, "j", "f")


def test_the_mark_is_strict_json(shelf: Shelf) -> None:
    this = delivery(shelf)
    this.commit(answer({}))
    assert json.loads(shelf.objects["transcripts/job-1/f00d/result.json"])["segments"] == [{"text": "ü"}]
