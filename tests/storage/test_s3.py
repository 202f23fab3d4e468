"""The storage against a real S3 server that checks signatures, expiry and permissions, and fails when told to."""

from __future__ import annotations

import http.client
import logging
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.s3server import S3Server, s3_server  # noqa: F401 (the fixture)

from scribe.errors import StorageDenied, StorageError, StorageUnavailable
from scribe.storage.s3 import Storage, artifact_key, commit_key, slug

KEY = "transcripts/job-1/f00d/transcript.srt"


@pytest.fixture
def server(s3_server: S3Server) -> S3Server:  # noqa: F811
    return s3_server


def storage_on(server: S3Server, **changes: object) -> Storage:
    values = {
        "endpoint": server.endpoint,
        "bucket": server.bucket,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "prefix": "transcripts",
        "presign_ttl": 3600,
        "read_timeout": 5.0,
    }
    return Storage(**(values | changes))


def put_by_http(url: str, data: bytes, headers: dict[str, str]) -> int:
    """PUT by plain HTTP, as a client that has only the link."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.request("PUT", f"{parts.path}?{parts.query}", body=data, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def fetched(url: str) -> tuple[int, dict[str, str], bytes]:
    """GET by plain HTTP: no S3 library, no retries."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, data


def test_what_is_put_can_be_got_found_and_deleted(server):
    storage = storage_on(server)
    storage.put(KEY, "é\n".encode(), "application/x-subrip; charset=utf-8", "transcript.srt")
    assert storage.exists(KEY)
    assert storage.get(KEY) == "é\n".encode()
    storage.delete(KEY)
    storage.delete(KEY)
    assert not storage.exists(KEY)
    assert storage.get(KEY) is None


def test_an_empty_object_is_not_an_absent_one(server):
    storage = storage_on(server)
    storage.put(KEY, b"", "text/plain", "transcript.txt")
    assert storage.get(KEY) == b""


def test_a_presigned_link_is_read_by_plain_http_with_its_type_and_name(server):
    storage = storage_on(server)
    storage.put(KEY, b"WEBVTT\n", "text/vtt; charset=utf-8", "transcript.vtt")
    url, expires_at = storage.presign(KEY)
    status, headers, data = fetched(url)
    assert (status, data) == (200, b"WEBVTT\n")
    assert headers["content-type"] == "text/vtt; charset=utf-8"
    assert headers["content-disposition"] == "attachment; filename=\"transcript.vtt\"; filename*=UTF-8''transcript.vtt"
    left = (datetime.fromisoformat(expires_at.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds()
    assert expires_at.endswith("Z")
    assert 3500 < left <= 3600


def test_a_page_is_shown_and_not_saved(server):
    storage = storage_on(server)
    storage.put(KEY, b"<!DOCTYPE html>", "text/html; charset=utf-8", "transcript.html")
    assert server.objects()[KEY][1]["content-disposition"].startswith("inline;")


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("../../etc/passwd", "passwd"),
        ('a"b\r\nX-Evil: 1.srt', "a_b_X-Evil_1.srt"),
        ("Gespräch.srt", "Gespr_ch.srt"),
        ("", "download"),
    ],
)
def test_a_file_name_cannot_break_out_of_its_header(server, name, sent):
    storage_on(server).put(KEY, b"x", "text/plain", name)
    header = server.objects()[KEY][1]["content-disposition"]
    assert f'filename="{sent}"' in header
    assert "\n" not in header
    assert unquote(header.rsplit("''", 1)[1]) in (name, name.rsplit("/", 1)[-1], "download")


def test_a_presigned_link_ends_when_it_says(server):
    storage = storage_on(server, presign_ttl=60)
    storage.put(KEY, b"x", "text/plain", "t.txt")
    url, _ = storage.presign(KEY)
    server.ahead = 59
    assert fetched(url)[0] == 200
    server.ahead = 62
    assert fetched(url)[0] == 403


def test_the_signature_of_one_key_opens_no_other(server):
    storage = storage_on(server)
    other = KEY.replace("job-1", "job-2")
    for key in (KEY, other):
        storage.put(key, b"x", "text/plain", "t.txt")
    url, _ = storage.presign(KEY)
    assert fetched(url.replace("job-1", "job-2"))[0] == 403
    assert fetched(re.sub(r"X-Amz-Expires=\d+", "X-Amz-Expires=99999", url))[0] == 403
    assert fetched(url.split("?")[0])[0] == 403


def test_a_link_lasts_seven_days_at_most(server):
    url, _ = storage_on(server, presign_ttl=10**9).presign(KEY)
    assert "X-Amz-Expires=604800" in url
    assert "AWS4-HMAC-SHA256" in url


def test_a_presigned_put_stores_the_object_with_its_type_and_name_and_nothing_else(server):
    url, headers = storage_on(server).presign_put(KEY, "text/vtt; charset=utf-8", "transcript.vtt")
    assert put_by_http(url, b"WEBVTT\n", {**headers, "Content-Type": "text/html"}) == 403
    assert put_by_http(url.replace("job-1", "job-2"), b"WEBVTT\n", headers) == 403
    assert put_by_http(url, b"WEBVTT\n", headers) == 200
    data, stored = server.objects()[KEY]
    assert data == b"WEBVTT\n"
    assert stored["content-type"] == "text/vtt; charset=utf-8"
    assert stored["content-disposition"] == headers["Content-Disposition"]


