"""RunPod's side of a job: progress posts in order, result posts that survive a cut connection, the loop itself.

Facts about the SDK (runpod 1.12) that this file answers: its result post is tried once on a connection error and then
dropped, and its `progress_update` starts a thread an event; a second SIGTERM changes nothing; its import takes a second.
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
# What a second signal leaves a job to get out of its stage and to take its files away.
HASTE_S = 5.0
STOPPING = "asked to stop: the running jobs are finished first; a second signal ends them unanswered"
EXIT_HASTY = 143  # as of a process that SIGTERM ended


def progress_sink(job: Mapping[str, object]) -> Callable[[Mapping[str, object]], None]:
    """A function that posts one progress event and returns when it has arrived; off the platform it does nothing.

    One attempt an event: the next one is newer anyway, and a retry could land after the result.
    """
    from runpod.http_client import get_auth_header
    from runpod.serverless.modules import rp_http

    if not rp_http.JOB_DONE_URL.startswith("http"):
        return lambda event: None
    address = rp_http.JOB_DONE_URL.replace("$ID", str(job.get("id"))) + "&isStream=false"
    headers = get_auth_header() | {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded"}
    return ProgressPosts(address, headers)


class ProgressPosts:
    """Posts one job's progress events, until it is closed.

    Looking up a name has no time limit, so a post may get its connection after the job's end: then it sends nothing.
    """

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        self._address = urlsplit(address)
        self._headers = dict(headers)
        self._closed = threading.Event()
        self._tls = default_context() if self._address.scheme == "https" else None

    def __call__(self, event: Mapping[str, object]) -> None:
        """Raises OSError or http.client.HTTPException when the event could not be posted."""
        body = json.dumps({"status": "IN_PROGRESS", "output": dict(event)}).encode()
        with contextlib.closing(self._connection()) as connection:
            connection.connect()
            if self._closed.is_set():
                return
            connection.sock.settimeout(ANSWER_TIMEOUT_S)
            connection.request("POST", f"{self._address.path}?{self._address.query}", body, self._headers)
            connection.getresponse()

    def close(self) -> None:
        """Let no further event begin; one that is being sent goes on."""
        self._closed.set()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)


def steady_posts() -> None:
    """Let the SDK's result post outlive cut connections and a platform that answers 5xx for a minute or two."""
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


def sound_batches() -> None:
    """Leave out what is handed out and is no job: in the SDK an element without an id ends the worker, and with it every
    other job of its batch, unanswered."""
    from runpod.serverless.modules import rp_scale

    fetch = rp_scale.get_job

    async def get_job(session: aiohttp.ClientSession, num_jobs: int = 1) -> list[dict[str, object]]:
        given = await fetch(session, num_jobs) or []
        jobs = [job for job in given if isinstance(job, dict) and job.get("id")]
        if len(jobs) < len(given):
            log.warning("the platform handed out %d jobs without an id: left out", len(given) - len(jobs))
        return jobs

    rp_scale.get_job = get_job


def hasty_exit() -> None:
    """Let a second SIGTERM or SIGINT end the worker at once, its jobs stopped and unanswered.

    The first one lets the running job finish. An answer of the second kind would be final, while a job that nobody
    answered is handed to another worker.
    """
    import asyncio
    import os

    from runpod.serverless.modules.rp_scale import JobScaler

    patient = JobScaler.handle_shutdown

    def handle_shutdown(scaler: JobScaler, number: int, frame: object) -> None:
        if scaler.is_alive():
            patient(scaler, number, frame)
            # By the loop: the signal may have come in the middle of another line of the log.
            with contextlib.suppress(RuntimeError):  # before the loop, or after it
                asyncio.get_running_loop().call_soon_threadsafe(log.info, STOPPING)
            return
        watchdog = threading.Timer(HASTE_S, os._exit, (EXIT_HASTY,))
        watchdog.daemon = True
        watchdog.start()
        with contextlib.suppress(RuntimeError):  # the loop is over already
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])

    JobScaler.handle_shutdown = handle_shutdown


def sdk() -> ModuleType:
    """The SDK, imported without its survey of the processor.

    For a line of its debugger that nobody asks for, py-cpuinfo starts a Python of its own: a second of every start. What
    knows no brand, the SDK takes for an answer.
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
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Run the SDK's loop until the platform stops the worker.

    `fit` raises when this worker could do no job: on the platform the SDK calls it before the first ping, reports
    what it says and ends the process with 1, so that another machine is tried. `begun` is called once, when the loop asks
    for its first job: by then the SDK has forked its ping process, which would inherit the locks of any thread at work.
    """
    import asyncio

    runpod = sdk()
    steady_posts()
    sound_batches()
    hasty_exit()
    if fit is not None:
        runpod.serverless.register_fitness_check(fit)
    first = iter((begun,))

    def at_once(current: int) -> int:
        """The SDK's question how many jobs to take, asked before it takes one."""
        for begin in first:
            begin()
        return concurrency

    try:
        runpod.serverless.start({"handler": handler, "concurrency_modifier": at_once})
    except asyncio.CancelledError:
        sys.exit(EXIT_HASTY)
