"""Downloads from real servers that are slow, cut, lying or endless, and base64 that is anything."""

from __future__ import annotations

import base64
import email.utils
import gzip
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import SkippingClock
from support.loopback import Loopback, moved, page, reset

from scribe.errors import (
    Cancelled,
    DiskFull,
    FetchFailed,
    FetchIncomplete,
    InvalidInput,
    NotFound,
    TooLarge,
    UrlBlocked,
    WorkerError,
)
from scribe.net.client import GuardedClient
from scribe.net.download import Fetched, decode_base64, fetch
from scribe.runtime.monitor import Monitor

BODY = bytes(range(256)) * 1000
OK = page(BODY, Content_Type="audio/mpeg")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return page(Content_Length=None, Transfer_Encoding="chunked") + body + end


def download(server: Loopback, target: Path, path: str = "/a.mp3?sig=canary", **options: Any) -> Fetched:
    limits = {"max_bytes": 1_000_000, "deadline_s": 20.0, "sleep": lambda _: None, **options}
    return fetch(GuardedClient(frozenset({server.host})), server.url + path, target, **limits)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "audio"


def failure(server: Loopback, target: Path, kind: type[WorkerError], **options: Any) -> WorkerError:
    """The error of a download, after the look that every one deserves: no query in it, no file left."""
    with pytest.raises(kind) as caught:
        download(server, target, **options)
    assert "canary" not in str(caught.value.to_dict())
    assert not target.exists()
    return caught.value


def test_a_file_arrives_whole_with_its_type_and_progress(target: Path) -> None:
    shares: list[float] = []
    with Loopback(OK) as server:
        fetched = download(server, target, monitor=Monitor(report=shares.append))
    assert fetched == Fetched(target, len(BODY), "audio/mpeg", ())
    assert target.read_bytes() == BODY
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_file_for_which_there_is_no_room_is_not_begun(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(target.parent)._replace(free=len(BODY) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    shares: list[float] = []
    with Loopback(OK) as server:
        error = failure(server, target, DiskFull, monitor=Monitor(report=shares.append))
    assert error.details == {"bytes": len(BODY)}
    assert shares == []


def test_a_chunked_file_arrives_whole_and_its_progress_is_unknown(target: Path) -> None:
    shares: list[float] = []
    with Loopback(chunked(BODY, b"end")) as server:
        fetched = download(server, target, monitor=Monitor(report=shares.append))
    assert (fetched.size, fetched.warnings) == (len(BODY) + 3, ())
    assert shares == []


def test_a_body_that_only_the_connection_ends_is_taken_with_a_warning(target: Path) -> None:
    with Loopback(page(Content_Length=None) + BODY) as server:
        fetched = download(server, target)
    assert fetched.warnings == ("length_unverified",)
    assert target.read_bytes() == BODY


def test_a_redirected_file_arrives_under_the_same_name(target: Path) -> None:
    disposition = page(BODY, Content_Disposition='attachment; filename="../../evil"')
    with Loopback(moved("/..%2f..%2fevil?x"), disposition) as server:
        assert download(server, target).path == target
    assert list(target.parent.iterdir()) == [target]


def cut(connection: socket.socket, _: bytes) -> None:
    connection.sendall(OK[:5000])
    reset(connection)


@pytest.mark.parametrize(
    "broken",
    [
        OK[:-1],
        cut,
        chunked(BODY, end=b""),
        chunked(BODY)[:-1000],
        chunked(BODY, end=b"5\r\nab"),
        chunked(end=b"zz\r\n"),
    ],
)
def test_a_cut_download_is_tried_three_times_and_never_kept(
    broken: bytes | Callable[[socket.socket, bytes], None], target: Path
) -> None:
    with Loopback(broken) as server:
        failure(server, target, FetchIncomplete)
        assert len(server.requests) == 3
    with Loopback(broken, OK) as server:
        assert download(server, target).size == len(BODY)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416])
def test_a_refusal_is_final(status: int, target: Path) -> None:
    with Loopback(page(b"<Error/>", f"{status} x")) as server:
        error = failure(server, target, NotFound)
        assert len(server.requests) == 1
    assert error.details == {"status": status}
    assert str(status) in error.message


def test_a_denied_link_says_that_it_may_have_expired(target: Path) -> None:
    with Loopback(page(status="403 Forbidden")) as server:
        assert "expired" in failure(server, target, NotFound).message


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int, target: Path) -> None:
    busy = page(status=f"{status} x")
    pauses: list[float] = []
    with Loopback(busy, busy, OK) as server:
        assert download(server, target, sleep=pauses.append).size == len(BODY)
    assert 0.75 <= sum(pauses) <= 1.5
    with Loopback(busy) as server:
        assert failure(server, target.with_name("other"), FetchFailed).details["status"] == status
        assert len(server.requests) == 3


def test_a_wish_to_wait_is_honoured(target: Path) -> None:
    pauses: list[float] = []
    with Loopback(page(status="429 x", Retry_After="7"), OK) as server:
        download(server, target, sleep=pauses.append)
    assert sum(pauses) == 7
    assert max(pauses) <= 0.5


def test_a_wish_to_wait_until_a_date_is_honoured(target: Path) -> None:
    pauses: list[float] = []
    until = email.utils.formatdate(time.time() + 12, usegmt=True)
    with Loopback(page(status="503 x", Retry_After=until), OK) as server:
        download(server, target, sleep=pauses.append)
    assert 5 < sum(pauses) <= 12


