"""A job's own places: the caller's bucket (`s3Config`) and presigned PUT addresses (`result_urls`), on a real S3 server.

Whole jobs through the handler; recognition is a stand-in. No test lets a key of the caller be seen.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from support.desk import Desk, Steered, asking, codes, got, inline_texts
from support.predictor import FakePredictor, Run
from support.s3server import S3Server
from support.secrets import carries
from support.wiring import PREFIX, answered, guarded

from scribe.formats import FORMATS
from scribe.runtime.log import CleanFormatter
from scribe.storage.s3 import Storage


@pytest.fixture
def server() -> Iterator[Steered]:
    """The caller's storage. The worker has none of its own here unless a test says so."""
    with Steered() as running:
        yield running


@pytest.fixture
def desk(server: Steered) -> Desk:
    return Desk(server)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between tries are the only thing here that would take seconds."""
    monkeypatch.setattr("scribe.storage.job_bucket.BACKOFF_S", 0.01)


def config(server: S3Server, **changes: str) -> dict[str, str]:
    values = {"accessId": server.access_key, "accessSecret": server.secret_key}
    return values | {"bucketName": server.bucket, "endpointUrl": server.endpoint} | changes


class Log:
    """What the worker writes, as its formatter writes it."""

    def __init__(self, desk: Desk) -> None:
        self.lines: list[str] = []
        self._handler = logging.Handler()
        self._handler.setFormatter(CleanFormatter(desk.redactor.clean, as_json=False))
        self._handler.emit = lambda record: self.lines.append(self._handler.format(record))  # type: ignore[method-assign]

    def __enter__(self) -> Log:
        logging.getLogger().addHandler(self._handler)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self._handler)

    def __str__(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def log(desk: Desk, caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    for name in ("", "botocore", "urllib3", "scribe", "rp_handler"):
        caplog.set_level(logging.DEBUG, name)
    for name in ("moto", "werkzeug"):
        caplog.set_level(logging.ERROR, name)
    with Log(desk) as lines:
        yield lines


@pytest.mark.parametrize("secret", ["AKIA0123456789ABCDEF", "secret+/0123456789"])
def test_the_search_for_a_secret_finds_every_spelling(secret: str) -> None:
    for lead in ("", "a", "ab", "abc"):
        assert carries(f"x {base64.b64encode(f'{lead}{secret}:tail'.encode()).decode()} y", secret)
    assert carries(f"k={quote(secret, safe='')}", secret)
    assert carries(f"k={secret}", secret)
    assert not carries(f"k={secret[::-1]}", secret)


def without_links(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer less its presigned links, which carry the access id by the rules of S3 (and never the secret)."""
    artifacts = {name: {**a, "url": None} for name, a in answer.get("artifacts", {}).items()}
    return {**answer, "artifacts": artifacts}


def assert_hidden(server: S3Server, answer: dict[str, Any], log: Log) -> None:
    assert not carries(json.dumps(answer), server.secret_key)
    assert not carries(json.dumps(without_links(answer)), server.access_key)
    for secret in (server.access_key, server.secret_key):
        assert not carries(str(log), secret)


def test_the_artifacts_land_in_the_callers_bucket_signed_with_the_callers_keys(
    desk: Desk, server: Steered, log: Log
) -> None:
    job = asking(formats=["json", "srt"], s3Config=config(server))
    answer = answered(desk.handler(FakePredictor()), job)
    assert answer["warnings"] == []
    objects = server.objects()
    for name in ("json", "srt"):
        artifact = answer["artifacts"][name]
        data, headers = objects[artifact["key"]]
        assert headers["content-type"] == FORMATS[name].content_type
        assert got(artifact["url"]) == (200, data)
        assert artifact["key"].startswith(f"{PREFIX}/job-1/")
    puts = [seen for seen in server.requests if seen.method == "PUT"]
    assert len(puts) == 3
    for seen in puts:
        (credential,) = parse_qs(urlsplit(seen.path).query)["X-Amz-Credential"]
        assert credential.startswith(f"{server.access_key}/")
        assert seen.headers["user-agent"] == "whisperx-worker", "it went past the guarded client"
    assert_hidden(server, answer, log)


