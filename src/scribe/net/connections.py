"""urllib3 connections over a socket already open to a checked address; TLS still verifies the name."""

from __future__ import annotations

import socket
import ssl

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Pinned(HTTPConnection):
    """Uses the given socket and closes it. The Host header and the certificate check use the name."""

    pinned: socket.socket

    def _new_conn(self) -> socket.socket:
        return self.pinned

    def close(self) -> None:
        super().close()
        self.pinned.close()


class PlainConnection(_Pinned):
    """HTTP over a given socket."""


class TlsConnection(_Pinned, HTTPSConnection):
    """HTTPS over a given socket."""


def default_context() -> ssl.SSLContext:
    """Return a TLS context with the machine's root certificates and certifi's, because slim images have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
