"""Serve local files on 127.0.0.1, so that a job that runs on this machine can download them."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

log = logging.getLogger(__name__)


class _Server(ThreadingHTTPServer):
    """A server that logs its errors at DEBUG; the base class prints tracebacks on the terminal."""

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("a connection failed", exc_info=True)


class LoopbackFiles:
    """Serves the added files, and nothing else, until the block ends.

    Each URL holds a random token, so that other programs on this machine cannot guess it.
    """

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        files = self._files

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = files.get(self.path)
                try:
                    file = path.open("rb") if path else None
                except OSError:
                    file = None
                with contextlib.suppress(ConnectionError):  # the client may stop before the end
                    if file is None:
                        self.send_error(404)
                        return
                    with file:
                        self.send_response(200)
                        self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
                        self.end_headers()
                        shutil.copyfileobj(file, self.wfile)

            def log_message(self, *_: object) -> None:
                """Log nothing, because the command writes to the terminal."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="loopback-files", daemon=True)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LoopbackFiles:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, path: Path) -> str:
        """Serve the file from now on and return its URL, which ends in the file's name."""
        place = f"/{secrets.token_urlsafe(16)}/{quote(os.fsencode(path.name), safe='')}"
        self._files[place] = path
        return f"http://{self.host}{place}"

    def remove(self, address: str) -> None:
        """Stop serving the file at this URL of `add`."""
        self._files.pop(address.removeprefix(f"http://{self.host}"), None)
