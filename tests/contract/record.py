"""What the stand-in of the platform knows about one job, and what it does wrong on request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@dataclass
class Record:
    """One job, from the queue to its result. `status` is one of RunPod's words.

    `delivery` is the JSON object that a worker gets. `progress` holds the progress outputs in order of arrival and
    `stream` the chunks of a generator. Whatever a worker posts when the status is final already goes, as the whole
    JSON body, into `late` and changes nothing else. `refusals` lists what the faults did to posts of the result.
    """

    id: str
    delivery: dict[str, Any]
    status: str = "IN_QUEUE"
    output: Any = None
    error: Any = None
    deliveries: int = 0
    stop_pod: bool = False
    progress: list[Any] = field(default_factory=list)
    stream: list[Any] = field(default_factory=list)
    late: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def late_results(self) -> list[dict[str, Any]]:
        """The posts among `late` that are results, not progress."""
        return [post for post in self.late if post.get("status") != "IN_PROGRESS"]

    def take(self, post: dict[str, Any], stream: bool = False) -> None:
        """One accepted post of a worker: progress, a chunk of a stream, or the result."""
        if self.final:
            self.late.append(post)
        elif stream:
            self.stream.append(post.get("output"))
        elif post.get("status") == "IN_PROGRESS":
            self.progress.append(post.get("output"))
        else:
            self.output = post.get("output")
            self.error = post.get("error")
            self.stop_pod = bool(post.get("stopPod"))
            self.status = "FAILED" if self.error else "COMPLETED"

    def answer(self) -> dict[str, Any]:
        """The job as a client of the platform's API sees it; while it runs, the newest progress is its output."""
        body: dict[str, Any] = {"id": self.id, "status": self.status}
        output = self.output if self.final else (self.progress or [None])[-1]
        if output is not None:
            body["output"] = output
        if self.error:
            body["error"] = self.error
        return body


@dataclass
class Faults:
    """What befalls the next posts of a result (progress is spared). Counts are used up as they strike.

    First `cuts` connections are closed without an answer, then `server_errors` posts are answered 503; a body of
    more bytes than `largest_result` is always answered 413.
    """

    cuts: int = 0
    server_errors: int = 0
    largest_result: int | None = None

    def strike(self, size: int) -> str | None:
        """The fault that hits a post of `size` bytes: "cut", "503", "413", or None."""
        if self.cuts:
            self.cuts -= 1
            return "cut"
        if self.server_errors:
            self.server_errors -= 1
            return "503"
        if self.largest_result is not None and size > self.largest_result:
            return "413"
        return None
