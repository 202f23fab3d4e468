"""A stand-in of the RunPod platform on loopback: one endpoint, one queue, the routes that workers and clients use.

The worker's side (job-take, job-take-batch, job-done, job-stream, job-stop, ping) behaves as the SDK's loop expects
it: takes and stops are long polls, bounded by `poll_seconds`. The client's side (run, runsync, status, cancel, health) is
there over HTTP and, for programs in the same process, as methods. It is as strict as JSON is: NaN gets 400.

    with Platform() as platform, WorkerProcess(platform, {}, cwd=folder):
        record = platform.wait(platform.submit({"input": {"audio_file": "http://…"}}), timeout=60)
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web

from .endpoint import Endpoint
from .record import Faults, Record

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ENDPOINT = "stand-in"
API_KEY = "rpa_LOOPBACK0KEY"
LARGEST_BODY = 256 * 2**20
RUNSYNC_MS = 90_000


class Platform:
    """One endpoint on one port. Its state lives on the event loop of its own thread; the public methods may be
    called from any other. `faults` may be set at any time; a poll lasts `poll_seconds` at most.
    """

    def __init__(self, poll_seconds: float = 2.0) -> None:
        self.faults = Faults()
        self._endpoint = Endpoint(poll_seconds)
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="platform", daemon=True)
        self._started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, int]] = concurrent.futures.Future()

    def __enter__(self) -> Platform:
        self._thread.start()
        self._loop, port = self._started.result(timeout=30)
        self.url = f"http://127.0.0.1:{port}/v2/{ENDPOINT}"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(timeout=30)

    @property
    def takes(self) -> int:
        """How often a worker has asked for jobs; the first time means that it is ready."""
        return self._endpoint.takes

    @property
    def pings(self) -> deque[dict[str, str]]:
        """The query of every heartbeat."""
        return self._endpoint.pings

    def environment(self, worker: str = "worker-1") -> dict[str, str]:
        """What the platform sets in a worker's container."""
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{self.url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{self.url}/ping/$RUNPOD_POD_ID",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_AI_API_KEY": API_KEY,
            "RUNPOD_ENDPOINT_ID": ENDPOINT,
            "RUNPOD_POD_ID": worker,
        }

    def submit(self, job: dict[str, Any], *, deliveries: int = 1, sync: bool = False) -> str:
        """Queue a job ({"input": …} and what else goes beside it) and return its id.

        `deliveries` puts it into the queue that many times, as an at-least-once queue may. An `id` in the job is
        kept; `sync` only gives it the id of a /runsync job.
        """

        return self._call(self._endpoint.put(job, deliveries, sync)).id

    def deliver_again(self, job_id: str) -> None:
        """Hand the job out once more, as after the death of the worker that had it."""
        self._call(self._endpoint.put_again(self.record(job_id)))

    def cancel(self, job_id: str) -> None:
        """Take the job back: out of the queue, or by a stop signal from the worker that has it.

        The SDK forgets a signal for a job that it has taken and not begun (a tenth of a second): wait for progress.
        """
        self._call(self._endpoint.cancel(self.record(job_id)))

    def record(self, job_id: str) -> Record:
        """The job as it is now; the object goes on changing."""
        return self._endpoint.records[job_id]

    def wait(self, job_id: str, timeout: float) -> Record:
        """The job once it is final, or as it is after `timeout` seconds (IN_PROGRESS: the result was lost)."""
        record = self.record(job_id)
        self.until(lambda: record.final, timeout)
        return record

    def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until `condition` holds; it is looked at after every change here. False after `timeout` seconds."""
        return self._call(self._endpoint.until(condition, timeout))

    def nudge(self) -> None:
        """Make every `until` look again, because something outside has changed."""
        self._call(self._endpoint.announce())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._started.set_exception(error)

    async def _serve(self) -> None:
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_authorized])
        app.add_routes(
            [
                web.get(f"/v2/{ENDPOINT}/job-take/{{worker}}", self._job_take),
                web.get(f"/v2/{ENDPOINT}/job-take-batch/{{worker}}", self._job_take_batch),
                web.get(f"/v2/{ENDPOINT}/job-stop/{{worker}}", self._job_stop),
                web.get(f"/v2/{ENDPOINT}/ping/{{worker}}", self._ping),
                web.post(f"/v2/{ENDPOINT}/job-done/{{worker}}/{{job}}", self._job_done),
                web.post(f"/v2/{ENDPOINT}/job-stream/{{worker}}/{{job}}", self._job_stream),
                web.post(f"/v2/{ENDPOINT}/run", self._api_run),
                web.post(f"/v2/{ENDPOINT}/runsync", self._api_runsync),
                web.get(f"/v2/{ENDPOINT}/status/{{job}}", self._api_status),
                web.post(f"/v2/{ENDPOINT}/cancel/{{job}}", self._api_cancel),
                web.get(f"/v2/{ENDPOINT}/health", self._api_health),
            ]
        )
        # A poll whose worker died ends at once, so that it can swallow no job.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._started.set_result((asyncio.get_running_loop(), runner.addresses[0][1]))
            await self._closing.wait()
        finally:
            await runner.cleanup()

    async def _job_take(self, _: web.Request) -> web.Response:
        jobs = await self._endpoint.hand_out(1)
        return web.json_response(jobs[0]) if jobs else web.Response(status=204)

    async def _job_take_batch(self, request: web.Request) -> web.Response:
        jobs = await self._endpoint.hand_out(int(request.query["batch_size"]))
        return web.json_response(jobs) if jobs else web.Response(status=204)

    async def _job_stop(self, _: web.Request) -> web.Response:
        stops = await self._endpoint.stops()
        return web.json_response({"jobsToStop": stops}) if stops else web.Response(status=204)

    async def _ping(self, request: web.Request) -> web.Response:
        self._endpoint.pings.append(dict(request.query))
        await self._endpoint.announce()
        return web.json_response({})

    async def _job_done(self, request: web.Request) -> web.Response:
        record, body, post = await self._posted(request)
        fault = None if post.get("status") == "IN_PROGRESS" else self.faults.strike(len(body))
        if fault is None:
            record.take(post)
        else:
            record.refusals.append(fault)
        await self._endpoint.announce()
        if fault == "cut" and request.transport is not None:
            request.transport.abort()
        return web.Response(status=int(fault) if fault in ("413", "503") else 200)

    async def _job_stream(self, request: web.Request) -> web.Response:
        record, _, post = await self._posted(request)
        record.take(post, stream=True)
        await self._endpoint.announce()
        return web.Response()

    async def _posted(self, request: web.Request) -> tuple[Record, bytes, dict[str, Any]]:
        record, body = self._named(request), await request.read()
        try:
            return record, body, json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        except ValueError as error:
            record.refusals.append("400")
            raise web.HTTPBadRequest(text="the body is not JSON") from error

    def _named(self, request: web.Request) -> Record:
        record = self._endpoint.records.get(request.match_info["job"])
        if record is None:
            raise web.HTTPNotFound(text="job not found")
        return record

    async def _api_run(self, request: web.Request) -> web.Response:
        record = await self._endpoint.put(await request.json())
        return web.json_response(record.answer())

    async def _api_runsync(self, request: web.Request) -> web.Response:
        record = await self._endpoint.put(await request.json(), sync=True)
        await self._endpoint.until(lambda: record.final, int(request.query.get("wait", RUNSYNC_MS)) / 1000)
        return web.json_response(record.answer())

    async def _api_status(self, request: web.Request) -> web.Response:
        return web.json_response(self._named(request).answer())

    async def _api_health(self, _: web.Request) -> web.Response:
        return web.json_response(self._endpoint.health())

    async def _api_cancel(self, request: web.Request) -> web.Response:
        record = self._named(request)
        await self._endpoint.cancel(record)
        return web.json_response(record.answer())


@web.middleware
async def _authorized(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Workers send the bare key, clients send it as a bearer; nobody else gets in."""
    if request.headers.get("Authorization", "").removeprefix("Bearer ") != API_KEY:
        raise web.HTTPUnauthorized(text="no valid API key")
    return await handler(request)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
