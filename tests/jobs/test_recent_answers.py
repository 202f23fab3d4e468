"""The last answers: the same job gets the same answer, few are held, and none for long."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from faults.healthy import Worker, base64_of, wav

from scribe.jobs import recent_answers as recent
from scribe.jobs.recent_answers import RecentAnswers, key_of

ANSWER = {"segments": [{"text": "Grüße"}]}


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def key(number: int = 1) -> recent.Key:
    found = key_of({"id": f"job-{number}", "input": {}})
    assert found is not None
    return found


def test_an_answer_comes_back_as_it_was_and_belongs_to_who_asked() -> None:
    answers = RecentAnswers()
    given: dict[str, Any] = json.loads(json.dumps(ANSWER))
    answers.keep(key(), given)
    given["segments"].clear()
    found = answers.find(key())
    assert found == ANSWER
    found["segments"].clear()
    assert answers.find(key()) == ANSWER


@pytest.mark.parametrize(
    "other",
    [
        {"id": "job-2", "input": {"audio_file": "a"}},
        {"id": "job-1", "input": {"audio_file": "b"}},
        {"id": "job-1", "input": {"audio_file": "a"}, "s3Config": {"bucketName": "b"}},
    ],
    ids=["id", "input", "storage"],
)
def test_another_id_input_or_storage_is_another_job(other: dict[str, Any]) -> None:
    answers = RecentAnswers()
    job = {"id": "job-1", "input": {"audio_file": "a"}}
    answers.keep(key_of(job), ANSWER)
    assert answers.find(key_of(other)) is None
    assert answers.find(key_of({**job, "webhook": "https://example.com", "delayTime": 3})) == ANSWER


def test_what_has_no_id_or_nests_without_end_is_no_job_that_could_come_again() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert key_of({"input": {}}) is None
    assert key_of({"id": "", "input": {}}) is None
    assert key_of({"id": "job-1", "input": nested}) is None
    answers = RecentAnswers()
    answers.keep(None, ANSWER)
    assert answers.find(None) is None


@pytest.mark.parametrize(("retryable", "kept"), [(False, True), (True, False), (None, False)])
def test_only_a_failure_that_would_come_again_is_kept(retryable: bool | None, kept: bool) -> None:
    answers = RecentAnswers()
    failure = {"error": "too_large: …", "retryable": retryable}
    answers.keep(key(), failure)
    assert answers.find(key()) == (failure if kept else None)


def test_an_answer_is_forgotten_after_ten_minutes_and_a_failure_after_one() -> None:
    clock = Clock()
    answers = RecentAnswers(clock)
    answers.keep(key(1), ANSWER)
    answers.keep(key(2), {"error": "not_found: …", "retryable": False})
    clock.now += recent.FAILURE_SECONDS
    assert answers.find(key(2)) is None
    assert answers.find(key(1)) == ANSWER
    clock.now = 100.0 + recent.SECONDS
    answers.sweep()
    assert not answers._held


def test_the_oldest_go_when_there_are_too_many_or_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = RecentAnswers()
    for number in range(recent.MOST + 1):
        answers.keep(key(number), ANSWER)
    assert answers.find(key(0)) is None
    assert all(answers.find(key(number)) for number in range(1, recent.MOST + 1))
    monkeypatch.setattr(recent, "MOST_BYTES", 1000)
    answers.keep(key(1000), {"text": "x" * 980})
    assert list(answers._held) == [key(1000)]
    answers.keep(key(1001), {"text": "x" * 2000})
    assert list(answers._held) == [key(1000)], "what does not fit at all costs the others nothing"


def test_a_worker_whose_jobs_are_never_handed_out_again_keeps_no_answer() -> None:
    recent = RecentAnswers(most=0)
    key = key_of({"id": "1", "input": {"audio_file": "https://example.com/a.mp3"}})
    recent.keep(key, {"segments": []})
    assert recent.find(key) is None


def test_an_idle_worker_forgets_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No job comes after this one: the loop itself drops the answer."""
    swept = asyncio.Event()

    class Watched(RecentAnswers):
        def sweep(self) -> None:
            super().sweep()
            if threading.current_thread() is threading.main_thread():
                swept.set()

    async def one_job_and_then_nothing() -> None:
        worker = Worker(tmp_path)
        worker.handler.runner.recent = Watched()
        await worker.handler({"id": "job-1", "input": {"audio_base64": base64_of(wav(0.3))}})
        await asyncio.wait_for(swept.wait(), 60)
        assert not worker.handler.runner.recent._held

    monkeypatch.setattr(recent, "SECONDS", 0.01)
    asyncio.run(one_job_and_then_nothing())
