"""Finished work -> the storage, and back: artifacts first, `result.json` last as the commit mark.

The same job delivered again finds the mark and is answered from it, freshly presigned, without the GPU. Storage that
fails after a finished transcription never loses it: the answer then carries the transcript inline and says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from .errors import StorageError
from .formats import FORMATS
from .job import Notice
from .storage import Storage, artifact_key, commit_key

log = logging.getLogger(__name__)


class Delivery:
    """`storage` is None where none is configured: then nothing is stored and nothing is recalled."""

    def __init__(self, storage: Storage | None, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix

    @property
    def stores(self) -> bool:
        return self._storage is not None

    def recall(self, job_id: str, fingerprint: str) -> dict[str, Any] | None:
        """The committed answer of the same job, its links presigned anew; None when there is none or it cannot be read."""
        if self._storage is None:
            return None
        try:
            stored = self._storage.get(commit_key(self._prefix, job_id, fingerprint))
            answer = json.loads(stored) if stored is not None else None
        except (StorageError, ValueError) as error:
            log.warning("the storage could not be asked for an earlier result (%s)", type(error).__name__)
            return None
        if not isinstance(answer, dict):
            return None
        notices: list[Notice] = []
        answer["artifacts"] = {name: a | self._link(a["key"], notices) for name, a in answer["artifacts"].items()}
        answer["warnings"] = answer["warnings"] + [n.to_dict() for n in notices]
        return answer

    def upload(self, job_id: str, fingerprint: str, files: Mapping[str, bytes]) -> tuple[dict[str, dict[str, Any]], list[Notice]]:
        """Store each format. ({format: {key, bytes, url, expires_at}}, what went wrong); a failed format is missing and noticed."""
        artifacts: dict[str, dict[str, Any]] = {}
        notices: list[Notice] = []
        if self._storage is None:
            return artifacts, notices
        for name, data in files.items():
            form = FORMATS[name]
            key = artifact_key(self._prefix, job_id, fingerprint, form.extension)
            try:
                self._storage.put(key, data, form.content_type, f"transcript.{form.extension}")
            except StorageError as error:
                notices.append(Notice(error.code, "publish", f"{name} could not be stored: {error.message}"))
                continue
            artifacts[name] = {"key": key, "bytes": len(data)} | self._link(key, notices)
        return artifacts, notices

    def commit(self, job_id: str, fingerprint: str, answer: Mapping[str, Any]) -> None:
        """Write the commit mark. A failure is only logged: the answer is complete, and a redelivery recomputes it."""
        if self._storage is None:
            return
        unsigned = {name: {k: a[k] for k in ("key", "bytes")} for name, a in answer["artifacts"].items()}
        body = json.dumps({**answer, "artifacts": unsigned}, ensure_ascii=False, allow_nan=False).encode()
        try:
            self._storage.put(commit_key(self._prefix, job_id, fingerprint), body, "application/json", "result.json")
        except StorageError as error:
            log.warning("the result could not be committed: %s", error.message)

    def _link(self, key: str, notices: list[Notice]) -> dict[str, Any]:
        assert self._storage is not None
        try:
            url, expires_at = self._storage.presign(key)
        except StorageError as error:
            notices.append(Notice("presign_failed", "publish", f"{key} is stored and could not be presigned: {error.message}"))
            return {"url": None, "expires_at": None}
        return {"url": url, "expires_at": expires_at}