def test_runpods_volume_api_is_not_asked_for_links_it_cannot_sign():
    storage = Storage("https://s3api-eu-ro-1.runpod.io/", "volume", "user_x", "rps_x", "transcripts")
    with pytest.raises(StorageDenied, match="presigned"):
        storage.presign(KEY)


def test_no_checksum_is_sent_that_r2_would_refuse(server):
    storage_on(server).put(KEY, b"x" * 100_000, "text/plain", "t.txt")
    assert [r.status for r in server.requests] == [200]
    assert not any("checksum" in name or name == "x-amz-trailer" for name in server.requests[0].headers)


def test_boto3_as_it_comes_is_refused_by_the_server_as_by_r2(server):
    import boto3
    from botocore.exceptions import ClientError

    session = boto3.session.Session(server.access_key, server.secret_key, region_name=server.region)
    with pytest.raises(ClientError, match="NotImplemented"):
        session.client("s3", endpoint_url=server.endpoint).put_object(Bucket=server.bucket, Key="x", Body=b"x")


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (502, "BadGateway")])
def test_a_server_that_fails_twice_is_asked_a_third_time(server, status, code):
    server.fail(status, code, times=2)
    storage_on(server).put(KEY, b"x", "text/plain", "t.txt")
    assert [r.status for r in server.requests] == [status, status, 200]


def test_a_server_that_keeps_failing_is_given_up_and_may_be_tried_again_later(server):
    server.fail(503, times=10)
    with pytest.raises(StorageUnavailable, match="kept failing") as raised:
        storage_on(server, attempts=3).put(KEY, b"x", "text/plain", "t.txt")
    assert len(server.requests) == 3
    assert raised.value.retryable


def test_a_connection_that_breaks_is_opened_again(server):
    storage = storage_on(server)
    server.hang_up()
    storage.put(KEY, b"x" * 1000, "text/plain", "t.txt")
    server.hang_up(after_bytes=10)
    assert storage.get(KEY) == b"x" * 1000
    server.hang_up(times=9, after_bytes=10)
    with pytest.raises(StorageUnavailable, match="broke the connection off"):
        storage.get(KEY)


def test_an_upload_that_breaks_off_leaves_no_object(server):
    server.hang_up()
    with pytest.raises(StorageUnavailable):
        storage_on(server, attempts=1).put(KEY, b"x" * 1000, "text/plain", "t.txt")
    assert server.objects() == {}


def test_several_threads_share_one_storage(server):
    storage = storage_on(server)
    keys = [f"transcripts/job-{n}/f/transcript.txt" for n in range(24)]

    def there_and_back(key: str) -> bytes | None:
        storage.put(key, key.encode(), "text/plain", "t.txt")
        return storage.get(key)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(there_and_back, keys)) == [key.encode() for key in keys]


def test_a_connection_that_the_server_closed_while_idle_is_opened_again(server):
    storage = storage_on(server)
    server.hang_up(after_bytes=10_000)
    storage.put(KEY, b"x", "text/plain", "t.txt")
    storage.put(KEY, b"y", "text/plain", "t.txt")
    assert storage.get(KEY) == b"y"


def test_a_server_that_never_answers_is_waited_for_only_so_long(server):
    server.stall()
    with pytest.raises(StorageUnavailable, match="in time"):
        storage_on(server, read_timeout=0.3, attempts=1).put(KEY, b"x", "text/plain", "t.txt")
    server.stall()
    storage_on(server, read_timeout=0.3, attempts=2).put(KEY, b"x", "text/plain", "t.txt")


def test_nothing_is_stored_when_the_signature_is_wrong(server):
    with pytest.raises(StorageDenied):
        storage_on(server, secret_key="wrong").put(KEY, b"x", "text/plain", "t.txt")
    assert server.objects() == {}


def test_the_probe_leaves_nothing_behind(server):
    storage_on(server).probe()
    assert server.objects() == {}
    assert [r.method for r in server.requests] == ["PUT", "GET", "DELETE"]
    assert all(r.path.startswith(f"/{server.bucket}/transcripts/probe-") for r in server.requests)