@pytest.mark.parametrize(("wish", "deadline_s"), [("3600", 20.0), ("25", 20.0)])
def test_a_wait_beyond_reason_or_deadline_is_not_waited_for(wish: str, deadline_s: float, target: Path) -> None:
    with Loopback(page(status="503 x", Retry_After=wish)) as server:
        failure(server, target, FetchFailed, deadline_s=deadline_s)
        assert len(server.requests) == 1


def test_a_blocked_address_is_not_tried_again(target: Path) -> None:
    with Loopback(moved("http://169.254.169.254/?canary")) as server:
        failure(server, target, UrlBlocked)
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["204 x", "206 x", "304 x"])
def test_an_answer_without_the_file_is_a_failure(status: str, target: Path) -> None:
    with Loopback(page(status=status)) as server:
        failure(server, target, FetchFailed)
        assert len(server.requests) == 1


def test_an_announced_giant_is_refused_before_a_byte_is_written(target: Path) -> None:
    with Loopback(page(b"", Content_Length=10**12)) as server:
        assert failure(server, target, TooLarge).details == {"max_bytes": 1_000_000}
        assert len(server.requests) == 1


@pytest.mark.parametrize("head", [page(Content_Length=None), page(Content_Length=None, Transfer_Encoding="chunked")])
def test_an_endless_body_stops_at_the_cap(head: bytes, target: Path) -> None:
    sizes: list[int] = []
    piece = b"x" * 65536 if b"chunked" not in head else b"10000\r\n" + b"x" * 65536 + b"\r\n"
    server = Loopback(lambda connection, request: server.drip(head, piece, every_s=0)(connection, request))
    with server:
        look = Monitor(lambda: sizes.append(target.stat().st_size if target.exists() else 0))
        failure(server, target, TooLarge, monitor=look)
        assert len(server.requests) == 1
    assert max(sizes) <= 1_000_000


def test_the_cap_counts_unpacked_bytes(target: Path) -> None:
    with Loopback(page(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")) as server:
        failure(server, target, TooLarge)
    with Loopback(page(gzip.compress(BODY), Content_Encoding="gzip")) as server:
        assert download(server, target).size == len(BODY)
    assert target.read_bytes() == BODY


def test_a_byte_now_and_then_ends_with_the_deadline(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SkippingClock()
    for user in ("scribe.net.download", "scribe.net.deadline"):
        monkeypatch.setattr(f"{user}.time", clock)
    head = page(Content_Length=1_000_000)
    server = Loopback(clock.after(lambda connection, request: server.drip(head)(connection, request)))
    with server:
        assert failure(server, target, FetchFailed, deadline_s=600.0).details["reason"] == "deadline"
        assert len(server.requests) == 1


def test_a_cancelled_download_ends_in_the_middle_and_leaves_nothing(target: Path) -> None:
    head = page(Content_Length=1_000_000)
    server = Loopback(lambda connection, request: server.drip(head)(connection, request))

    def check() -> None:
        if target.exists():
            raise Cancelled("the job was cancelled")

    with server:
        failure(server, target, Cancelled, monitor=Monitor(check))


def test_a_cancelled_wait_does_not_last(target: Path) -> None:
    slept: list[float] = []

    def check() -> None:
        if len(slept) == 3:
            raise Cancelled("the job was cancelled")

    with Loopback(page(status="503 x", Retry_After="15")) as server:
        failure(server, target, Cancelled, monitor=Monitor(check), sleep=slept.append)
    assert len(slept) == 3


@linux
def test_a_full_disk_is_named(target: Path) -> None:
    target.symlink_to("/dev/full")
    with Loopback(OK) as server:
        failure(server, target, DiskFull)
    target.symlink_to("/dev/full")
    with pytest.raises(DiskFull):
        decode_base64(base64.b64encode(BODY).decode(), target, 1_000_000)
    assert not target.is_symlink()


@given(
    data=st.binary(min_size=1, max_size=3000), prefix=st.sampled_from(["", "data:audio/wav;base64,", "data:;base64,"])
)
def test_base64_of_any_alphabet_padding_and_line_length_is_the_same_file(data: bytes, prefix: str) -> None:
    spellings = [
        base64.b64encode(data).decode(),
        base64.encodebytes(data).decode(),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for text in spellings:
            fetched = decode_base64(prefix + text, Path(folder) / "audio", len(data))
            assert fetched.path.read_bytes() == data
            assert fetched.size == len(data)


def test_base64_of_many_blocks_is_joined_without_a_seam(target: Path) -> None:
    text = "data:audio/ogg;codecs=opus;base64," + base64.b64encode(BODY).decode()
    assert decode_base64(text, target, len(BODY)) == Fetched(target, len(BODY), "audio/ogg", ())
    assert target.read_bytes() == BODY


def test_base64_over_the_cap_is_refused_before_it_is_decoded(target: Path) -> None:
    with pytest.raises(TooLarge):
        decode_base64("!" * 1000, target, 100)
    assert not target.exists()


@pytest.mark.parametrize(
    "text", ["", "   ", "data:audio/wav;base64,", "not base64!", "A", "AAAAA", "é" * 8, "data:audio/wav,%52%49", "AA=A"]
)
def test_broken_base64_is_invalid_input(text: str, target: Path) -> None:
    with pytest.raises(InvalidInput):
        decode_base64(text, target, 1000)
    assert not target.exists()
