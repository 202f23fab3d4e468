"""A guarded HTTP client for all URLs that a job names, to download from or upload to.

Threat: server-side request forgery. A job's URL makes the worker request what only the worker can reach (cloud metadata,
the private network, itself), directly, by a redirect, or by a name whose DNS answer changes between check and use.
Defence: on every hop the URL's form and all resolved addresses must pass addresses.py, and the socket is opened to a
checked address, while TLS still verifies the name. Proxies are never used, because pinning works only if this process
opens the socket. Public servers that forward to private ones are not covered.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO
from urllib.parse import urljoin

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse

from scribe.errors import FetchFailed, FetchIncomplete, UrlBlocked, WorkerError
from scribe.net.addresses import Target, blocked_reason, check_url, refuse_blocked
from scribe.net.connections import PlainConnection, TlsConnection, default_context
from scribe.net.deadline import POLL_S, Watch

__all__ = ["GuardedClient", "Response", "Target", "blocked_reason", "check_url"]

MAX_ADDRESSES = 6  # of one name, tried in turn: the first may be IPv6, which containers often lack
REDIRECTS = frozenset({301, 302, 303, 307, 308})
OF_ONE_ORIGIN = frozenset({"authorization", "cookie", "proxy-authorization"})
_TRANSPORT_ERRORS = (OSError, HTTPError, HTTPException, ValueError)
# Results of getaddrinfo: family, type, protocol, canonical name, address.
Entries = Sequence[tuple[int, int, int, str, tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Response:
    """A response whose body is not read yet."""

    status: int
    headers: Mapping[str, str]  # case-insensitive
    url: str  # of the last hop, with its query: never show it
    _raw: BaseHTTPResponse
    _watch: Watch

    @property
    def length(self) -> int | None:
        """The announced bytes of the body; None if it is chunked, encoded or not announced."""
        announced = self.headers.get("Content-Length", "")
        plain = self.headers.get("Content-Encoding", "identity") == "identity"
        return int(announced) if announced.isdecimal() and plain and not self.chunked else None

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()

    @property
    def provable(self) -> bool:
        """Whether the end of the body is marked, so that a cut body can be detected."""
        return self.chunked or "Content-Length" in self.headers

    def stream(self, n: int = 1 << 16) -> Iterator[bytes]:
        """Yield the decoded body in pieces of at most `n` bytes. Raises FetchIncomplete, FetchFailed."""
        pieces = self._raw.stream(n, decode_content=True)
        while True:
            try:
                piece = next(pieces, None)
            except _TRANSPORT_ERRORS as error:
                self._watch.raise_if_stopped()
                if isinstance(error, (TimeoutError, ReadTimeoutError)):
                    raise FetchFailed("the server stopped sending", {"reason": "timeout"}) from error
                raise FetchIncomplete("the connection ended before the file did") from error
            self._watch.raise_if_stopped()
            if piece is None:
                return
            yield piece


class GuardedClient:
    """Sends requests to public addresses only; `allow_hosts` ("host" or "host:port") are exempt."""

    def __init__(
        self,
        allow_hosts: frozenset[str] = frozenset(),
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
        resolver: Callable[..., Entries] = socket.getaddrinfo,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_hosts = allow_hosts
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._resolver = resolver
        self._ssl_context = ssl_context or default_context()

    def check(self, url: str) -> None:
        """Raise UrlBlocked if a job may not use this URL, by its form; names are resolved only by `request`."""
        check_url(url, self._allow_hosts)

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
        deadline: float,
        max_redirects: int = 5,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[Response]:
        """Send a request, follow its redirects and yield the response; the connection is closed with the block.

        `deadline` is a time.monotonic() value for everything, the body included. `check` is called four times a second,
        from another thread; what it raises ends the request and is raised here. A request with a body is not redirected:
        its 3xx is the response. Raises UrlBlocked, FetchIncomplete and FetchFailed with `details.reason`:
        dns, connect, tls, timeout, protocol, redirects or deadline.
        """
        ours = {"Accept-Encoding": "identity", "Connection": "close"}
        sent = {"User-Agent": "whisperx-worker", "Accept": "*/*", **(headers or {}), **ours}
        target = check_url(url, self._allow_hosts)
        with Watch(deadline, check) as watch:
            for _ in range(max_redirects + 1):
                with (
                    contextlib.closing(self._connect(target, watch)) as connection,
                    contextlib.closing(_exchange(connection, method, target, sent, body, watch)) as raw,
                ):
                    location = raw.headers.get("Location") if raw.status in REDIRECTS else None
                    if location is None or body is not None:
                        yield Response(raw.status, raw.headers, url, raw, watch)
                        return
                url = urljoin(url, location)
                before, target = target, check_url(url, self._allow_hosts)
                if before.scheme == "https" and target.scheme == "http":
                    raise UrlBlocked("the server redirects from https to http", {"host": target.host})
                if before.origin != target.origin:
                    sent = {name: value for name, value in sent.items() if name.lower() not in OF_ONE_ORIGIN}
            raise FetchFailed(f"the server redirects more than {max_redirects} times", {"reason": "redirects"})

    def _connect(self, target: Target, watch: Watch) -> HTTPConnection:
        """Return a connection whose socket is already open to a checked address. Raises UrlBlocked, FetchFailed."""
        addresses = self._resolve(target, watch)
        for index, address in enumerate(addresses):
            try:
                sock = self._dial(address, target.port, watch)
                break
            except OSError as error:
                watch.raise_if_stopped()
                if index == len(addresses) - 1:
                    raise _failure(error, target) from error
        wait = self._read_timeout
        connection: PlainConnection | TlsConnection
        if target.scheme == "https":
            connection = TlsConnection(target.host, target.port, timeout=wait, ssl_context=self._ssl_context)
        else:
            connection = PlainConnection(target.host, target.port, timeout=wait)
        sock.settimeout(wait)
        connection.pinned = sock
        return connection

    def _resolve(self, target: Target, watch: Watch) -> list[str]:
        """Resolve a host to addresses, in the resolver's order. Raises UrlBlocked if any is not allowed, FetchFailed."""
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(target.host))]
        unknown = FetchFailed(f"there is no address for {target.host}", {"reason": "dns", "host": target.host})
        answers: queue.SimpleQueue[Entries | Exception] = queue.SimpleQueue()
        # getaddrinfo cannot be interrupted, so it runs in a daemon thread that is abandoned at the time limit.
        ask = threading.Thread(target=_ask, args=(self._resolver, target, answers), daemon=True, name="resolve")
        ask.start()
        give_up = time.monotonic() + self._connect_timeout
        while True:
            watch.raise_if_stopped()
            with contextlib.suppress(queue.Empty):
                answer = answers.get(timeout=POLL_S)
                break
            if time.monotonic() > give_up:
                raise unknown
        if isinstance(answer, Exception):
            raise unknown from answer
        known = (entry for entry in answer if entry[0] in (socket.AF_INET, socket.AF_INET6))
        found = list(dict.fromkeys(str(entry[4][0]) for entry in known))
        if not found:
            raise unknown
        if not target.exempt:
            for address in found:
                refuse_blocked(target.host, address)
        return found[:MAX_ADDRESSES]

    def _dial(self, address: str, port: int, watch: Watch) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            watch.hold(sock)
            sock.settimeout(min(self._connect_timeout, watch.remaining()))
            sock.connect((address, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock


def _ask(resolver: Callable[..., Entries], target: Target, answers: queue.SimpleQueue[Entries | Exception]) -> None:
    try:
        answers.put(resolver(target.host, target.port, type=socket.SOCK_STREAM))
    except Exception as error:
        answers.put(error)


def _exchange(
    connection: HTTPConnection,
    method: str,
    target: Target,
    headers: Mapping[str, str],
    body: bytes | IO[bytes] | None,
    watch: Watch,
) -> BaseHTTPResponse:
    """Send the request and read the response's headers. Raises FetchFailed."""
    if target.userinfo is not None:
        headers = {**headers, "Authorization": "Basic " + base64.b64encode(target.userinfo.encode()).decode()}
    try:
        connection.request(method, target.path, body=body, headers=headers, preload_content=False)
        return connection.getresponse()
    except _TRANSPORT_ERRORS as error:
        watch.raise_if_stopped()
        raise _failure(error, target) from error


def _failure(error: Exception, target: Target) -> WorkerError:
    """Convert a transport exception to a FetchFailed without the library's own message, which contains the URL."""
    kinds: tuple[tuple[type[Exception], str, str], ...] = (
        (ssl.SSLCertVerificationError, "tls", f"the certificate of {target.host} is not valid for that name"),
        (TimeoutError, "timeout", f"{target.host} did not answer in time"),
        (ReadTimeoutError, "timeout", f"{target.host} did not answer in time"),
        (OSError, "connect", f"{target.host} could not be reached"),
    )
    fallback = ("protocol", f"{target.host} does not answer in proper HTTP")
    reason, sentence = next((rest for kind, *rest in kinds if isinstance(error, kind)), fallback)
    return FetchFailed(sentence, {"reason": reason, "host": target.host})
