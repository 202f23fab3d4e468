"""urllib3's connections over a socket that is open already, to a checked address; TLS still verifies the name."""

from __future__ import annotations

import socket
import ssl

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Pinned(HTTPConnection):
    """Uses the socket it is given and closes it. The name stays the host of header and certificate."""

    pinned: socket.socket

    def _new_conn(self) -> socket.socket:
        return self.pinned

    def close(self) -> None:
        super().close()
        self.pinned.close()


class PlainConnection(_Pinned):
    """http over a given socket."""


class TlsConnection(_Pinned, HTTPSConnection):
    """https over a given socket, which TLS takes over."""


def default_context() -> ssl.SSLContext:
    """Verifies names and chains against the machine's roots and certifi's: slim images carry none of their own."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
