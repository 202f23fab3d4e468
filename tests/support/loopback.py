"""A web server on loopback that answers byte for byte what a test tells it to, also what no honest server would."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Answer = Callable[[socket.socket, bytes], None]


def page(body: bytes = b"", status: str = "200 OK", **headers: object) -> bytes:
    """A whole answer; a header's underscore stands for a dash. Content_Length=None leaves that header out."""
    fields = {"Content_Length": len(body), **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value is not None]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode() + body


def moved(location: str, status: str = "302 Found") -> bytes:
    return page(status=status, Location=location)


class Loopback:
    """Answers each connection with the next of `answers` (the last one for ever): bytes or a function of the socket."""

    def __init__(self, *answers: bytes | Answer, address: str = "127.0.0.1", port: int = 0, tls: Any = None) -> None:
        self.requests: list[bytes] = []
        self._answers = list(answers)
        self._tls = tls
        self._socket = socket.create_server((address, port))
        self.port: int = self._socket.getsockname()[1]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Loopback:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)

    def drip(self, head: bytes, piece: bytes = b"x", every_s: float = 0.02) -> Answer:
        """Sends `head`, then a piece at a time until the client leaves or the test ends."""

        def answer(connection: socket.socket, _: bytes) -> None:
            connection.sendall(head)
            while not self._over.wait(every_s):
                connection.sendall(piece)

        return answer

    def silence(self, connection: socket.socket, _: bytes) -> None:
        """Says nothing until the test ends."""
        self._over.wait(60)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        with contextlib.suppress(OSError), connection:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    if not (block := connection.recv(65536)):
                        return
                    request += block
                head, _, body = request.partition(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                while len(body) < length and (block := connection.recv(65536)):
                    body += block
                self.requests.append(head + b"\r\n\r\n" + body)
                answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
                connection.sendall(answer) if isinstance(answer, bytes) else answer(connection, request)


def reset(connection: socket.socket) -> None:
    """Ends a connection as a crashed server does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()


class Authority:
    """A certificate authority of a test: `client` trusts it, `server(name)` has its certificate for that name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = self._sign(self._name, self._key, constraints)
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.client = ssl.create_default_context(cadata=pem)

    def server(self, name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        with contextlib.suppress(ValueError):
            return self._context(key, x509.IPAddress(ipaddress.ip_address(name)))
        return self._context(key, x509.DNSName(name))

    def _context(self, key: ec.EllipticCurvePrivateKey, subject: x509.GeneralName) -> ssl.SSLContext:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test server")])
        certificate = self._sign(name, key, x509.SubjectAlternativeName([subject]))
        file = self._folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())
