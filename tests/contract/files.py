"""The files of a folder over HTTP on loopback: where the audio addresses of jobs point when there is no internet."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path
from typing import Any

PLACEHOLDER = "http://samples.local/"


class FileServer:
    """Serves `folder` at `url` (with the slash at its end); query strings are accepted and mean nothing.

    `requests` lists what was asked for, in order, as "/name?query".
    """

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        handler = functools.partial(_Files, directory=str(folder), requests=self.requests)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="files", daemon=True
        )
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}/"

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=30)

    def localize(self, value: Any) -> Any:
        """A copy of a JSON-like value in which every address on the placeholder host points here."""
        if isinstance(value, dict):
            return {key: self.localize(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.localize(item) for item in value]
        if isinstance(value, str) and value.startswith(PLACEHOLDER):
            return self.url + value.removeprefix(PLACEHOLDER)
        return value


class _Files(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, requests: list[str], **kwargs: Any) -> None:
        self._requests = requests
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        self._requests.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Quiet: `requests` is the log."""
