"""The stand-in of the platform, held against the real SDK with handlers of a few lines.

What the SDK is seen to do here (it drops a result after one cut connection, it runs a duplicate twice) is the reason
for what the real handler does about it.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .files import FileServer
from .platform import API_KEY, Platform
from .worker import NotReady, WorkerProcess

PLAIN = """
import asyncio, runpod

async def handler(job):
    match job["input"]:
        case {"wait": seconds}:
            runpod.serverless.progress_update(job, "waiting")
            await asyncio.sleep(seconds)
        case {"fail": message}:
            return {"error": message, "code": "made_up"}
        case {"progress": step}:
            runpod.serverless.progress_update(job, step)
            await asyncio.sleep(0.5)
    return {"echo": job["input"]}

if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
"""

BATCHED_STREAM = """
import runpod

async def handler(job):
    for number in range(job["input"]["count"]):
        yield {"number": number}

if __name__ == "__main__":
    runpod.serverless.start({
        "handler": handler, "return_aggregate_stream": True, "concurrency_modifier": lambda current: 2,
    })
"""


@pytest.fixture(scope="module")
def worker(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    folder = tmp_path_factory.mktemp("plain")
    with started(platform, folder, PLAIN) as running:
        yield running


def started(platform: Platform, folder: Path, source: str) -> WorkerProcess:
    entry = folder / "handler.py"
    entry.write_text(source)
    return WorkerProcess(platform, {}, cwd=folder, entry=entry, ready_timeout=60)


def call(url: str, body: Any = None, key: str = API_KEY) -> Any:
    """The JSON answer of a GET, or of a POST when there is a body."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    if body is not None:
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def test_a_job_comes_back_with_its_output(platform: Platform, worker: WorkerProcess) -> None:
    record = platform.wait(platform.submit({"input": {"text": "Grüße"}}), timeout=20)
    assert (record.status, record.output, record.error) == ("COMPLETED", {"echo": {"text": "Grüße"}}, None)
    assert (record.deliveries, record.late) == (1, [])


def test_an_error_fails_the_job_and_keeps_the_keys_beside_it(platform: Platform, worker: WorkerProcess) -> None:
    record = platform.wait(platform.submit({"input": {"fail": "no"}}), timeout=20)
    assert (record.status, record.output, record.error) == ("FAILED", {"code": "made_up"}, "no")


def test_progress_is_kept_apart_from_the_result(platform: Platform, worker: WorkerProcess) -> None:
    record = platform.wait(platform.submit({"input": {"progress": 7}}), timeout=20)
    assert record.output == {"echo": {"progress": 7}}
    assert platform.until(lambda: record.progress + [post["output"] for post in record.late] == [7], timeout=10)


def test_the_http_api_runs_waits_and_tells_the_status(platform: Platform, worker: WorkerProcess) -> None:
    queued = call(f"{platform.url}/run", {"input": {"a": 1}})
    assert queued["status"] in ("IN_QUEUE", "IN_PROGRESS")
    platform.wait(queued["id"], timeout=20)
    done = {"id": queued["id"], "status": "COMPLETED", "output": {"echo": {"a": 1}}}
    assert call(f"{platform.url}/status/{queued['id']}") == done
    direct = call(f"{platform.url}/runsync", {"input": {"a": 2}})
    assert (direct["id"][:5], direct["status"], direct["output"]) == ("sync-", "COMPLETED", {"echo": {"a": 2}})
    pending = call(f"{platform.url}/runsync?wait=1", {"input": {"wait": 0.5}})
    assert pending["status"] in ("IN_QUEUE", "IN_PROGRESS")
    assert platform.wait(pending["id"], timeout=20).status == "COMPLETED"


def test_the_http_api_wants_its_key(platform: Platform) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        call(f"{platform.url}/run", {"input": {}}, key="rpa_somebody")


def test_the_sdk_outlives_two_server_errors(platform: Platform, worker: WorkerProcess) -> None:
    platform.faults.server_errors = 2
    record = platform.wait(platform.submit({"input": {}}), timeout=30)
    assert (record.status, record.refusals) == ("COMPLETED", ["503", "503"])


