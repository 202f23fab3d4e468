"""H: the same job again. Twice in a row, twice at once, after a crash on either side of the commit mark, after an error."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.desk import Desk, Steered, asking
from support.predictor import FakePredictor, Run
from support.transcripts import HELLO
from support.wiring import answered

from scribe.errors import GatedModel, Internal

from .healthy import Worker, base64_of, wav
from .site import Site

STORAGE = ("STORAGE_ENDPOINT", "STORAGE_BUCKET", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as running:
        yield running


def test_h1_a_job_delivered_again_makes_no_call_of_the_models_and_gets_fresh_links(site: Site) -> None:
    with site.worker() as worker:
        record = site.finished(site.submit(), worker)
        first = dict(record.output)
        site.platform.deliver_again(record.id)
        site.wait_for(lambda: record.late_results, worker)
        second = record.late_results[0]["output"]
    assert site.runs() == 1
    assert [a["key"] for a in second["artifacts"].values()] == [a["key"] for a in first["artifacts"].values()]
    for artifact in second["artifacts"].values():
        with urlopen(artifact["url"], timeout=20) as link:
            assert len(link.read()) == artifact["bytes"]
    assert second["segments"] == first["segments"]
    site.assert_delivered_once(record)


def test_h2_the_same_id_with_another_input_is_another_job(tmp_path: Path) -> None:
    with Steered() as server:
        predictor = FakePredictor()
        desk = Desk(server)
        handler = desk.handler(predictor, desk.storage())
        one = answered(handler, asking("job-1", formats=["json"]))
        other = answered(handler, asking("job-1", formats=["json"], align_output=True))
    assert predictor.runs == 2
    assert one["artifacts"]["json"]["key"] != other["artifacts"]["json"]["key"]


def test_h3_two_workers_with_one_job_at_once_both_answer_right(site: Site) -> None:
    with site.worker("worker-1") as one, site.worker("worker-2") as other:
        record = site.submit("hold transcribe", deliveries=2)
        site.wait_for(lambda: site.runs() == 2, one)
        site.release("transcribe")
        site.finished(record, one)
        site.wait_for(lambda: record.late_results, other)
    late = record.late_results[0]
    assert "error" not in late
    assert late["output"]["segments"] == record.output["segments"]
    site.assert_delivered_once(record)
    site.assert_empty()


def test_h4_a_crash_between_the_artifacts_and_the_mark_is_computed_again(site: Site) -> None:
    worker = site.worker()
    with worker:
        site.storage.let_pass(2)  # the look for an earlier result, and the transcript
        reached = site.storage.hold()
        record = site.submit()
        site.wait_for(reached.is_set, worker)
        os.kill(worker.pid, signal.SIGKILL)
        worker._process.wait(30)
        worker._process.returncode = 0  # the end that this test wants
    assert site.storage.commits() == []
    with site.worker() as worker:
        site.platform.deliver_again(record.id)
        site.finished(record, worker)
    assert site.runs() == 2
    site.assert_delivered_once(record)


def test_h4_a_crash_between_the_mark_and_the_answer_is_answered_without_the_models(site: Site) -> None:
    worker = site.worker()
    with worker:
        site.platform.faults.cuts = 1000
        record = site.submit()
        site.wait_for(lambda: record.refusals, worker)
        assert site.storage.commits()
        os.kill(worker.pid, signal.SIGKILL)
        worker._process.wait(30)
        worker._process.returncode = 0  # the end that this test wants
    site.platform.faults.cuts = 0
    with site.worker() as worker:
        site.platform.deliver_again(record.id)
        site.finished(record, worker)
    assert site.runs() == 1
    site.assert_delivered_once(record)


@pytest.mark.parametrize(
    "options",
    [{"audio_base64": base64_of(b"<html>no audio</html>" * 50)}, {"audio_file": "http://169.254.169.254/a.mp3"}, {}],
)
def test_h5_what_no_retry_would_change_gets_the_same_answer_again(options: dict[str, str], tmp_path: Path) -> None:
    worker = Worker(tmp_path / "jobs")
    first, second = worker.ask(**options), worker.ask(**options)
    assert first["retryable"] is False
    assert {k: v for k, v in first.items() if k != "error_id"} == {k: v for k, v in second.items() if k != "error_id"}
    assert worker.predictor.runs == 0
    worker.ask(audio_base64=base64_of(wav(0.3)))
    worker.assert_healthy()


def test_h6_a_lost_ack_without_storage_costs_no_gpu_and_no_progress_follows_the_result(site: Site) -> None:
    """The platform hands a job out again because it missed the answer; an event now would flip it back to IN_PROGRESS."""
    with site.worker(**dict.fromkeys(STORAGE, "")) as worker:
        record = site.held("transcribe", worker)
        site.wait_for(lambda: record.progress, worker)
        site.release("transcribe")
        site.finished(record, worker)
        before = len(record.progress)
        site.platform.deliver_again(record.id)
        site.wait_for(lambda: record.late_results, worker)
        again = record.late_results[0]["output"]
        other = site.finished(site.submit("other"), worker)
    assert (site.runs(), again) == (2, record.output)
    assert len(record.progress) == before
    assert record.late == record.late_results
    assert other.output["job_id"] == other.id


def test_h6_an_id_with_another_input_runs(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "jobs")
    job = {"id": "job-1", "input": {"audio_base64": base64_of(wav(0.3))}}
    first = worker.answered(job)
    assert worker.answered(job) == first
    assert worker.predictor.runs == 1
    assert worker.answered({**job, "input": {**job["input"], "inline": "full"}})["segments_total"] == 1
    assert worker.answered({**job, "id": "job-2"})["job_id"] == "job-2"
    assert worker.predictor.runs == 3


def test_h6_a_failure_that_may_pass_runs_again_and_one_that_stays_is_told_again(tmp_path: Path) -> None:
    passing, staying = Internal("a fault"), GatedModel("no leave")

    def work(run: Run) -> None:
        if errors:
            raise errors.pop()

    worker = Worker(tmp_path / "jobs", predictor=FakePredictor(HELLO, work))
    job = {"id": "job-1", "input": {"audio_base64": base64_of(wav(0.3))}}
    errors: list[Exception] = [passing]
    assert worker.answered(job)["code"] == "internal"
    assert worker.answered(job)["segments_total"] == 1
    errors = [staying]
    failure = worker.answered({**job, "id": "job-2"})
    assert failure["code"] == "gated_model"
    assert worker.answered({**job, "id": "job-2"}) == failure
    assert worker.predictor.runs == 3
