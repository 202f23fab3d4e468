"""A model hub on loopback, as far as the hub's own client asks it: repositories, commits, tokens, terms, ranges, faults.

Addresses and headers as huggingface_hub 0.36 uses them. Point a process at it with HF_ENDPOINT before it starts.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

LARGE = 10_000


@dataclass
class Repository:
    """Files by commit, names of commits, and who may have them: `readers` may see it, `accepted` may have its files."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    readers: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class Hub:
    """`requests`: (method, path, range or "") of everything asked. Faults hold for one answer each, but `spoiled`."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.cuts: list[int] = []
        """Bytes after which the next answers with a large file break off."""
        self.stall_after: int | None = None
        """Bytes after which a large file stops coming until `released` is set."""
        self.spoiled: int = 0
        """How many of the next answers with a large file have one bit turned over."""
        self.expired: set[str] = set()
        """Tokens that the hub does not know any more."""
        self.failing: int | None = None
        """The status of every answer."""
        self.faults: list[int] = []
        """The statuses of the next answers with a file's bytes."""
        self.stalled, self.released = threading.Event(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Door)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def publish(self, name: str, files: Path | Mapping[str, bytes], branch: str = "main") -> str:
        """Commit a folder, or files given by name, to a branch; returns the commit."""
        if isinstance(files, Path):
            files = {p.relative_to(files).as_posix(): p.read_bytes() for p in sorted(files.rglob("*")) if p.is_file()}
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        repository = self.repositories.setdefault(name, Repository())
        repository.commits[commit] = dict(files)
        repository.branches[branch] = commit
        return commit

    def downloads(self, file: str) -> list[str]:
        """The ranges with which a file was fetched, "" for the whole of it."""
        return [r for method, path, r in self.requests if method == "GET" and path.endswith(f"/{file}")]


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        try:
            if self.hub.failing:
                raise Refused(self.hub.failing, "")
            if path.startswith("/api/models/"):
                self.tell(path.removeprefix("/api/models/"))
            else:
                name, _, rest = path.strip("/").partition("/resolve/")
                self.send(name, *rest.split("/", 1))
        except Refused as refused:
            told = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self.head(refused.status, {k: v for k, v in told.items() if v} | {"Content-Length": "0"})

    do_GET = do_HEAD = answer

    def tell(self, rest: str) -> None:
        """What a repository holds."""
        if rest.endswith("/auth-check"):
            self.admit(rest.removesuffix("/auth-check"), to_files=True)
            return self.reply({})
        name, _, revision = rest.partition("/revision/")
        repository = self.admit(name, to_files=False)
        commit, files = self.commit(repository, revision or "main")
        siblings = [{"rfilename": n, "size": len(b), "blobId": _git(b), **_lfs(b)} for n, b in files.items()]
        gated = "auto" if repository.gated else False
        return self.reply(
            {"id": name, "modelId": name, "sha": commit, "gated": gated, "siblings": siblings, "tags": []}
        )

    def send(self, name: str, revision: str, file: str) -> None:
        """A file, whole or from an offset on. What git itself reads is not behind the terms."""
        commit, files = self.commit(self.admit(name, to_files=file != ".gitattributes"), revision)
        if file not in files:
            raise Refused(404, "EntryNotFound")
        if self.command == "GET" and self.hub.faults:
            raise Refused(self.hub.faults.pop(0), "")
        data = files[file]
        large = len(data) > LARGE
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_git(data)}"', "Accept-Ranges": "bytes"}
        if large:
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
            if self.command == "GET" and self.hub.spoiled:
                self.hub.spoiled -= 1
                data = bytes([data[0] ^ 1]) + data[1:]
        start = int(self.headers["Range"][6:].split("-")[0]) if "Range" in self.headers else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        self.head(206 if start else 200, headers | {"Content-Length": str(len(body))})
        if self.command == "HEAD":
            return
        if large and self.hub.cuts:
            self.wfile.write(body[: self.hub.cuts.pop(0)])
            self.close_connection = True
        elif large and self.hub.stall_after is not None:
            self.wfile.write(body[: self.hub.stall_after])
            self.wfile.flush()
            self.hub.stalled.set()
            self.hub.released.wait(60)
            self.close_connection = True
        else:
            self.wfile.write(body)

    def admit(self, name: str, to_files: bool) -> Repository:
        """As the real hub: what is not there and what is private look alike to strangers."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.hub.expired:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and token not in repository.readers):
            raise Refused(404 if token else 401, "RepoNotFound")
        if to_files and repository.gated and token not in repository.accepted:
            raise Refused(403 if token else 401, "GatedRepo")
        return repository

    def commit(self, repository: Repository, revision: str) -> tuple[str, dict[str, bytes]]:
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            raise Refused(404, "RevisionNotFound")
        return commit, repository.commits[commit]

    def reply(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests`, not the terminal."""


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _lfs(data: bytes) -> dict[str, object]:
    if len(data) <= LARGE:
        return {}
    return {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 128}}
