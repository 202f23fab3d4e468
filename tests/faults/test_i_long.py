"""I: long runs. Two hundred mixed jobs leave memory, threads, files and children as they were; so does a fault."""

from __future__ import annotations

import gc
import io
import logging
import os
import random
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.demo import asked, configured, excerpt, recording
from support.desk import Desk, Steered, asking, codes
from support.predictor import FakePredictor, Run
from support.transcripts import HELLO
from support.wiring import answered

from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.predictor import Predictor
from scribe.pipeline.progress import Progress

from .healthy import Worker, base64_of, wav

JOBS = 200
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is looked at as Linux has it")


@pytest.fixture
def server() -> Iterator[Steered]:
    with Steered() as running:
        yield running


@linux
def test_i1_two_hundred_mixed_jobs_leave_everything_as_it_was(server: Steered, tmp_path: Path) -> None:
    faults: list[BaseException] = []

    def work(run: Run) -> None:
        if faults:
            raise faults.pop()

    worker = Worker(tmp_path / "jobs", predictor=FakePredictor(HELLO, work), storage=Desk(server).storage())
    good, page, zeros = base64_of(wav(0.3)), base64_of(b"<html>no</html>" * 99), base64_of(wav(0.0))
    raised = (MemoryError(), RuntimeError("CUDA out of memory"), SystemExit(3), OSError(28, "no space left"))
    kinds: list[tuple[dict[str, Any], BaseException | None]] = [
        *[({"audio_base64": good, "formats": ["json", "srt"]}, None)] * 3,
        ({"audio_base64": page}, None),
        ({"audio_base64": zeros}, None),
        ({"audio_file": "http://10.0.0.1/a.mp3"}, None),
        ({"audio_file": "http://absent.invalid/a.mp3"}, None),
        ({"language": "xx"}, None),
        *[({"audio_base64": good}, error) for error in raised],
    ]
    dice, seen, marks = random.Random(200), set(), []
    for number in range(JOBS):
        options, error = dice.choice(kinds)
        faults[:] = [error] if error else []
        if number % 17 == 5:
            server.fail(500, times=2)
        answer = worker.ask(**options)
        server.over()
        seen.add(answer.get("code", "done"))
        if number in (JOBS // 2, JOBS - 1):
            gc.collect()
            marks.append((resident_mb(), len(os.listdir("/proc/self/fd")), threading.active_count()))
    assert {"done", "not_audio", "empty_audio", "url_blocked", "fetch_failed", "invalid_input", "internal"} <= seen
    (memory, files, threads), (memory_after, files_after, threads_after) = marks
    # An idle connection or a worker of a pool may come, and those of earlier tests go; a hundred jobs must not bring one each.
    assert max(files_after - files, threads_after - threads) <= 5, marks
    assert memory_after - memory < 30, marks
    worker.assert_healthy()


def resident_mb() -> float:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_i2_an_exception_and_all_that_it_holds_is_gone_when_the_answer_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback that holds frames that hold tensors is the next job's missing memory."""
    # pytest's own handlers keep every record, and with it the exception, until the test is over.
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(io.StringIO())])

    class Tensor:
        """In place of something large on the GPU."""

    class Fault(RuntimeError):
        """One that a weak reference can point to."""

        def __init__(self, words: str) -> None:
            super().__init__(words)
            held.append(weakref.ref(self))

    held: list[weakref.ref[Any]] = []

    def work(run: Run) -> None:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        raise Fault("a fault")

    worker = Worker(tmp_path / "jobs", predictor=FakePredictor(HELLO, work))
    gc.collect()
    gc.disable()
    try:
        assert worker.ask(audio_base64=base64_of(wav(0.3)))["code"] == "internal"
        assert [ref() for ref in held] == [None, None]
    finally:
        gc.enable()


def test_i4_a_connection_that_the_storage_closed_meanwhile_costs_no_upload(server: Steered) -> None:
    desk = Desk(server)
    handler = desk.handler(FakePredictor(), desk.storage(attempts=3))
    for number in range(3):
        server.let_pass(2)
        server.hang_up(after_bytes=10_000)  # answered whole, and then closed
        answer = answered(handler, asking(f"job-{number}", formats=["srt"]))
        assert (codes(answer), set(answer["artifacts"])) == ([], {"srt"})


@pytest.mark.gpu
def test_i3_a_hundred_jobs_on_a_gpu_leave_its_memory_as_after_the_fifth() -> None:
    import torch

    predictor = Predictor(Models(ModelSet(configured()), "cuda"))
    (whole,) = recording("conversation.mp3")
    kept = 0
    for number in range(100):
        clip = excerpt(f"soak-{number % 5}", whole, 0.0, 5.0 + 5 * (number % 5))
        job = asked(language="en" if number % 2 else None, diarization=number % 3 == 0)
        with Progress(lambda event: None, ["transcribe", "align", "diarize"]) as progress:
            predictor.run([clip], job, [], progress, lambda: None)
        if number == 4:
            kept = torch.cuda.memory_allocated()
    assert abs(torch.cuda.memory_allocated() - kept) <= 0.01 * max(kept, 1)