def test_the_probe_tells_every_mistake_apart(server):
    def reason_of(**changes: object) -> tuple[str, str, str]:
        with pytest.raises(StorageError) as raised:
            storage_on(server, attempts=1, connect_timeout=1.0, **changes).probe()
        return raised.value.code, raised.value.details["reason"], raised.value.message

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    found = {
        "key": reason_of(access_key="AKIAWRONG"),
        "secret": reason_of(secret_key="wrong"),
        "bucket": reason_of(bucket="no-such-bucket"),
        "name": reason_of(bucket="No Bucket!"),
        "region": reason_of(region="eu-west-9"),
        "address": reason_of(endpoint="account.r2.cloudflarestorage.com"),
        "nobody": reason_of(endpoint=nobody),
        "tls": reason_of(endpoint=server.endpoint.replace("http:", "https:")),
    }
    for method, action in (("PUT", "put"), ("GET", "get"), ("DELETE", "delete")):
        server.denied = {method}
        found[action] = reason_of()
    server.denied = set()
    server.ahead = 3600
    found["clock"] = reason_of()
    assert {name: (code, reason) for name, (code, reason, _) in found.items()} == {
        "key": ("storage_denied", "wrong_key"),
        "secret": ("storage_denied", "wrong_secret"),
        "bucket": ("storage_denied", "wrong_bucket"),
        "name": ("storage_denied", "wrong_bucket"),
        "region": ("storage_denied", "wrong_region"),
        "address": ("storage_denied", "bad_endpoint"),
        "nobody": ("storage_unavailable", "unreachable"),
        "tls": ("storage_unavailable", "tls"),
        "put": ("storage_denied", "no_permission"),
        "get": ("storage_denied", "no_permission"),
        "delete": ("storage_denied", "no_permission"),
        "clock": ("storage_denied", "wrong_clock"),
    }
    assert len({message for _, _, message in found.values()}) == len(found) - 1  # the two wrong buckets share one


def test_the_probe_takes_its_object_away_when_it_may_not_read_it(server):
    server.denied = {"GET"}
    with pytest.raises(StorageDenied, match="may not get"):
        storage_on(server).probe()
    assert server.objects() == {}
    server.denied = {"GET", "DELETE"}
    with pytest.raises(StorageDenied, match="may not get"):
        storage_on(server).probe()


def test_absent_is_absent_to_keys_that_may_not_list(server):
    server.may_list = False
    storage = storage_on(server)
    assert storage.get(KEY) is None
    assert not storage.exists(KEY)


def test_wrong_keys_are_never_taken_for_an_absent_object(server):
    with pytest.raises(StorageDenied):
        storage_on(server, secret_key="wrong").get(KEY)
    with pytest.raises(StorageDenied):
        storage_on(server, bucket="no-such-bucket").get(KEY)


def test_no_error_and_no_log_shows_a_key_or_a_signature(server, caplog):
    caplog.set_level(logging.INFO)
    shown = []
    for changes in (
        {"secret_key": "CANARYSECRET"},
        {"access_key": "CANARYKEY"},
        {"endpoint": "http://u:CANARYPASS@127.0.0.1:1"},
    ):
        storage = storage_on(server, attempts=1, **changes)
        for ask in (storage.probe, lambda s=storage: s.get(KEY), lambda s=storage: s.put(KEY, b"x", "text/plain", "t")):
            with pytest.raises(StorageError) as raised:
                ask()
            shown += [str(raised.value), str(raised.value.to_dict()), repr(raised.value.__cause__), repr(storage)]
    text = "\n".join([*shown, caplog.text])
    assert "CANARY" not in text
    assert server.access_key not in text
    assert "Signature=" not in text


def test_the_bucket_behind_the_endpoint_is_not_taken_for_a_folder(server):
    storage_on(server, endpoint=f"{server.endpoint}/{server.bucket}/").put(KEY, b"x", "text/plain", "t.txt")
    assert list(server.objects()) == [KEY]


@pytest.mark.parametrize(
    "key",
    [
        "other/job/f/x.json",
        "transcripts/../x",
        "transcripts//x",
        "transcripts/.x",
        "transcripts",
        "/etc/passwd",
        "transcripts/a b",
        "transcripts/ä",
        "transcripts/a\n",
        "transcriptsx/a",
    ],
)
def test_a_key_outside_the_prefix_is_refused_before_anything_is_sent(server, key):
    storage = storage_on(server)
    for ask in (
        storage.get,
        storage.exists,
        storage.delete,
        storage.presign,
        lambda k: storage.put(k, b"", "text/plain", "t"),
    ):
        with pytest.raises(StorageDenied, match="prefix"):
            ask(key)
    assert server.requests == []


@given(st.text(max_size=100), st.text(max_size=100))
def test_every_job_gets_a_key_of_its_own_under_the_prefix(one, other):
    key = artifact_key("team/transcripts/", one, "f00d", "json")
    assert re.fullmatch(r"team/transcripts/[A-Za-z0-9_-]{1,80}/f00d/transcript\.json", key)
    assert (slug(one) == slug(other)) == (one == other)


def test_keys_are_laid_out_as_designed():
    assert artifact_key("transcripts", "abc-123-u1", "f00d", "srt") == "transcripts/abc-123-u1/f00d/transcript.srt"
    assert commit_key("/transcripts/", "abc-123-u1", "f00d") == "transcripts/abc-123-u1/f00d/result.json"
    assert commit_key("", "a", "f") == "a/f/result.json"
    assert re.fullmatch(r"p/x-[0-9a-f]{12}/f/result\.json", commit_key("p", "../../x", "f"))


def test_importing_the_storage_imports_no_boto3():
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import scribe.storage.s3
sys.exit(any(name.startswith("boto") for name in sys.modules))
"""
    src = str(Path(__file__).resolve().parents[2] / "src")
    assert subprocess.run([sys.executable, "-c", code, src], timeout=60).returncode == 0
