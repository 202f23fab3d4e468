"""RunPod's side of a job: progress posts in order, one attempt each, and result posts that are patient."""

from __future__ import annotations

import asyncio
import http.server
import json
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from runpod.serverless.modules import rp_http

from scribe.doors import runpod_sdk as platform
from scribe.pipeline.progress import Progress


class Receiver:
    """Takes posts like RunPod's job-done; the first `faults` of them are answered with a status, or cut when it is 0."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.attempts = 0
        self.faults: list[int] = []
        receiver = self

        class Door(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.attempts += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.faults.pop(0) if receiver.faults else 200
                if not status:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if status == 200:
                    receiver.posts.append((self.path, json.loads(body)))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/done/worker/$ID?gpu=x"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    this = Receiver()
    thread = threading.Thread(target=this.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(rp_http, "JOB_DONE_URL", this.url)
    yield this
    this.server.shutdown()
    this.server.server_close()
    thread.join(timeout=30)


def test_an_event_is_posted_as_the_output_of_a_job_in_progress(receiver: Receiver) -> None:
    platform.progress_sink({"id": "job-1"})({"stage": "fetch", "percent": 1.5})
    assert receiver.posts == [
        (
            "/done/worker/job-1?gpu=x&isStream=false",
            {"status": "IN_PROGRESS", "output": {"stage": "fetch", "percent": 1.5}},
        )
    ]


@pytest.mark.parametrize("status", [500, 429, 302, 404])
def test_an_event_that_is_refused_is_not_tried_again(receiver: Receiver, status: int) -> None:
    receiver.faults = [status]
    platform.progress_sink({"id": "job-1"})({"stage": "fetch"})
    assert receiver.attempts == 1
    assert receiver.posts == []


def test_a_cut_connection_is_the_callers_to_know_and_the_next_event_arrives(receiver: Receiver) -> None:
    receiver.faults = [0]
    post = platform.progress_sink({"id": "job-1"})
    with pytest.raises(OSError):
        post({"stage": "fetch"})
    post({"stage": "decode"})
    assert [body["output"]["stage"] for _, body in receiver.posts] == ["decode"]


def test_a_whole_job_s_events_arrive_in_order_and_none_after_its_end(receiver: Receiver) -> None:
    stages = ["fetch", "decode", "transcribe", "publish"]
    with Progress(platform.progress_sink({"id": "j"}), stages, interval_s=0.0) as progress:
        for stage in stages:
            progress.stage(stage)
            for step in range(20):
                progress.tick(step / 20)
    seen = len(receiver.posts)
    percents = [body["output"]["percent"] for _, body in receiver.posts]
    assert percents == sorted(percents)
    assert len(receiver.posts) == seen


def test_an_event_whose_connection_comes_after_the_job_s_end_is_not_sent(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests and http.client wait for a name as long as the resolver does."""
    asked, go = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def slow(*args: Any, **more: Any) -> Any:
        asked.set()
        assert go.wait(60)
        return look_up(*args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    post = platform.progress_sink({"id": "job-1"})
    late = threading.Thread(target=post, args=({"stage": "fetch"},))
    late.start()
    assert asked.wait(60)
    post.close()  # type: ignore[attr-defined]
    go.set()
    late.join(60)
    platform.progress_sink({"id": "job-2"})({"stage": "fetch"})
    assert [path.split("?")[0] for path, _ in receiver.posts] == ["/done/worker/job-2"]


def test_off_the_platform_events_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rp_http, "JOB_DONE_URL", "None")
    assert platform.progress_sink({"id": "j"})({"stage": "fetch"}) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize("faults", [[0], [500], [429], [0, 503, 500, 502]])
def test_the_sdks_result_post_outlives_cut_connections_and_server_errors(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, faults: list[int]
) -> None:
    import aiohttp

    patience: list[int] = []
    monkeypatch.setattr(rp_http, "FibonacciRetry", rp_http.FibonacciRetry)
    platform.retry_result_posts()
    patient = rp_http.FibonacciRetry

    def at_once(*args: Any, **more: Any) -> Any:
        retry = patient(*args, **more)
        patience.append(retry.attempts)
        retry.get_timeout = lambda *a, **k: 0.01
        return retry

    monkeypatch.setattr(rp_http, "FibonacciRetry", at_once)
    receiver.faults = list(faults)

    async def send() -> None:
        async with aiohttp.ClientSession() as session:
            await rp_http.send_result(session, {"output": {"a": 1}}, {"id": "job-1"})

    asyncio.run(send())
    assert patience == [platform.POST_ATTEMPTS]
    assert [body for _, body in receiver.posts] == [{"output": {"a": 1}}]
    assert receiver.attempts == len(faults) + 1


def test_what_starts_threads_begins_after_the_ping_process_was_forked_and_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child forked while a thread holds a lock, an import's say, keeps it locked for ever."""
    from runpod.serverless import worker
    from runpod.serverless.modules import rp_ping, rp_scale

    order: list[str] = []

    async def no_job(session: Any, num_jobs: int = 1) -> None:
        order.append("job-take")
        if order.count("job-take") == 3:
            scaler[0].kill_worker()

    scaler: list[Any] = []
    begin = rp_scale.JobScaler.__init__

    def remembered(self: Any, config: Any) -> None:
        scaler.append(self)
        begin(self, config)

    monkeypatch.setenv("RUNPOD_WEBHOOK_GET_JOB", receiver.url)
    monkeypatch.setattr(rp_scale.JobScaler, "__init__", remembered)
    monkeypatch.setattr(rp_scale, "get_job", no_job)
    monkeypatch.setattr(rp_ping.Heartbeat, "start_ping", lambda *_: order.append("fork"))
    monkeypatch.setattr(worker, "run_fitness_checks", none)
    monkeypatch.setattr("sys.argv", ["worker"])
    # What `serve` and the SDK's loop leave behind in a process that they own.
    monkeypatch.setattr(rp_scale.JobScaler, "handle_shutdown", rp_scale.JobScaler.handle_shutdown)
    monkeypatch.setattr(rp_http, "FibonacciRetry", rp_http.FibonacciRetry)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        platform.serve(lambda job: {}, 1, None, lambda: order.append("probe"))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert order == ["fork", "probe", *["job-take"] * 3]


async def none() -> None:
    """No fitness checks."""
