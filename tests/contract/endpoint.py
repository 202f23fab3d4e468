"""One endpoint's jobs: what waits, what runs, whom to stop. Lives on one event loop; knows no HTTP."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from .record import Record

# A poll may be dropped while it is answered, and a stop that went with it would never arrive; a stop is harmless twice.
STOPS_HANDED_OUT = 3


class Endpoint:
    """The queue and the records. `takes` counts polls for jobs, `pings` holds the query of every heartbeat."""

    def __init__(self, poll_seconds: float) -> None:
        self.records: dict[str, Record] = {}
        self.takes = 0
        self.pings: deque[dict[str, str]] = deque(maxlen=10_000)
        self._poll_seconds = poll_seconds
        self._queue: deque[Record] = deque()
        self._stops: dict[str, int] = {}
        self._changed = asyncio.Condition()

    async def announce(self) -> None:
        """Something has changed: whoever waits looks again."""
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until `condition` holds, looking after every change; False after `timeout` seconds."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(condition), timeout)
            except asyncio.TimeoutError:
                return condition()
        return True

    async def put(self, job: dict[str, Any], deliveries: int = 1, sync: bool = False) -> Record:
        """Queue a job under its own `id` or a new one; `deliveries` hands it out that many times."""
        job_id = job.get("id") or f"{'sync-' if sync else ''}{uuid.uuid4()}-e1"
        record = Record(job_id, job | {"id": job_id})
        self.records[job_id] = record
        self._queue.extend([record] * deliveries)
        await self.announce()
        return record

    async def put_again(self, record: Record) -> None:
        """Queue a known job once more."""
        self._queue.append(record)
        await self.announce()

    async def cancel(self, record: Record) -> None:
        """Take a job back: out of the queue, and from the worker that has it by a stop signal."""
        if record.status == "IN_PROGRESS":
            self._stops[record.id] = STOPS_HANDED_OUT
        self._queue = deque(waiting for waiting in self._queue if waiting is not record)
        if not record.final:
            record.status = "CANCELLED"
        await self.announce()

    async def hand_out(self, most: int) -> list[dict[str, Any]]:
        """Up to `most` jobs for a worker; [] when the poll's time is over. A job is taken without a pause between
        the look and the taking, so that a poll that is dropped while it waits loses none."""
        self.takes += 1
        await self.announce()
        await self.until(lambda: bool(self._queue), self._poll_seconds)
        handed = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        for record in handed:
            record.deliveries += 1
            record.status = record.status if record.final else "IN_PROGRESS"
        return [record.delivery for record in handed]

    async def stops(self) -> list[str]:
        """The ids that the worker has to stop, each named in several polls; [] when the poll's time is over."""
        await self.until(lambda: bool(self._stops), self._poll_seconds)
        named = list(self._stops)
        self._stops = {job_id: left - 1 for job_id, left in self._stops.items() if left > 1}
        return named

    def health(self) -> dict[str, dict[str, int]]:
        """How many jobs are in which state; one worker, once any has asked for a job."""
        states = [record.status for record in self.records.values()]
        names = {"completed": "COMPLETED", "failed": "FAILED", "inProgress": "IN_PROGRESS", "inQueue": "IN_QUEUE"}
        workers = {"idle": int(self.takes > 0), "running": 0, "throttled": 0, "initializing": 0, "ready": 0}
        return {"jobs": {name: states.count(state) for name, state in names.items()}, "workers": workers}
