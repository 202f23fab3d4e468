"""The guarded client against real servers on loopback, and its address table row by row."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.addresses import BLOCKED, PUBLIC, names
from support.clock import SkippingClock
from support.loopback import Authority, Loopback, moved, page

from scribe.errors import Cancelled, FetchFailed, FetchIncomplete, UrlBlocked
from scribe.net.client import GuardedClient, blocked_reason, check_url
from scribe.net.deadline import Watch

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")


def client(*servers: Loopback, **options: Any) -> GuardedClient:
    return GuardedClient(frozenset(server.host for server in servers), **options)


def get(guarded: GuardedClient, url: str, seconds: float = 20, **options: Any) -> tuple[int, bytes]:
    with guarded.request("GET", url, deadline=time.monotonic() + seconds, **options) as response:
        return response.status, b"".join(response.stream(1000))


@pytest.mark.parametrize("address", BLOCKED)
def test_no_job_reaches_an_address_that_is_not_public(address: str) -> None:
    assert blocked_reason(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open(address: str) -> None:
    assert blocked_reason(address) is None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_closed_in_every_ipv6_disguise(inner: ipaddress.IPv4Address) -> None:
    low = int(inner)
    disguises = [low, 0xFFFF << 32 | low, 0xFFFF << 48 | low, 0x2600 << 112 | 0x5EFE << 32 | low]
    if blocked_reason(inner):
        assert all(blocked_reason(ipaddress.IPv6Address(disguise)) for disguise in disguises)
    tunnels = [
        0x64FF9B << 96 | low,
        0x64FF9B0001 << 80 | low,
        0x2002 << 112 | low << 80,
        0x20010000 << 96 | low << 64,
        0x20010000 << 96 | low ^ 0xFFFFFFFF,
    ]
    assert all(blocked_reason(ipaddress.IPv6Address(tunnel)) for tunnel in tunnels)


@given(st.ip_addresses())
def test_the_table_is_at_least_as_strict_as_python(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    special = (
        address.is_private,
        address.is_multicast,
        address.is_loopback,
        address.is_link_local,
        address.is_reserved,
    )
    if any(special):
        assert blocked_reason(address)


@pytest.mark.parametrize(
    "url",
    """
    file:///etc/passwd ftp://example.com/a gopher://example.com data:audio/mp3;base64,AA javascript:1 s3://bucket/key
    example.com/a.mp3 //example.com/a http: http:// http:///a https://:443/ http://example.com:22/ http://example.com:0/
    https://example.com:8443/ http://127.0.0.1/ http://127.0.0.1#@good/ http://good@127.0.0.1/ http://[::1]/
    http://[::ffff:127.0.0.1]/ http://[fe80::1%25eth0]/ http://good\\@127.0.0.1/ http://%31%32%37.0.0.1/
    http://127。0。0。1/ http://１２７.0.0.1/ http://169.254.169.254/latest/meta-data http://exa[mple.com/
    """.split()
    + ["http://example.com/\0a", "http://example.com/\r\nHost: x", "http://exam ple.com/", "http://a:b:c/", "", " "],
)
def test_a_url_of_the_wrong_form_or_place_is_refused(url: str) -> None:
    with pytest.raises(UrlBlocked):
        check_url(url)


@pytest.mark.parametrize("pasted", ["{}\n", " {}", "\t{} \r\n"])
def test_spaces_and_line_breaks_around_an_address_are_dropped(pasted: str) -> None:
    assert check_url(pasted.format("https://example.com/a.mp3")) == check_url("https://example.com/a.mp3")


@given(st.text())
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = check_url(f"http://{text}")
    except UrlBlocked:
        return
    assert target.host
    assert target.port in (80, 443)
    assert target.path.startswith("/")


def test_a_refusal_tells_neither_the_address_nor_the_query() -> None:
    guarded = GuardedClient(resolver=names(internal_example="10.1.2.3"))
    with pytest.raises(UrlBlocked) as caught:
        get(guarded, "http://internal.example/a?sig=canary")
    shown = str(caught.value.to_dict())
    assert "internal.example" in shown
    assert "10.1.2.3" not in shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost", "localhost.", "LOCALHOST"]
)
def test_every_spelling_of_loopback_is_refused_by_what_it_resolves_to(host: str) -> None:
    with pytest.raises((UrlBlocked, FetchFailed)) as caught:
        get(GuardedClient(), f"http://{host}/")
    assert isinstance(caught.value, UrlBlocked) or caught.value.details["reason"] == "dns"


@pytest.mark.parametrize("addresses", [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2606:4700::1", "::1"]])
def test_one_private_record_among_public_ones_refuses_the_name(addresses: list[str]) -> None:
    with pytest.raises(UrlBlocked):
        get(GuardedClient(resolver=names(mixed_example=addresses)), "http://mixed.example/")


def test_an_exempt_host_is_reached_and_asked_plainly() -> None:
    with Loopback(page(b"hello")) as server:
        assert get(client(server), f"{server.url}/a%20b c?x=1#frag") == (200, b"hello")
        head = server.requests[0].decode()
    assert head.startswith("GET /a%20b%20c?x=1 HTTP/1.1\r\n")
    assert f"Host: {server.host}\r\n" in head
    assert "Accept-Encoding: identity\r\n" in head


def test_a_host_exempt_on_one_port_is_not_exempt_on_another() -> None:
    with Loopback(page()) as server, Loopback(page()) as other, pytest.raises(UrlBlocked):
        get(client(server), other.url)
    assert other.requests == []


@linux
def test_the_socket_goes_to_the_address_that_was_checked_whatever_the_name_says_later() -> None:
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.2"])

    def rebinding(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    with Loopback(page(b"good")) as good, Loopback(page(b"evil"), address="127.0.0.2", port=good.port) as evil:
        guarded = GuardedClient(frozenset({f"rebind.test:{good.port}"}), resolver=rebinding)
        assert get(guarded, f"http://rebind.test:{good.port}/") == (200, b"good")
        assert evil.requests == []
        assert f"Host: rebind.test:{good.port}".encode() in good.requests[0]


def test_a_name_that_turns_private_by_the_next_hop_is_refused_there() -> None:
    with Loopback(moved("http://second.example/")) as server:
        guarded = client(server, resolver=names(second_example="169.254.169.254"))
        with pytest.raises(UrlBlocked):
            get(guarded, server.url)


def test_the_next_address_is_tried_when_the_first_one_refuses() -> None:
    with Loopback(page(b"here")) as server:
        resolver = names(two_test=["::1", "127.0.0.1"])
        guarded = GuardedClient(frozenset({"two.test"}), resolver=resolver)
        assert get(guarded, f"http://two.test:{server.port}/") == (200, b"here")


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest", "file:///etc/passwd", "http://[::1]/", "//10.0.0.1/", "http://127.0.0.1:22/"],
)
def test_a_redirect_to_a_private_place_is_refused(location: str) -> None:
    with Loopback(moved(location)) as server:
        with pytest.raises(UrlBlocked):
            get(client(server), server.url)
        assert len(server.requests) == 1


def test_five_redirects_are_followed_and_six_are_not() -> None:
    chain = [moved("/next", status) for status in ("301 x", "302 x", "303 x", "307 x", "308 x")]
    with Loopback(*chain, page(b"end")) as server:
        assert get(client(server), f"{server.url}/first") == (200, b"end")
        assert server.requests[5].startswith(b"GET /next ")
    with Loopback(moved("/again")) as server:
        with pytest.raises(FetchFailed, match="more than 5"):
            get(client(server), server.url)
        assert len(server.requests) == 6


def test_authorization_stays_with_its_origin() -> None:
    headers = {"Authorization": "Bearer canary", "Cookie": "a=canary"}
    with Loopback(page()) as other, Loopback(moved("/same"), moved(f"{other.url}/")) as server:
        get(client(server, other), server.url, headers=headers)
        assert [b"canary" in request for request in server.requests] == [True, True]
        assert b"canary" not in other.requests[0]


def test_a_user_part_becomes_basic_authorization_of_that_hop_only() -> None:
    with Loopback(page()) as other, Loopback(moved(f"{other.url}/")) as server:
        get(client(server, other), f"http://user:p%40ss@{server.host}/")
        assert b"Authorization: Basic dXNlcjpwQHNz" in server.requests[0]
        assert b"Authorization" not in other.requests[0]


def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(page(b"proxied")) as proxy, Loopback(page(b"direct")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert get(client(server), server.url) == (200, b"direct")
        assert proxy.requests == []


def test_a_body_is_sent_and_its_redirect_is_the_answer() -> None:
    with Loopback(page(status="201 Created"), moved("/elsewhere", "307 x")) as server:
        for expected in (201, 307):
            deadline = time.monotonic() + 20
            with client(server).request("PUT", f"{server.url}/k", body=b"data", deadline=deadline) as response:
                assert response.status == expected
        assert server.requests[0].startswith(b"PUT /k ")
        assert server.requests[0].endswith(b"\r\n\r\ndata")
        assert len(server.requests) == 2


def test_tls_is_verified_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Loopback(page(b"safe"), tls=authority.server("good.test")) as server:
        resolver = names(good_test="127.0.0.1", evil_test="127.0.0.1")
        guarded = GuardedClient(frozenset({"good.test", "evil.test"}), resolver=resolver, ssl_context=authority.client)
        assert get(guarded, f"https://good.test:{server.port}/") == (200, b"safe")
        assert get(guarded, f"https://GOOD.test.:{server.port}/") == (200, b"safe")
        with pytest.raises(FetchFailed) as caught:
            get(guarded, f"https://evil.test:{server.port}/?canary")
        assert caught.value.details["reason"] == "tls"
        assert "canary" not in str(caught.value.to_dict())


def test_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    with Loopback(page(), tls=Authority(tmp_path).server("127.0.0.1")) as server:
        with pytest.raises(FetchFailed) as caught:
            get(client(server), f"https://{server.host}/")
        assert caught.value.details["reason"] == "tls"
        assert server.requests == []


def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Loopback(page()) as plain, Loopback(moved(plain.url), tls=authority.server("127.0.0.1")) as server:
        with pytest.raises(UrlBlocked, match="https to http"):
            get(client(server, plain, ssl_context=authority.client), f"https://{server.host}/")
        assert plain.requests == []


def test_a_refused_connection_is_a_failure_without_the_query() -> None:
    with Loopback(page()) as server:
        closed = server.host
    with pytest.raises(FetchFailed) as caught:
        get(GuardedClient(frozenset({closed})), f"http://{closed}/?canary")
    assert caught.value.details["reason"] == "connect"
    assert "canary" not in str(caught.value.to_dict())


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 abc\r\n\r\n", b"", b"\r\n" * 50])
def test_what_is_not_http_is_a_failure(answer: bytes) -> None:
    with Loopback(answer) as server, pytest.raises(FetchFailed):
        get(client(server), server.url)


def test_a_deadline_that_has_passed_is_named_before_the_watch_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SkippingClock()
    monkeypatch.setattr("scribe.net.deadline.time", clock)
    watch = Watch(clock.monotonic() + 60, lambda: None)
    watch.raise_if_stopped()
    clock.skip(60)
    with pytest.raises(FetchFailed) as caught:
        watch.raise_if_stopped()
    assert caught.value.details["reason"] == "deadline"


def test_a_server_that_says_nothing_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SkippingClock()
    monkeypatch.setattr("scribe.net.deadline.time", clock)
    server = Loopback(clock.after(lambda connection, request: server.silence(connection, request)))
    with server, pytest.raises(FetchFailed) as caught:
        get(client(server), server.url, seconds=600)
    assert caught.value.details["reason"] == "deadline"


def test_headers_that_come_a_byte_at_a_time_end_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SkippingClock()
    monkeypatch.setattr("scribe.net.deadline.time", clock)
    drip = b"HTTP/1.1 200 OK\r\nX: "
    server = Loopback(clock.after(lambda connection, request: server.drip(drip)(connection, request)))
    with server, pytest.raises(FetchFailed) as caught:
        get(client(server), server.url, seconds=600)
    assert caught.value.details["reason"] == "deadline"


def test_a_read_timeout_is_named() -> None:
    server = Loopback(lambda connection, request: server.silence(connection, request))
    with server, pytest.raises(FetchFailed) as caught:
        get(client(server, read_timeout=0.2), server.url)
    assert caught.value.details["reason"] == "timeout"


def test_a_resolver_that_hangs_is_left_behind() -> None:
    over = threading.Event()
    guarded = GuardedClient(connect_timeout=0.3, resolver=lambda *_, **__: over.wait(60) and [])
    with pytest.raises(FetchFailed) as caught:
        get(guarded, "http://slow.example/")
    over.set()
    assert caught.value.details["reason"] == "dns"


def test_a_name_without_an_address_is_named() -> None:
    for resolver in (names(), names(none_example=[])):
        with pytest.raises(FetchFailed, match=r"none\.example") as caught:
            get(GuardedClient(resolver=resolver), "http://none.example/")
        assert caught.value.details["reason"] == "dns"


def test_a_cancelled_job_leaves_a_silent_server_at_once() -> None:
    asked: list[int] = []
    server = Loopback(lambda connection, request: server.silence(connection, request))

    def check() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise Cancelled("the job was cancelled")

    before = threading.active_count()
    with server, pytest.raises(Cancelled):
        get(client(server), server.url, check=check)
    assert threading.active_count() <= before + 1


def test_a_body_cut_short_is_incomplete() -> None:
    with Loopback(page(b"12345", Content_Length=10)) as server, pytest.raises(FetchIncomplete):
        get(client(server), server.url)


def test_a_caller_s_own_failure_passes_through() -> None:
    with Loopback(page(b"x")) as server:
        request = client(server).request("GET", server.url, deadline=time.monotonic() + 20)
        with pytest.raises(OSError, match="mine"), request:
            raise OSError("mine")
