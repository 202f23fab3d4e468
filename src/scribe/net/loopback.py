"""Serve local files on 127.0.0.1, so that a job that runs on this machine can download them."""

from __future__ import annotations

import secrets
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import quote


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
                if path is None:
                    self.send_error(404)
                    return
                with path.open("rb") as file:
                    self.send_response(200)
                    self.send_header("Content-Length", str(path.stat().st_size))
                    self.end_headers()
                    shutil.copyfileobj(file, self.wfile)

            def log_message(self, *_: object) -> None:
                """Log nothing, because the command writes to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
        place = f"/{secrets.token_urlsafe(16)}/{quote(path.name, safe='')}"
        self._files[place] = path
        return f"http://{self.host}{place}"
