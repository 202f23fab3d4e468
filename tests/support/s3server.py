"""A real S3 server on loopback: moto behind a front that does what moto does not.

The front recomputes the signature of every request (SigV4, in the header or in a presigned link), checks expiry, clock
and region, refuses checksum trailers as Cloudflare R2 does, hides absent objects from keys that may not list, and can
be told to fail, stall or hang up. Usable as a context manager and as the pytest fixture `s3_server`.
"""

from __future__ import annotations

import http.client
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import NamedTuple
from urllib.parse import quote

import pytest
from botocore.loaders import JSONFileLoader
from moto.server import ThreadedMotoServer

from support import sigv4
from support.sigv4 import Refusal

# Every client reads the description of S3 anew, which takes most of its time; in tests all share one.
_described = cache(JSONFileLoader().load_file)
JSONFileLoader.load_file = lambda self, path: _described(path)


class Answered(NamedTuple):
    """One request as the front saw it, and what it was answered."""

    method: str
    path: str
    headers: dict[str, str]
    status: int


@cache
def _moto() -> tuple[str, int]:
    """Where moto listens. It keeps its buckets per process anyway, so one of it serves every front."""
    # It would log every address with its signature, where tests look for secrets.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    return server.get_host_and_port()


class S3Server:
    """`endpoint`, `bucket`, `access_key`, `secret_key`, `region` are what a client needs; the rest steers the server.

    ahead: seconds by which the server's clock is ahead. denied: methods that the keys may not use.
    may_list: False answers 403 for absent objects. requests: everything asked so far.
    """

    def __init__(self, region: str = "us-east-1") -> None:
        self.region = region
        self.access_key = f"AKIA{uuid.uuid4().hex[:16].upper()}"
        self.secret_key = f"secret+/{uuid.uuid4().hex}"
        self.bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        self.ahead = 0.0
        self.denied: set[str] = set()
        self.may_list = True
        self.requests: list[Answered] = []
        self._faults: deque[Callable[[_Front], bool]] = deque()
        self._released = Event()
        self._behind = _moto()
        self._front = ThreadingHTTPServer(("127.0.0.1", 0), _Front)
        self._front.daemon_threads = True
        self._front.s3 = self

    @property
    def endpoint(self) -> str:
        """The address of the front."""
        return f"http://127.0.0.1:{self._front.server_address[1]}"

    def __enter__(self) -> S3Server:
        Thread(target=self._front.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        status, _, text = self.behind("PUT", f"/{self.bucket}")
        assert status == 200, text
        return self

    def __exit__(self, *exc: object) -> None:
        self._released.set()
        self._front.shutdown()
        self._front.server_close()

    def fail(self, status: int = 503, code: str = "SlowDown", times: int = 1) -> None:
        """Answer the next `times` requests with this error."""

        def fault(front: _Front) -> bool:
            raise Refusal(status, code, "asked for by the test")

        self._faults.extend([fault] * times)

    def hang_up(self, times: int = 1, after_bytes: int | None = None) -> None:
        """Close the connection of the next requests without an answer, or `after_bytes` of an answered body."""

        def fault(front: _Front) -> bool:
            front.cut_after = after_bytes
            if after_bytes is None:
                front.close_connection = True
                front.connection.close()
            return after_bytes is None

        self._faults.extend([fault] * times)

    def stall(self, times: int = 1) -> None:
        """Never answer the next `times` requests; their connections close when the server stops."""

        def fault(front: _Front) -> bool:
            self._released.wait(60)
            front.close_connection = True
            return True

        self._faults.extend([fault] * times)

    def objects(self) -> dict[str, tuple[bytes, dict[str, str]]]:
        """Everything in the bucket by key: (bytes, headers in small letters), asked of moto directly."""
        import xml.etree.ElementTree as ET

        _, _, listing = self.behind("GET", f"/{self.bucket}?list-type=2")
        keys = [node.text or "" for node in ET.fromstring(listing).iter() if node.tag.endswith("}Key")]
        found = {}
        for key in keys:
            _, headers, data = self.behind("GET", f"/{self.bucket}/{quote(key)}")
            found[key] = (data, headers)
        return found

    def behind(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask moto itself: nothing is checked and nothing fails there."""
        connection = http.client.HTTPConnection(*self._behind, timeout=30)
        try:
            # moto shows nothing to the anonymous, and believes any credential.
            sent = {
                "Content-Length": str(len(body)),
                "Authorization": "AWS4-HMAC-SHA256 Credential=x/20000101/us-east-1/s3/aws4_request",
            }
            connection.request(method, path, body=body or None, headers=sent | (headers or {}))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cut_after: int | None = None

    @property
    def s3(self) -> S3Server:
        return self.server.s3

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.cut_after = None
        try:
            if self.s3._faults and self.s3._faults.popleft()(self):
                self.note(0)
                return
            self.refuse_trailers()
            now = datetime.fromtimestamp(time.time() + self.s3.ahead, timezone.utc)
            sigv4.check(self.command, self.path, self.headers, body, self.s3, now)
            if self.command in self.s3.denied:
                raise Refusal(403, "AccessDenied", "Access Denied")
            status, headers, data = self.s3.behind(self.command, self.path, dict(self.headers), body)
            if status == 404 and not self.s3.may_list and b"NoSuchBucket" not in data:
                raise Refusal(403, "AccessDenied", "Access Denied")
        except Refusal as refusal:
            text = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
            status, headers, data = refusal.status, {"content-type": "application/xml"}, text.encode()
        self.note(status)
        self.send_response_only(status)
        for name, value in headers.items():
            if name not in ("connection", "transfer-encoding", "content-length", "server"):
                self.send_header(name, value)
        # A HEAD answer announces the length of what it does not send.
        self.send_header(
            "Content-Length", headers.get("content-length", "0") if self.command == "HEAD" else str(len(data))
        )
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: self.cut_after])
        self.close_connection = self.close_connection or self.cut_after is not None

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer

    def note(self, status: int) -> None:
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.s3.requests.append(Answered(self.command, self.path, headers, status))

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests`, not the terminal."""

    def refuse_trailers(self) -> None:
        """As R2: 501 for what AWS has added to S3 since 2024."""
        sent = {k.lower(): v for k, v in self.headers.items()}
        added = any(k.startswith(("x-amz-checksum-", "x-amz-sdk-checksum-")) or k == "x-amz-trailer" for k in sent)
        if added or "aws-chunked" in sent.get("content-encoding", "") or "chunked" in sent.get("transfer-encoding", ""):
            raise Refusal(501, "NotImplemented", "a header you provided implies functionality that is not implemented")


@pytest.fixture
def s3_server() -> Iterator[S3Server]:
    """A server of its own with an empty bucket."""
    with S3Server() as server:
        yield server
