"""G: what happens to the process. Signals at every boundary, kills, a full disk, a library that exits or aborts.

The worker is a real process on the SDK's own loop, over a stand-in of the platform; only its models are a stand-in.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from contract.worker import REPOSITORY, WorkerProcess
from support.loopback import Loopback, page
from support.predictor import FakePredictor, Run
from support.shelf import Shelf
from support.sounds import write
from support.transcripts import HELLO, spoken

from scribe.doors.runpod_sdk import STOPPING

from .healthy import Worker, base64_of, decoders_of, wav
from .site import BOUNDARIES, Site, alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are looked at as Linux has them")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as running:
        yield running


@contextlib.contextmanager
def doomed(site: Site, name: str = "worker-1", **env: str) -> Iterator[WorkerProcess]:
    """A worker that will not end with 0."""
    worker = site.worker(name, **env)
    worker.__enter__()
    try:
        yield worker
    finally:
        worker.kill()


def ended(worker: WorkerProcess, seconds: float = 60.0) -> int:
    """The exit code of a worker that ends by itself."""
    return worker._process.wait(seconds)


def test_g1_an_idle_worker_leaves_when_it_is_told_to(site: Site) -> None:
    with site.worker() as worker:
        assert worker.stop() == 0
    site.assert_empty()


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_g1_a_worker_told_to_leave_finishes_the_job_it_has(boundary: str, site: Site) -> None:
    with site.worker() as worker:
        record = site.held(boundary, worker)
        os.kill(worker.pid, signal.SIGTERM)
        site.release(boundary)
        site.finished(record, worker)
        assert ended(worker) == 0
    site.assert_delivered_once(record)
    site.assert_empty()


@pytest.mark.parametrize("boundary", ["fetch", "decode", "transcribe"])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_g2_a_second_signal_ends_the_worker_at_once_and_its_job_goes_to_the_next(
    boundary: str, second: signal.Signals, site: Site
) -> None:
    with doomed(site) as worker:
        record = site.held(boundary, worker)
        children = list(decoders_of(worker.pid))
        os.kill(worker.pid, signal.SIGTERM)
        site.wait_for(lambda: STOPPING in worker.text(), worker)
        os.kill(worker.pid, second)
        assert ended(worker) == 143
        assert not any(map(alive, children))
        assert record.status == "IN_PROGRESS"
    site.release(boundary)
    with site.worker() as worker:
        site.platform.deliver_again(record.id)
        site.finished(record, worker)
    site.assert_delivered_once(record)
    site.assert_empty()


def test_g2_a_stage_that_does_not_listen_cannot_hold_a_hasty_worker(site: Site) -> None:
    with doomed(site) as worker:
        site.submit("deaf transcribe")
        site.wait_for((site.stations / "transcribe.at").exists, worker)
        os.kill(worker.pid, signal.SIGTERM)
        site.wait_for(lambda: STOPPING in worker.text(), worker)
        os.kill(worker.pid, signal.SIGTERM)
        assert ended(worker) == 143


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_g3_a_killed_worker_s_job_is_done_by_the_next_and_its_files_are_swept(boundary: str, site: Site) -> None:
    with doomed(site) as worker:
        record = site.held(boundary, worker)
        children = list(decoders_of(worker.pid))
        os.kill(worker.pid, signal.SIGKILL)
        assert ended(worker) == -signal.SIGKILL
        site.release(boundary)
        site.wait_for(lambda: not any(map(alive, children)), worker)
    with site.worker() as worker:
        site.assert_empty()  # swept at the start, before the first job
        site.platform.deliver_again(record.id)
        site.finished(record, worker)
    site.assert_delivered_once(record)
    site.assert_empty()


@pytest.mark.parametrize("cancels", [1, 3])
def test_g4_a_cancelled_job_stops_at_its_next_tick_and_the_gpu_is_free(cancels: int, site: Site) -> None:
    with site.worker() as worker:
        record = site.held("transcribe", worker)
        for _ in range(cancels):
            site.platform.cancel(record.id)
        site.finished(site.submit(), worker)
        assert record.status == "CANCELLED"
    site.assert_no_marks_alone()
    assert not [key for key in site.storage.objects() if record.id in key]
    site.assert_empty()


def test_g4_the_next_job_does_not_start_before_the_cancelled_one_has_left(site: Site) -> None:
    with site.worker() as worker:
        record = site.submit("deaf transcribe")
        site.wait_for((site.stations / "transcribe.at").exists, worker)
        site.platform.cancel(record.id)
        following = site.submit()
        time.sleep(1.5)  # several turns of the SDK's loop
        assert site.runs() == 1
        site.release("transcribe")
        site.finished(following, worker)
        assert site.runs() == 2
    site.assert_empty()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 400 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("a small file system takes the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_g5_a_disk_that_fills_during_the_download_is_told_and_freed(small_disk: Path) -> None:
    with Loopback(page(wav(30.0), Content_Type="audio/wav")) as server:
        worker = Worker(small_disk / "jobs", [server.host])
        answer = worker.refuses("disk_full", audio_file=f"{server.url}/a.wav")
        assert answer["retryable"] is True
        worker.assert_healthy()


def test_g5_a_disk_that_fills_while_decoding_is_told_and_freed(small_disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    write(path, "flac", "flac", np.zeros((1, 30 * 44100), np.float32))
    worker = Worker(small_disk / "jobs")
    answer = worker.refuses("disk_full", audio_base64=base64_of(path.read_bytes()))
    assert answer["retryable"] is True
    worker.assert_healthy()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, MemoryError, RecursionError, GeneratorExit])
def test_g6_what_a_library_raises_to_end_the_program_ends_only_the_job(
    kind: type[BaseException], tmp_path: Path
) -> None:
    def work(run: Run) -> None:
        orders.pop()()

    def die() -> None:
        raise kind(3)

    orders = [*[lambda: None] * 4, die]
    worker = Worker(tmp_path / "jobs", predictor=FakePredictor(HELLO, work))
    answer = worker.ask(audio_base64=base64_of(wav(0.3)))
    assert answer["code"] in ("internal", "gpu_out_of_memory")
    worker.assert_healthy()


def test_g7_an_answer_over_its_cap_is_a_preview_with_every_artifact_stored(tmp_path: Path) -> None:
    shelf = Shelf()
    worker = Worker(tmp_path / "jobs", predictor=FakePredictor(spoken(3000)), storage=shelf, result_max_bytes=40_000)
    answer = worker.ask(audio_base64=base64_of(wav(0.3)), inline="full", formats=["json", "srt"])
    assert (answer["truncated"], answer["segments_total"], set(answer["artifacts"])) == (True, 3000, {"json", "srt"})
    assert [w["code"] for w in answer["warnings"]] == ["result_truncated"]
    assert len(json.dumps(answer, ensure_ascii=False).encode()) <= 40_000
    stored = next(data for key, data in shelf.objects.items() if key.endswith("transcript.json"))
    assert len(json.loads(stored)["segments"]) == 3000


def test_g8_a_native_abort_ends_the_process_and_another_worker_does_the_job(site: Site) -> None:
    with doomed(site) as worker:
        record = site.submit("abort")
        assert ended(worker) == -signal.SIGABRT
        assert record.status == "IN_PROGRESS"
    with site.worker() as worker:
        site.assert_empty()
        site.finished(site.submit(), worker)


def test_g9_importing_any_module_starts_nothing() -> None:
    names = sorted(m.name for m in pkgutil.walk_packages([str(REPOSITORY / "src")]) if "__main__" not in m.name)
    assert {"predict", "rp_handler", "init_and_run", "scribe.net.client"} <= set(names)
    program = (
        "import importlib, os, sys, threading, json\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "children = open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
        "links = [os.path.realpath(f'/proc/self/fd/{f}') for f in os.listdir('/proc/self/fd')]\n"
        "sockets = [link for link in links if 'socket:' in link]\n"
        "heavy = sorted({'torch', 'whisperx', 'boto3', 'pyannote', 'speechbrain', 'runpod'} & set(sys.modules))\n"
        "print(json.dumps([[t.name for t in threading.enumerate()], children, sockets, heavy]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY / "src", capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout) == [["MainThread"], [], [], []]


def test_g9_an_invalid_variable_is_one_message_and_78(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "src" / "init_and_run.py")],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PRESIGN_TTL": "never", "WHISPERX_DEVICE": "tpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 78
    assert "PRESIGN_TTL" in done.stderr + done.stdout
    assert "WHISPERX_DEVICE" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
