"""B: what a network does to a download. Real servers on loopback that are slow, cut, lying, endless or not there."""

from __future__ import annotations

import contextlib
import gzip
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.addresses import names
from support.clock import SkippingClock
from support.loopback import Answer, Authority, Loopback, page, reset

from .healthy import Worker, wav

GOOD = wav(1.0)
OK = page(GOOD, Content_Type="audio/wav")
QUERY = "?X-Amz-Signature=canary"
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs a backlog that stays full")


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def refused(worker: Worker, code: str, url: str) -> dict[str, Any]:
    answer = worker.refuses(code, audio_file=url + QUERY)
    assert "canary" not in str(answer)
    return answer


def lazily(server: Callable[[], Loopback], head: bytes, every_s: float = 0.02, piece: bytes = b"x") -> Answer:
    """A drip of a server that is not made yet when its answers are listed."""
    return lambda connection, request: server().drip(head, piece, every_s)(connection, request)


def test_b1_a_server_that_cannot_be_found_reached_or_believed_is_a_failed_fetch(jobs: Path, tmp_path: Path) -> None:
    known, stranger = (Authority(folder) for folder in (tmp_path, tmp_path))
    with (
        Loopback(OK, tls=known.server("good.test")) as right,
        Loopback(OK, tls=known.server("other.test")) as wrong_host,
        Loopback(OK, tls=stranger.server("good.test")) as wrong_chain,
        socket.create_server(("127.0.0.1", 0)) as closed,
    ):
        gone = closed.getsockname()[1]
        closed.close()
        worker = Worker(
            jobs,
            ["good.test", "nowhere.test"],
            resolver=names(good_test="127.0.0.1"),
            trusts=known.client,
        )
        for address, reason in (
            ("http://nowhere.test/a.wav", "dns"),
            (f"http://good.test:{gone}/a.wav", "connect"),
            (f"https://good.test:{wrong_host.port}/a.wav", "tls"),
            (f"https://good.test:{wrong_chain.port}/a.wav", "tls"),
        ):
            answer = refused(worker, "fetch_failed", address)
            assert (answer["details"]["reason"], answer["retryable"]) == (reason, True)
        assert wrong_host.requests == wrong_chain.requests == []
        assert "error" not in worker.ask(audio_file=f"https://good.test:{right.port}/a.wav")
    worker.assert_healthy()


@contextlib.contextmanager
def deaf() -> Iterator[int]:
    """A port whose connections never come about: its backlog is full and nobody accepts."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@linux
def test_b2_whatever_a_server_is_slow_in_the_deadline_ends_it(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SkippingClock()
    for user in ("scribe.net.download", "scribe.net.deadline"):
        monkeypatch.setattr(f"{user}.time", clock)
    server: Loopback
    slow_head = b"HTTP/1.1 200 OK\r\nX-A: "
    slow_body = page(Content_Length=1_000_000)
    server = Loopback(
        clock.after(lambda connection, request: server.silence(connection, request)),
        clock.after(lazily(lambda: server, slow_head)),
        clock.after(lazily(lambda: server, slow_body)),
    )
    with server, deaf() as port:
        hasty = Worker(jobs, ["127.0.0.1"], fetch_deadline_s=0.5)
        assert refused(hasty, "fetch_failed", f"http://127.0.0.1:{port}/a.wav")["details"]["reason"] == "deadline"
        worker = Worker(jobs, ["127.0.0.1"], fetch_deadline_s=600.0)
        for asked in (1, 2, 3):
            assert refused(worker, "fetch_failed", f"{server.url}/a.wav")["details"]["reason"] == "deadline"
            assert len(server.requests) == asked
    worker.assert_healthy()


def cut(connection: socket.socket, _: bytes) -> None:
    connection.sendall(OK[: len(OK) // 2])
    reset(connection)


def test_b3_half_a_file_is_asked_for_again_and_never_heard(jobs: Path) -> None:
    chunks = page(Content_Length=None, Transfer_Encoding="chunked") + b"%x\r\n" % len(GOOD) + GOOD + b"\r\n"
    for broken in (OK[:-1], cut, chunks):
        with Loopback(broken) as server:
            worker = Worker(jobs, [server.host])
            assert refused(worker, "fetch_incomplete", f"{server.url}/a.wav")["retryable"] is True
            assert len(server.requests) == 3
        with Loopback(broken, OK) as server:
            worker = Worker(jobs, [server.host])
            assert "error" not in worker.ask(audio_file=f"{server.url}/a.wav")
            assert worker.predictor.seconds == [[1.0]]
    with Loopback(page(Content_Length=None) + GOOD) as server:
        worker = Worker(jobs, [server.host])
        answer = worker.ask(audio_file=f"{server.url}/a.wav")
        assert [warning["code"] for warning in answer["warnings"]] == ["length_unverified"]
    worker.assert_healthy()


def test_b4_a_refusal_is_final_and_a_busy_server_is_asked_again(jobs: Path) -> None:
    for status in (403, 404, 410):
        with Loopback(page(status=f"{status} x")) as server:
            worker = Worker(jobs, [server.host])
            assert refused(worker, "not_found", f"{server.url}/a.wav")["details"] == {"status": status}
            assert len(server.requests) == 1
    for busy in (page(status="429 x", Retry_After="0"), *(page(status=f"{status} x") for status in (500, 502, 503))):
        with Loopback(busy, busy, OK) as server:
            worker = Worker(jobs, [server.host])
            assert "error" not in worker.ask(audio_file=f"{server.url}/a.wav")
            assert len(server.requests) == 3
    with Loopback(page(status="503 x")) as server:
        worker = Worker(jobs, [server.host])
        assert refused(worker, "fetch_failed", f"{server.url}/a.wav")["details"]["status"] == 503
        assert len(server.requests) == 3
    worker.assert_healthy()


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow further: a job that tried would end with disk_full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_b5_a_length_that_lies_or_is_absent_never_fills_the_disk(jobs: Path) -> None:
    cap = 200_000
    for head, code, room in (
        (page(Content_Length=None), "too_large", cap + (1 << 16)),
        (page(Content_Length=10**12), "too_large", 0),
        (page(Content_Length=100), "not_audio", 100),
    ):
        server: Loopback
        server = Loopback(lazily(lambda: server, head, 0.0, bytes(8192)))  # noqa: B023 (asked within its turn)
        with server, no_file_above(room):
            worker = Worker(jobs, [server.host], max_audio_bytes=cap)
            refused(worker, code, f"{server.url}/a.wav")
            assert len(server.requests) == 1
    worker.assert_healthy()


def test_b6_ten_gigabytes_packed_into_ten_megabytes_stop_at_the_cap(jobs: Path) -> None:
    member = gzip.compress(bytes(10_000_000))
    bomb = page(member * 1000, Content_Encoding="gzip")
    assert len(bomb) < 11_000_000
    with Loopback(bomb) as server:
        worker = Worker(jobs, [server.host], max_audio_bytes=1_000_000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refused(worker, "too_large", f"{server.url}/a.wav")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
        assert b"Accept-Encoding: identity\r\n" in server.requests[0]
    worker.assert_healthy()


def test_b7_a_link_that_expired_in_the_queue_says_so_without_its_signature(jobs: Path) -> None:
    text = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message><X-Amz-Expires>60</X-Amz-Expires></Error>"
    with Loopback(page(text, "403 Forbidden", Content_Type="application/xml")) as server:
        worker = Worker(jobs, [server.host])
        answer = refused(worker, "not_found", f"{server.url}/a.wav")
    assert "link expired or access is denied" in answer["error"]
    assert "?" not in answer["error"]
    worker.assert_healthy()