@pytest.mark.parametrize("fault", [{"cuts": 1}, {"largest_result": 100}])
def test_the_sdk_alone_drops_a_result(platform: Platform, worker: WorkerProcess, fault: dict[str, int]) -> None:
    for name, value in fault.items():
        setattr(platform.faults, name, value)
    lost = platform.submit({"input": {"text": "x" * 100}})
    after = platform.submit({"input": {}})
    assert platform.wait(after, timeout=20).status == "COMPLETED"
    assert (platform.record(lost).status, len(platform.record(lost).refusals)) == ("IN_PROGRESS", 1)
    platform.faults.largest_result = None


def test_a_cancelled_job_posts_nothing_and_the_next_one_runs(platform: Platform, worker: WorkerProcess) -> None:
    running = platform.submit({"input": {"wait": 60}})
    assert platform.until(lambda: platform.record(running).progress == ["waiting"], timeout=20)
    platform.cancel(running)
    assert platform.wait(platform.submit({"input": {}}), timeout=20).status == "COMPLETED"
    assert (platform.record(running).status, platform.record(running).late) == ("CANCELLED", [])


def test_a_job_cancelled_in_the_queue_is_never_delivered(platform: Platform, worker: WorkerProcess) -> None:
    busy = platform.submit({"input": {"wait": 1}})
    waiting = platform.submit({"input": {}})
    call(f"{platform.url}/cancel/{waiting}", {})
    assert platform.wait(busy, timeout=20).status == "COMPLETED"
    assert (platform.record(waiting).status, platform.record(waiting).deliveries) == ("CANCELLED", 0)


def test_a_job_delivered_twice_runs_twice(platform: Platform, worker: WorkerProcess) -> None:
    record = platform.record(platform.submit({"input": {"n": 1}}, deliveries=2))
    assert platform.until(lambda: len(record.late_results) == 1, timeout=20)
    platform.deliver_again(record.id)
    assert platform.until(lambda: len(record.late_results) == 2, timeout=20)
    assert (record.deliveries, record.late_results[0]["output"]) == (3, record.output)


def test_the_sdk_drops_a_job_without_input_and_goes_on(platform: Platform, worker: WorkerProcess) -> None:
    nothing = platform.submit({})
    assert platform.wait(platform.submit({"input": {}}), timeout=20).status == "COMPLETED"
    assert platform.record(nothing).status == "IN_PROGRESS"


def test_the_heartbeat_names_the_running_job(platform: Platform, worker: WorkerProcess) -> None:
    running = platform.submit({"input": {"wait": 4}})
    assert platform.until(lambda: any(ping.get("job_id") == running for ping in platform.pings), timeout=20)
    platform.cancel(running)


def test_a_result_that_is_not_json_is_refused(platform: Platform) -> None:
    job = platform.submit({"input": {}})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        call(f"{platform.url}/job-done/worker-1/{job}?isStream=false", {"output": float("nan")})
    platform.cancel(job)


def test_streams_and_batches_arrive_whole(platform: Platform, worker: WorkerProcess, tmp_path: Path) -> None:
    assert worker.stop() == 0, "SIGTERM while idle is a clean end"
    jobs = [platform.submit({"input": {"count": count}}) for count in (2, 3)]
    with started(platform, tmp_path, BATCHED_STREAM):
        for job, count in zip(jobs, (2, 3), strict=True):
            record = platform.wait(job, timeout=30)
            assert record.output == record.stream == [{"number": n} for n in range(count)]


def test_a_worker_that_dies_at_its_start_is_reported_with_its_log(platform: Platform, tmp_path: Path) -> None:
    with (
        pytest.raises(NotReady, match=r"exited with 78[\s\S]*no such thing"),
        started(platform, tmp_path, "import sys; print('no such thing'); sys.exit(78)"),
    ):
        pass


def test_files_are_served_and_remembered_with_their_query(files: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("hello")
    with FileServer(tmp_path) as server, urllib.request.urlopen(f"{server.url}a%20b.txt?sig=1", timeout=10) as got:
        assert got.read() == b"hello"
        assert server.requests == ["/a%20b.txt?sig=1"]
    job = {"input": {"audio": "http://samples.local/x.mp3", "samples": [{"url": "http://example.org/y"}], "n": 1}}
    assert files.localize(job) == {
        "input": {"audio": f"{files.url}x.mp3", "samples": [{"url": "http://example.org/y"}], "n": 1}
    }
