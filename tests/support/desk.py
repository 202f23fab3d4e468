"""A handler over a storage on loopback, and what to ask of it."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from rp_handler import Handler
from scribe.net.client import GuardedClient
from scribe.runtime.redact import Redactor
from scribe.storage.s3 import Storage
from support.demo import ADDRESS, configured
from support.s3server import S3Server
from support.wiring import PREFIX, guarded, handler_of


class Steered(S3Server):
    """The S3 server with faults that wait for their turn, safe for two writers of one key."""

    def __init__(self) -> None:
        super().__init__()
        self._alone = threading.Lock()

    def behind(self, *request: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
        """moto closes an object's file while another thread that stores the same key still reads it."""
        with self._alone:
            return super().behind(*request, **more)

    def let_pass(self, times: int = 1) -> None:
        """No fault for the next `times` requests; the faults asked for after this come after them."""
        self._faults.extend([lambda front: False] * times)

    def hold(self) -> threading.Event:
        """The next request is taken and gets no answer; the event says that it is there."""
        reached = threading.Event()

        def fault(front: Any) -> bool:
            reached.set()
            self._released.wait(60)
            front.close_connection = True
            return True

        self._faults.append(fault)
        return reached

    def over(self) -> None:
        """No more faults."""
        self._faults.clear()

    def commits(self) -> list[str]:
        return [key for key in self.objects() if key.endswith("/result.json")]


class Desk:
    """Everything of a worker but its models: `handler()` is one worker, several share the storage."""

    def __init__(self, server: S3Server, **values: Any) -> None:
        self.server = server
        self.settings = configured(**values)
        self.redactor = Redactor()
        self.allowed = frozenset({urlsplit(server.endpoint).netloc})
        self._storages: dict[str, Storage] = {}

    def storage(self, **changes: Any) -> Storage:
        """The worker's storage. It asks once: boto3's own retries have tests of their own."""
        s3 = self.server
        values = {"presign_ttl": 3600, "attempts": 1, "read_timeout": 5.0} | changes
        if str(values) not in self._storages:
            self._storages[str(values)] = Storage(
                s3.endpoint, s3.bucket, s3.access_key, s3.secret_key, PREFIX, **values
            )
        return self._storages[str(values)]

    def handler(
        self, predictor: Any, storage: Any = None, intake: Any = None, client: GuardedClient | None = None
    ) -> Handler:
        client = client or guarded(self.allowed)
        return handler_of(
            predictor, self.settings, intake=intake, storage=storage, client=client, redactor=self.redactor
        )


def asking(job_id: str = "job-1", **options: Any) -> dict[str, Any]:
    """A job; `s3Config` goes beside its input."""
    beside = {"s3Config": options.pop("s3Config")} if "s3Config" in options else {}
    return {"id": job_id, "input": {"audio_file": ADDRESS, **options}, **beside}


def got(url: str) -> tuple[int, bytes]:
    """GET by plain HTTP, as a browser that has only the link."""
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        return answer.status, answer.read()


def codes(answer: Mapping[str, Any]) -> list[str]:
    return [warning["code"] for warning in answer["warnings"]]


def inline_texts(answer: Mapping[str, Any]) -> list[str]:
    return [segment["text"].strip() for segment in answer["segments"]]
