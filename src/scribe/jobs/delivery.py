"""Upload a job's results, artifacts first and `result.json` last as the commit mark; answer a repeated job from them.

The same job sent again finds the mark and is answered from it, freshly presigned, without the GPU. When the storage
fails after a finished transcription, the transcript is returned inline with a warning.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypedDict, TypeGuard
from urllib.parse import urlsplit

from scribe.errors import UrlBlocked, WorkerError
from scribe.formats import FORMATS
from scribe.net.client import GuardedClient
from scribe.runtime.redact import safe_url
from scribe.schema.job import JobInput
from scribe.schema.parsing import JobRequest
from scribe.schema.record import JobRecord
from scribe.schema.result import Artifact
from scribe.storage.job_bucket import JobStorage, send
from scribe.storage.s3 import artifact_key, commit_key

log = logging.getLogger(__name__)


class _Link(TypedDict):
    url: str | None
    expires_at: str | None


class Store(Protocol):
    """An object storage: the worker's own, or the job's."""

    def put(self, key: str, data: bytes, content_type: str, filename: str) -> None: ...
    def get(self, key: str) -> bytes | None: ...
    def presign(self, key: str) -> tuple[str, str]: ...


class Outbox:
    """Opens a Delivery for each job. `storage` is None when the operator configured none."""

    def __init__(self, storage: Store | None, client: GuardedClient, prefix: str, presign_ttl: int) -> None:
        self._storage = storage
        self._client = client
        self._prefix = prefix
        self._ttl = presign_ttl

    def delivery(self, request: JobRequest, job_id: str, fingerprint: str) -> Delivery:
        """Return the job's Delivery. Raises UrlBlocked, before any work, for an address that jobs may not use."""
        store = self._storage
        if request.s3_config is not None:
            self._client.check(request.s3_config.endpoint_url)
            store = JobStorage(request.s3_config, self._client, self._prefix, self._ttl)
        for url in request.options.result_urls.values():
            self._client.check(url)
        return Delivery(store, self._client, request.options, (self._prefix, job_id, fingerprint))


class Delivery:
    """Uploads one job's results, to the storage or to the job's `result_urls`."""

    def __init__(
        self, store: Store | None, client: GuardedClient, options: JobInput, place: tuple[str, str, str]
    ) -> None:
        self._store = store
        self._client = client
        self._urls: Mapping[str, str] = dict(options.result_urls.items())
        self._place = place
        asked = options.formats if options.formats is not None else list(options.result_urls) or ["json"]
        wanted = dict.fromkeys([*asked, *options.result_urls])
        self.formats = [name for name in wanted if store is not None or name in self._urls]
        # When all results go to the caller's own addresses, nothing is stored in the worker's storage, no commit mark either.
        self._marks = store if any(name not in self._urls for name in self.formats) else None
        self.homeless = [name for name in dict.fromkeys(options.formats or ()) if name not in self.formats]

    @property
    def recalls(self) -> bool:
        """Whether the answer is committed to the storage, so that the same job sent again is answered from it."""
        return self._marks is not None

    def recall(self) -> dict[str, Any] | None:
        """Return the committed answer of the same job with new presigned links; None if there is none or it is unreadable.

        Raises UrlBlocked when the host in `s3Config` resolves to a private address.
        """
        if self._marks is None:
            return None
        try:
            stored = self._marks.get(commit_key(*self._place))
            answer = json.loads(stored, parse_constant=_no_number) if stored is not None else None
        except UrlBlocked:
            # The host in s3Config resolves to a private address: fail now, not after the work.
            raise
        except (WorkerError, ValueError, RecursionError) as error:
            log.warning("the storage could not be asked for an earlier result (%s)", type(error).__name__)
            return None
        if not _is_answer(answer):
            return None
        record = JobRecord()
        answer["artifacts"] = {
            name: a | self._link(a["key"], record) if a.get("key") else a for name, a in answer["artifacts"].items()
        }
        kept = [w for w in answer["warnings"] if w.get("code") != "presign_failed"]
        answer["warnings"] = kept + [w.to_dict() for w in record.warnings]
        return answer

    def upload(
        self, files: Mapping[str, bytes], record: JobRecord, stopped: Callable[[], None] = lambda: None
    ) -> dict[str, Artifact]:
        """Store each format and return {format: {key, bytes, url, expires_at}}; warn of those that could not be stored.

        `stopped` raises when the job was cancelled; it is called before each format.
        """
        artifacts: dict[str, Artifact] = {}
        unreachable: dict[str, WorkerError] = {}
        for name, data in files.items():
            stopped()
            host = urlsplit(self._urls[name]).netloc if name in self._urls else ""
            try:
                if host in unreachable:
                    raise unreachable[host]
                artifacts[name] = self._put(name, data, record)
            except WorkerError as error:
                # A hanging storage costs its full time limit: try each host only once, as a finished transcript is waiting.
                if error.details.get("reason") in ("timeout", "unreachable"):
                    unreachable[host] = error
                again = "; send the job again to store it" if error.retryable else ""
                record.warn(error.code, "publish", f"{name} is not stored: {error.message.rstrip('.')}{again}")
        return artifacts

    def commit(self, answer: Mapping[str, Any]) -> None:
        """Write the commit mark. A failure is only logged: the answer is complete, and the same job again recomputes it."""
        if self._marks is None:
            return
        unsigned = {
            name: a | {"url": None, "expires_at": None} if a["key"] else a for name, a in answer["artifacts"].items()
        }
        body = json.dumps({**answer, "artifacts": unsigned}, ensure_ascii=False, allow_nan=False).encode()
        try:
            self._marks.put(commit_key(*self._place), body, "application/json", "result.json")
        except WorkerError as error:
            log.warning("the result could not be committed: %s", error.message)

    def _put(self, name: str, data: bytes, record: JobRecord) -> Artifact:
        form = FORMATS[name]
        if name in self._urls:
            send(self._client, self._urls[name], data, {"Content-Type": form.content_type})
            return {"key": None, "bytes": len(data), "url": safe_url(self._urls[name]), "expires_at": None}
        assert self._store is not None  # without a storage, `formats` holds only names in `_urls`
        key = artifact_key(*self._place, form.extension)
        self._store.put(key, data, form.content_type, f"transcript.{form.extension}")
        return {"key": key, "bytes": len(data), **self._link(key, record)}

    def _link(self, key: str, record: JobRecord) -> _Link:
        assert self._store is not None
        try:
            url, expires_at = self._store.presign(key)
        except WorkerError as error:
            message = f"{key} is stored and could not be presigned: {error.message}"
            record.warn("presign_failed", "publish", message)
            return {"url": None, "expires_at": None}
        return {"url": url, "expires_at": expires_at}


def _is_answer(shape: object) -> TypeGuard[dict[str, Any]]:
    """Return whether `commit` wrote this object, not another program, and whole."""
    if not isinstance(shape, dict):
        return False
    artifacts, warnings = shape.get("artifacts"), shape.get("warnings")
    if not isinstance(artifacts, dict) or not isinstance(warnings, list):
        return False
    shown = [*artifacts.values(), *warnings]
    return all(isinstance(s, dict) and isinstance(s.get("key"), str | None) for s in shown)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