def test_the_callers_bucket_goes_before_the_workers(desk: Desk, server: Steered) -> None:
    with Steered() as workers:
        own = Storage(workers.endpoint, workers.bucket, workers.access_key, workers.secret_key, PREFIX)
        answered(desk.handler(FakePredictor(), own), asking(s3Config=config(server)))
        assert workers.requests == []
    assert len(server.commits()) == 1


@pytest.mark.parametrize("may_list", [True, False])
def test_a_redelivered_job_is_answered_from_the_mark_in_the_callers_bucket(
    desk: Desk, server: Steered, log: Log, may_list: bool
) -> None:
    server.may_list = may_list
    predictor = FakePredictor()
    job = asking(inline="full", s3Config=config(server))
    first, second = answered(desk.handler(predictor), job), answered(desk.handler(predictor), job)
    assert predictor.runs == 1
    assert second["segments"] == first["segments"]
    assert got(second["artifacts"]["json"]["url"])[0] == 200
    (mark,) = server.commits()
    for secret in (server.access_key, server.secret_key, "X-Amz-Signature"):
        assert not carries(server.objects()[mark][0].decode(), secret)
    assert_hidden(server, second, log)


@pytest.mark.parametrize(
    "address",
    [
        "http://10.0.0.5",
        "http://169.254.169.254/latest",
        "http://[::1]",
        "http://127.0.0.1:9000",
        "http://2130706433",
        "file:///etc",
        "http://user:pass@192.168.1.1",
    ],
)
def test_a_private_endpoint_is_refused_before_any_work(desk: Desk, server: Steered, log: Log, address: str) -> None:
    predictor = FakePredictor()
    answer = answered(desk.handler(predictor), asking(s3Config=config(server, endpointUrl=address)))
    assert answer["code"] == "url_blocked"
    assert answer["retryable"] is False
    assert (predictor.runs, server.requests) == (0, [])
    assert_hidden(server, answer, log)


