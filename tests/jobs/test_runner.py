"""One job from what was sent to its answer, with no platform around it."""

from __future__ import annotations

import threading

import pytest
from support.desk import asking
from support.predictor import FakePredictor, Run
from support.wiring import runner_of

from scribe.errors import GpuBroken


def test_a_job_runs_in_the_calling_thread() -> None:
    where: list[threading.Thread] = []
    runner = runner_of(FakePredictor(work=lambda run: where.append(threading.current_thread())))
    assert runner.run(asking(), threading.Event(), lambda event: None)["segments_total"] == 60
    assert where == [threading.current_thread()]


def test_every_failure_is_an_answer_and_leaves_no_job_counted_as_running() -> None:
    running: list[int] = []

    def fail(run: Run) -> None:
        running.append(runner.running)
        raise ZeroDivisionError

    runner = runner_of(FakePredictor(work=fail))
    answers = [
        runner.run(job, threading.Event(), lambda event: None)
        for job in ({"id": "1", "input": {"colour": 1}}, asking())
    ]
    assert [answer["code"] for answer in answers] == ["invalid_input", "internal"]
    assert (running, runner.running) == ([1], 0)


def test_a_cancelled_job_ends_where_it_is() -> None:
    predictor, cancel = FakePredictor(), threading.Event()
    cancel.set()
    assert runner_of(predictor).run(asking(), cancel, lambda event: None)["code"] == "cancelled"
    assert predictor.runs == 0


def test_after_a_broken_gpu_every_job_is_refused_and_it_is_for_the_door_to_say_what_that_means() -> None:
    def fail(run: Run) -> None:
        raise GpuBroken("an illegal memory access")

    predictor = FakePredictor(work=fail)
    runner = runner_of(predictor)
    first = runner.run(asking("1"), threading.Event(), lambda event: None)
    second = runner.run(asking("2"), threading.Event(), lambda event: None)
    assert [first["code"], second["code"]] == [GpuBroken.code, "shutting_down"]
    assert runner.broken
    assert predictor.runs == 1
    assert not {"refresh_worker"} & {*first, *second}


@pytest.mark.parametrize("given", [None, [], "x", {"audio_file": 7}])
def test_what_is_no_job_is_answered_too(given: object) -> None:
    answer = runner_of(FakePredictor()).run({"input": given}, threading.Event(), lambda event: None)
    assert answer["code"] == "invalid_input"
