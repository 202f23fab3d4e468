"""Run RunPod's SDK: post progress in order, retry result posts, start and stop its loop.

Works around these properties of the SDK (runpod 1.12): a result post that meets a connection error is dropped,
`progress_update` starts a thread for each event, a second SIGTERM has no effect, and its import takes a second.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scribe.net.connections import default_context

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

POST_ATTEMPTS = 8
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 3.05, 5.0
# Seconds that running jobs have after a second signal to stop and to remove their files.
ABORT_S = 5.0
STOPPING = "asked to stop: the running jobs are finished first; a second signal ends them unanswered"
EXIT_ABORTED = 143  # 128 + SIGTERM


def progress_sink(job: Mapping[str, object]) -> Callable[[Mapping[str, object]], None]:
    """Return a function that posts one progress event of this job; outside the platform it does nothing.

    An event is sent only once, because a retry could arrive after the result.
    """
    from runpod.http_client import get_auth_header
    from runpod.serverless.modules import rp_http

    if not rp_http.JOB_DONE_URL.startswith("http"):
        return lambda event: None
    address = rp_http.JOB_DONE_URL.replace("$ID", str(job.get("id"))) + "&isStream=false"
    headers = get_auth_header() | {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded"}
    return ProgressPosts(address, headers)


class ProgressPosts:
    """Posts one job's progress events until it is closed.

    A name lookup has no time limit, so a post may get its connection after the job's end: then it sends nothing.
    """

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        self._address = urlsplit(address)
        self._headers = dict(headers)
        self._closed = threading.Event()
        self._tls = default_context() if self._address.scheme == "https" else None

    def __call__(self, event: Mapping[str, object]) -> None:
        """Post an event. Raises OSError or http.client.HTTPException."""
        body = json.dumps({"status": "IN_PROGRESS", "output": dict(event)}).encode()
        with contextlib.closing(self._connection()) as connection:
            connection.connect()
            if self._closed.is_set():
                return
            connection.sock.settimeout(ANSWER_TIMEOUT_S)
            connection.request("POST", f"{self._address.path}?{self._address.query}", body, self._headers)
            connection.getresponse()

    def close(self) -> None:
        """Send no further events; one that is being sent is finished."""
        self._closed.set()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)


def retry_result_posts() -> None:
    """Make the SDK retry result posts for a minute or two, after connection errors and the statuses 5xx and 429."""
    import asyncio

    import aiohttp
    from aiohttp_retry import ExponentialRetry
    from runpod.serverless.modules import rp_http

    def patient(attempts: int = POST_ATTEMPTS) -> ExponentialRetry:
        return ExponentialRetry(
            attempts=POST_ATTEMPTS,
            start_timeout=0.5,
            max_timeout=20.0,
            statuses={429},
            exceptions={aiohttp.ClientConnectionError, asyncio.TimeoutError, OSError},
        )

    rp_http.FibonacciRetry = patient


def skip_jobs_without_id() -> None:
    """Make the SDK skip jobs without an id: it would end the worker and leave the other jobs of the batch unanswered."""
    from runpod.serverless.modules import rp_scale

    fetch = rp_scale.get_job

    async def get_job(session: aiohttp.ClientSession, num_jobs: int = 1) -> list[dict[str, object]]:
        given = await fetch(session, num_jobs) or []
        jobs = [job for job in given if isinstance(job, dict) and job.get("id")]
        if len(jobs) < len(given):
            log.warning("the platform handed out %d jobs without an id: left out", len(given) - len(jobs))
        return jobs

    rp_scale.get_job = get_job


def exit_on_second_signal() -> None:
    """Make a second SIGTERM or SIGINT stop the running jobs and end the worker without an answer.

    The first signal lets running jobs finish. Without an answer the platform gives a stopped job to another worker; an
    error would be final.
    """
    import asyncio
    import os

    from runpod.serverless.modules.rp_scale import JobScaler

    patient = JobScaler.handle_shutdown

    def handle_shutdown(scaler: JobScaler, number: int, frame: object) -> None:
        if scaler.is_alive():
            patient(scaler, number, frame)
            # Logged by the loop, because the signal may have interrupted another log call.
            with contextlib.suppress(RuntimeError):  # before the loop, or after it
                asyncio.get_running_loop().call_soon_threadsafe(log.info, STOPPING)
            return
        watchdog = threading.Timer(ABORT_S, os._exit, (EXIT_ABORTED,))
        watchdog.daemon = True
        watchdog.start()
        with contextlib.suppress(RuntimeError):  # the loop is over already
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])

    JobScaler.handle_shutdown = handle_shutdown


def sdk() -> ModuleType:
    """Import the SDK without its query of the processor.

    For one line of its debugger py-cpuinfo starts another Python process, which takes a second at every start. A stub
    without data suffices for the SDK.
    """
    before = sys.modules.get("cpuinfo")
    sys.modules["cpuinfo"] = SimpleNamespace(get_cpu_info=dict)  # type: ignore[assignment]
    try:
        import runpod
    finally:
        del sys.modules["cpuinfo"]
        if before is not None:
            sys.modules["cpuinfo"] = before
    loaded: ModuleType = runpod
    return loaded


def serve(
    handler: Callable[[Mapping[str, object]], Awaitable[Mapping[str, object]]],
    concurrency: int,
    fit: Callable[[], None] | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Run the SDK's loop until the platform stops the worker.

    `fit` raises when this worker can run no job: the SDK calls it before the first ping, reports its message and ends the
    process with 1, so that another machine is tried. `on_start` is called once, before the first job is fetched: only then
    has the SDK forked its ping process, which would inherit the locks held by other threads.
    """
    import asyncio

    runpod = sdk()
    retry_result_posts()
    skip_jobs_without_id()
    exit_on_second_signal()
    if fit is not None:
        runpod.serverless.register_fitness_check(fit)
    first = iter((on_start,))

    def at_once(current: int) -> int:
        """Return how many jobs to fetch; the SDK calls this before each fetch."""
        for begin in first:
            begin()
        return concurrency

    try:
        runpod.serverless.start({"handler": handler, "concurrency_modifier": at_once})
    except asyncio.CancelledError:
        sys.exit(EXIT_ABORTED)