def leads_inside(host: str, port: int, **_: object) -> list[Any]:
    """A resolver for which every name is on the private network."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.5", port))]


def test_a_name_that_leads_to_a_private_endpoint_is_refused_before_any_work(
    desk: Desk, server: Steered, log: Log
) -> None:
    predictor = FakePredictor()
    handler = desk.handler(predictor, client=guarded(resolver=leads_inside))
    answer = answered(handler, asking(s3Config=config(server, endpointUrl="https://storage.example")))
    assert answer["code"] == "url_blocked"
    assert predictor.runs == 0
    assert_hidden(server, answer, log)


@pytest.mark.parametrize(
    "changes",
    [
        {"accessSecret": ""},
        {"accessSecret": 5},
        {"bucketName": "../x"},
        {"endpointUrl": None},
        {"region": "eu"},
        {"accessKey": "x"},
    ],
)
def test_an_s3config_that_is_none_is_told_by_its_keys_and_not_by_its_values(
    desk: Desk, server: Steered, log: Log, changes: dict[str, Any]
) -> None:
    predictor = FakePredictor()
    answer = answered(desk.handler(predictor), asking(s3Config=config(server, **changes)))
    assert (answer["code"], predictor.runs) == ("invalid_input", 0)
    assert f"s3Config.{next(iter(changes))}" in [problem["key"] for problem in answer["details"]["problems"]]
    assert_hidden(server, answer, log)


def test_keys_stay_hidden_when_a_library_puts_them_into_its_error(desk: Desk, server: Steered, log: Log) -> None:
    def fail(run: Run) -> None:
        pair = f"{server.access_key}:{server.secret_key}"
        raise RuntimeError(f"{pair} {quote(pair, safe='')} {base64.b64encode(pair.encode()).decode()} {pair!r}")

    answer = answered(desk.handler(FakePredictor(work=fail)), asking(s3Config=config(server)))
    assert answer["code"] == "internal"
    assert "Traceback" in str(log)
    assert_hidden(server, answer, log)
    assert desk.redactor.clean(server.secret_key) == server.secret_key, "a job's keys leave with the job"


@pytest.mark.parametrize("fault", ["fail", "hang_up"])
def test_an_upload_that_fails_once_is_tried_again(desk: Desk, server: Steered, fault: str) -> None:
    server.let_pass()
    getattr(server, fault)()
    answer = answered(desk.handler(FakePredictor()), asking(s3Config=config(server)))
    assert [seen.status for seen in server.requests] == [404, 503 if fault == "fail" else 0, 200, 200]
    assert (answer["warnings"], set(answer["artifacts"])) == ([], {"json"})


def test_a_bucket_that_keeps_failing_sends_the_transcript_inline_and_says_that_it_can_be_tried_again(
    desk: Desk, server: Steered, log: Log
) -> None:
    server.let_pass()
    server.fail(503, times=20)
    answer = answered(desk.handler(FakePredictor()), asking(s3Config=config(server)))
    assert codes(answer) == ["storage_unavailable"]
    assert "send the job again" in answer["warnings"][0]["message"]
    assert inline_texts(answer) == [f"Sentence {n}." for n in range(60)]
    assert len(server.requests) == 4, "three tries, and no mark for what is not stored"
    assert_hidden(server, answer, log)


@pytest.mark.parametrize("why", ["denied", "wrong secret", "wrong key", "wrong bucket"])
def test_a_bucket_that_refuses_is_a_warning_and_the_transcript_comes_inline(
    desk: Desk, server: Steered, log: Log, why: str
) -> None:
    given = config(server)
    if why == "denied":
        server.denied = {"PUT"}
    else:
        key = {"wrong secret": "accessSecret", "wrong key": "accessId", "wrong bucket": "bucketName"}[why]
        given[key] = f"{given[key]}x"
    answer = answered(desk.handler(FakePredictor()), asking(s3Config=given))
    assert codes(answer) == ["storage_denied"]
    assert answer["warnings"][0]["message"].startswith("json ")
    assert "again" not in answer["warnings"][0]["message"]
    assert inline_texts(answer) == [f"Sentence {n}." for n in range(60)]
    assert answer["artifacts"] == {}
    assert len(server.requests) == 2, "a refusal is not tried again"
    assert_hidden(server, answer, log)


KEY = "inbox/result.srt"


def presigned_put(server: S3Server, key: str = KEY, **signed: str) -> str:
    """The address that a caller makes with any S3 library."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(server.access_key, server.secret_key, region_name=server.region)
    path = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    s3 = session.client("s3", endpoint_url=server.endpoint, config=path)
    return s3.generate_presigned_url("put_object", {"Bucket": server.bucket, "Key": key, **signed}, ExpiresIn=600)


@pytest.mark.parametrize("signed", [{}, {"ContentType": FORMATS["srt"].content_type}])
def test_a_format_goes_by_put_to_its_presigned_address_and_nowhere_else(
    desk: Desk, server: Steered, log: Log, signed: dict[str, str]
) -> None:
    url = presigned_put(server, **signed)
    log.lines.clear()
    answer = answered(desk.handler(FakePredictor()), asking(result_urls={"srt": url}))
    assert [(seen.method, f"{server.endpoint}{seen.path}") for seen in server.requests] == [("PUT", url)]
    data, headers = server.objects()[KEY]
    assert b"Sentence 59." in data
    assert headers["content-type"] == FORMATS["srt"].content_type
    assert answer["artifacts"] == {
        "srt": {"key": None, "bytes": len(data), "url": url.split("?")[0], "expires_at": None}
    }
    assert (answer["warnings"], answer["segments"]) == ([], [])
    for text in (json.dumps(answer), str(log)):
        assert "X-Amz" not in text
        assert not carries(text, parse_qs(urlsplit(url).query)["X-Amz-Signature"][0])


