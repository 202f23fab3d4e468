"""Keep the last answers, so that a job which the platform delivers again gets the answer that was lost.

Transcripts are private: they are kept in memory only, and no longer than SECONDS.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from scribe.schema.job import fingerprint

# A job is delivered again within minutes; RunPod itself keeps a result for 30 minutes.
SECONDS = 600.0
# The cause of a failure may be fixed outside the job (a file uploaded late, terms accepted) before it is sent again.
FAILURE_SECONDS = 60.0
MOST, MOST_BYTES = 64, 50_000_000

Key = tuple[str, str]


def key_of(job: Mapping[str, object]) -> Key | None:
    """Return (job id, digest of its input and storage); None without an id, or when the input cannot be serialized."""
    if not job.get("id"):
        return None
    try:
        return str(job["id"]), fingerprint([job.get("input"), job.get("s3Config")], {})
    except (TypeError, ValueError, RecursionError):
        return None


class RecentAnswers:
    """Answers by job, as JSON text: at most MOST, MOST_BYTES in all, each for at most SECONDS. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: Key | None, answer: Mapping[str, object]) -> None:
        """Keep an answer; a failure only if it is not `retryable`."""
        failed = "error" in answer
        if key is None or (failed and answer.get("retryable") is not False):
            return
        text = json.dumps(answer, ensure_ascii=False).encode()
        if len(text) > MOST_BYTES:
            return
        until = self._clock() + (FAILURE_SECONDS if failed else SECONDS)
        with self._lock:
            self._held.pop(key, None)
            self._held[key] = until, text
            while len(self._held) > MOST or sum(len(text) for _, text in self._held.values()) > MOST_BYTES:
                self._held.popitem(last=False)

    def find(self, key: Key | None) -> dict[str, Any] | None:
        """Return the answer that the same job got, or None."""
        self.sweep()
        with self._lock:
            found = self._held.get(key) if key else None
        return json.loads(found[1]) if found else None

    def sweep(self) -> None:
        """Drop expired answers. Call it SECONDS after each `keep`, so that none is kept longer."""
        now = self._clock()
        with self._lock:
            for key in [key for key, (until, _) in self._held.items() if until <= now]:
                del self._held[key]