def test_an_address_that_has_expired_is_a_warning_and_the_transcript_comes_inline(
    desk: Desk, server: Steered, log: Log
) -> None:
    url = presigned_put(server)
    log.lines.clear()
    server.ahead = 700
    answer = answered(desk.handler(FakePredictor()), asking(result_urls={"srt": url}))
    assert codes(answer) == ["storage_denied"]
    assert answer["warnings"][0]["message"].startswith("srt ")
    assert "expired" in answer["warnings"][0]["message"]
    assert inline_texts(answer) == [f"Sentence {n}." for n in range(60)]
    assert (answer["artifacts"], server.objects()) == ({}, {})
    for text in (json.dumps(answer), str(log)):
        assert "X-Amz" not in text


def test_an_address_that_fails_once_is_tried_again(desk: Desk, server: Steered) -> None:
    server.fail(503)
    answer = answered(desk.handler(FakePredictor()), asking(result_urls={"srt": presigned_put(server)}))
    assert [seen.status for seen in server.requests] == [503, 200]
    assert (answer["warnings"], set(answer["artifacts"])) == ([], {"srt"})


def test_a_redirect_of_an_upload_is_not_followed(desk: Desk, server: Steered) -> None:
    from support.loopback import Loopback, moved

    with Loopback(moved(presigned_put(server), "307 Temporary Redirect")) as door:
        handler = desk.handler(FakePredictor(), client=guarded(desk.allowed | {door.host}))
        answer = answered(handler, asking(result_urls={"srt": f"{door.url}/in"}))
    assert codes(answer) == ["storage_denied"]
    assert server.requests == []


def test_an_address_that_cannot_be_reached_costs_no_other_host_its_result(desk: Desk, server: Steered) -> None:
    urls = {"srt": "http://nowhere.invalid/x", "vtt": "http://nowhere.invalid/y", "txt": presigned_put(server)}
    answer = answered(desk.handler(FakePredictor()), asking(result_urls=urls))
    assert set(answer["artifacts"]) == {"txt"}
    assert [w["message"].split()[0] for w in answer["warnings"]] == ["srt", "vtt"]
    assert [seen.status for seen in server.requests] == [200]


def test_what_has_no_address_goes_to_the_workers_storage_and_the_job_is_done_once(desk: Desk, server: Steered) -> None:
    predictor = FakePredictor()
    job = asking(formats=["json", "srt"], result_urls={"srt": presigned_put(server)})
    first = answered(desk.handler(predictor, desk.storage()), job)
    second = answered(desk.handler(predictor, desk.storage()), job)
    assert predictor.runs == 1
    assert first["artifacts"]["srt"] == second["artifacts"]["srt"]
    assert got(second["artifacts"]["json"]["url"])[0] == 200
    (mark,) = server.commits()
    assert b"X-Amz" not in server.objects()[mark][0]


@pytest.mark.parametrize(
    "address", ["http://10.0.0.5/a", "http://127.0.0.1:1/a", "ftp://example.com/a", "http://[::1]/"]
)
def test_a_private_result_address_is_refused_before_any_work(desk: Desk, address: str) -> None:
    predictor = FakePredictor()
    answer = answered(desk.handler(predictor), asking(result_urls={"srt": f"{address}?X-Amz-Signature=canary"}))
    assert (answer["code"], predictor.runs) == ("url_blocked", 0)
    assert "canary" not in json.dumps(answer)


def test_a_result_address_whose_name_leads_inside_is_never_written_to_and_the_transcript_comes_inline(
    desk: Desk,
) -> None:
    inside = guarded(resolver=leads_inside)
    url = "https://results.example/a?X-Amz-Signature=canary"
    answer = answered(desk.handler(FakePredictor(), client=inside), asking(result_urls={"srt": url}))
    assert codes(answer) == ["url_blocked"]
    assert len(answer["segments"]) == 60
    assert "canary" not in json.dumps(answer)


def test_a_partial_result_is_delivered_to_the_callers_bucket_and_never_committed(desk: Desk, server: Steered) -> None:
    answer = answered(desk.handler(FakePredictor(partial=True)), asking(s3Config=config(server)))
    assert (answer["partial"], set(answer["artifacts"])) == (True, {"json"})
    assert server.commits() == []
