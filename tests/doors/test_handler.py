"""The RunPod door: every job is answered by strict JSON, and nothing of the inside reaches the caller.

The predictor is a stand-in here, handed in by the constructor; everything around it is real: the intake with its
downloads and its decoder, the delivery, the redaction.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.files import FileServer
from support.demo import SAMPLES, configured
from support.predictor import FakePredictor, Run
from support.shelf import Shelf
from support.wiring import answered, guarded, handler_of, intake_at

from rp_handler import Handler
from scribe.errors import GpuBroken, StageFailed, StorageUnavailable
from scribe.jobs.runner import totals
from scribe.models.model_set import ModelSet
from scribe.runtime.redact import Redactor
from scribe.schema.warnings import JobWarning
from scribe.transcript import Segment, Speaker, Transcript, Voiceprint, Word

SECRET = "hf_CanaryCanaryCanary"
KEYS = {"error", "code", "retryable", "details", "error_id"}


def transcript(count: int = 3) -> Transcript:
    words = (Word("Hello", 0.0, 0.4, 0.9, "SPEAKER_00"), Word("there.", 0.5, 0.9, math.nan, "SPEAKER_00"))
    segments = tuple(Segment(float(n), n + 0.9, " Hello there.", words, "SPEAKER_00", math.nan) for n in range(count))
    return Transcript(
        "en",
        float(count),
        segments,
        (Speaker("SPEAKER_00", "Anna", 0.9, 2.0, embedding=Voiceprint("e@1", 2.0, (0.1,) * 8)),),
        math.nan,
    )


def stand_in(work: Callable[[Run], object] = lambda run: None, count: int = 3, **fields: Any) -> FakePredictor:
    """A predictor that gives a transcript of `count` segments and a warning, on an endpoint that allows one more model."""
    warnings = (JobWarning("no_speech", "transcribe", "x"),)
    model_set = ModelSet(configured(allowed_models=("small",)))
    return FakePredictor(transcript(count), work, model_set, warnings=warnings, options={"a": 1}, **fields)


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    with FileServer(SAMPLES) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture
def make(files: FileServer, root: Path) -> Callable[..., Handler]:
    def made(
        predictor: FakePredictor | None = None,
        shelf: Shelf | None = None,
        sink: Any = lambda event: None,
        **values: Any,
    ) -> Handler:
        settings = configured(**values)
        client = guarded(frozenset({files.host}))
        redactor = Redactor()
        redactor.add(SECRET)
        return handler_of(
            predictor or stand_in(),
            settings,
            lambda job: sink,
            intake=intake_at(root, settings, client),
            storage=shelf,
            client=client,
            redactor=redactor,
        )

    return made


@pytest.fixture
def job(files: FileServer) -> dict[str, Any]:
    return {"id": "job-1", "input": {"audio_file": f"{files.url}silence.flac"}}


def with_input(job: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {**job, "input": {**job["input"], **options}}


def failed(answer: dict[str, Any], code: str) -> dict[str, Any]:
    assert set(answer) - {"refresh_worker"} == KEYS
    assert answer["code"] == code
    assert answer["error"].startswith(f"{code}: ")
    assert answer["error_id"]
    text = json.dumps(answer)
    assert not any(word in text for word in ("Traceback", "/src/", ".py", str(Path.home()), SECRET, 'File \\"'))
    return answer


def test_a_job_is_answered_with_its_transcript(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    answer = answered(make(), job)
    assert "error" not in answer
    assert (answer["job_id"], answer["detected_language"], answer["segments_total"]) == ("job-1", "en", 3)
    assert [s["text"].strip() for s in answer["segments"]] == ["Hello there."] * 3
    assert answer["segments"][0]["speaker"] == "Anna"
    assert "words" not in answer["segments"][0]
    assert [w["code"] for w in answer["warnings"]] == ["no_speech"]
    assert {"fetch", "decode", "transcribe", "publish", "total", "real_time_factor"} <= set(answer["timings"])
    assert answer["models"] == {"transcribe": "m@1"}
    assert "debug" not in answer


def test_nan_inside_becomes_null_outside(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    answer = answered(make(), with_input(job, align_output=True, inline="full"))
    assert answer["language_probability"] is None
    assert answer["segments"][0]["words"][1]["score"] is None


def test_what_a_job_needs_is_imported_while_its_recording_is_fetched(
    make: Callable[..., Handler], job: dict[str, Any], files: FileServer
) -> None:
    predictor = stand_in()
    handler = make(predictor)
    failed(answered(handler, with_input(job, audio_file=f"{files.url}nothing.mp3")), "not_found")
    assert ([plan.recognize for plan in predictor.plans], predictor.runs) == ([True], 0)
    # A transcript that is stored needs no detector; and what is at work imports for itself.
    failed(answered(handler, {"id": "2", "input": {"source": {"transcript_url": f"{files.url}nothing"}}}), "not_found")
    assert [plan.recognize for plan in predictor.plans] == [True, False]
    handler.runner.running = 1
    assert answered(handler, job)["segments_total"] == 3
    assert len(predictor.plans) == 2


def test_a_recording_in_the_job_itself_is_taken(make: Callable[..., Handler]) -> None:
    text = base64.b64encode((SAMPLES / "silence.flac").read_bytes()).decode()
    assert answered(make(), {"id": "j", "input": {"audio_base64": text}})["segments_total"] == 3


@pytest.mark.parametrize(
    ("options", "code", "retryable"),
    [
        ({"audio_file": "s3://bucket/key.mp3"}, "url_blocked", False),
        ({"audio_file": "http://169.254.169.254/latest/meta-data/?x=1"}, "url_blocked", False),
        ({"audio_file": "ftp://example.com/a"}, "url_blocked", False),
        ({"audio_file": None, "audio_base64": "!!!!"}, "invalid_input", False),
        (
            {"audio_file": None, "audio_base64": base64.b64encode(b"<html><body>no</body></html>" * 50).decode()},
            "not_audio",
            False,
        ),
        ({"beam_size": 99, "colour": 1}, "invalid_input", False),
        ({"model": "large-v3"}, "invalid_input", False),
    ],
)
def test_a_job_that_cannot_run_is_told_why(
    make: Callable[..., Handler], job: dict[str, Any], options: dict[str, Any], code: str, retryable: bool
) -> None:
    predictor = stand_in()
    answer = failed(answered(make(predictor), with_input(job, **options)), code)
    assert answer["retryable"] is retryable
    assert predictor.runs == 0


def test_a_server_that_is_not_there_is_a_fetch_failure_that_may_be_tried_again(
    files: FileServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scribe.net.download.BACKOFF_S", 0.02)
    settings = configured(fetch_deadline_s=2.0)
    with FileServer(SAMPLES) as gone:
        host = gone.host
    handler = handler_of(stand_in(), settings, intake=intake_at(root, settings, guarded(frozenset({host}))))
    answer = failed(
        answered(handler, {"id": "j", "input": {"audio_file": f"http://{host}/a.mp3?token=canary"}}), "fetch_failed"
    )
    assert answer["retryable"] is True
    assert "canary" not in json.dumps(answer)


@pytest.mark.parametrize(
    "job",
    [{}, {"id": "x"}, {"id": "x", "input": None}, {"id": "x", "input": []}, {"id": None, "input": {}}, {"input": "x"}],
)
def test_something_that_is_no_job_is_answered_too(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    assert failed(answered(make(), job), "invalid_input")["details"]["problems"]


def raising(error: BaseException) -> FakePredictor:
    def work(run: Run) -> None:
        raise error

    return stand_in(work)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"/root/models/x {SECRET}"),
        SystemExit(3),
        KeyboardInterrupt(),
        MemoryError(),
        RecursionError("x"),
        OSError(28, "No space", "/secret/path"),
    ],
)
def test_an_unknown_fault_is_internal_with_an_id_that_the_log_knows(
    make: Callable[..., Handler],
    job: dict[str, Any],
    root: Path,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    answer = failed(answered(make(raising(error)), job), "internal")
    assert answer["retryable"] is True
    assert "/secret" not in json.dumps(answer)
    assert answer["error_id"] in caplog.text
    assert "Traceback" in caplog.text
    assert not [p for p in root.rglob("*") if p.is_file()]


def test_the_worker_goes_on_after_a_fault(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    predictor = raising(ValueError("x"))
    handler = make(predictor)
    failed(answered(handler, job), "internal")
    predictor.work = lambda run: None
    answer = answered(handler, job)
    assert answer["segments_total"] == 3
    assert "refresh_worker" not in answer


def test_a_stage_that_strict_demands_fails_the_job_with_its_details(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    answer = failed(
        answered(
            make(raising(StageFailed(f"no access with {SECRET}", {"stage": "diarize", "code": "gated_model"}))), job
        ),
        "stage_failed",
    )
    assert answer["details"] == {"stage": "diarize", "code": "gated_model"}


def test_a_broken_gpu_asks_for_a_new_worker_and_later_jobs_are_refused(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    predictor = raising(GpuBroken("the GPU failed and needs a new process"))
    handler = make(predictor)
    assert failed(answered(handler, job), "gpu_broken")["refresh_worker"] is True
    predictor.work = lambda run: None
    later = failed(answered(handler, job), "shutting_down")
    assert later["refresh_worker"] is True
    assert later["retryable"] is True
    assert predictor.runs == 1


def test_a_cancelled_job_keeps_its_slot_until_its_thread_has_left(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    inside, left = threading.Event(), threading.Event()

    def work(run: Run) -> None:
        inside.set()
        try:
            for _ in range(2000):
                run.context.raise_if_stopped()
                time.sleep(0.01)
        finally:
            time.sleep(0.2)
            left.set()

    async def scenario() -> bool:
        task = asyncio.ensure_future(make(stand_in(work))(job))
        await asyncio.to_thread(inside.wait, 20)
        task.cancel()
        await asyncio.sleep(0.02)
        task.cancel()  # the platform may say it twice
        with pytest.raises(asyncio.CancelledError):
            await task
        return left.is_set()

    assert asyncio.run(scenario())


def test_the_loop_stays_free_while_a_job_works(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    go = threading.Event()

    async def scenario() -> dict[str, Any]:
        task = asyncio.ensure_future(make(stand_in(lambda run: go.wait(20)))(job))
        await asyncio.sleep(0)
        go.set()  # only a loop that runs on gets here
        return await task

    assert asyncio.run(scenario())["segments_total"] == 3


def test_a_deadline_is_counted_from_receipt(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    def work(run: Run) -> None:
        time.sleep(0.05)
        run.context.raise_if_stopped()

    failed(answered(make(stand_in(work)), with_input(job, deadline_s=0.01)), "deadline_reached")


def test_progress_ends_before_the_answer(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    events: list[Any] = []
    answered(make(sink=events.append), job)
    seen = len(events)
    # The newest only: on a busy machine one stage may be over before the one before it was delivered.
    stages = [e["stage"] for e in events]
    assert stages == sorted(stages, key=["fetch", "decode", "transcribe", "publish"].index)
    assert stages
    assert [e["percent"] for e in events] == sorted(e["percent"] for e in events)
    time.sleep(0.05)
    assert len(events) == seen
    assert "progress" not in [t.name for t in threading.enumerate()]


def test_a_sink_that_fails_does_not_fail_the_job(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    def sink(event: Any) -> None:
        raise ConnectionError

    assert answered(make(sink=sink), job)["segments_total"] == 3


@pytest.mark.parametrize(
    ("stores", "options", "default", "shown", "with_words"),
    [
        (False, {}, None, 50, False),
        (True, {}, None, 0, False),
        (True, {}, "full", 60, True),
        (False, {"inline": "none"}, "full", 0, False),
        (True, {"inline": "preview"}, None, 50, False),
    ],
)
def test_inline_is_the_jobs_then_the_operators_then_what_suits_the_storage(
    make: Callable[..., Handler],
    job: dict[str, Any],
    stores: bool,
    options: dict[str, Any],
    default: str | None,
    shown: int,
    with_words: bool,
) -> None:
    handler = make(stand_in(count=60), Shelf() if stores else None, inline_default=default)
    answer = answered(handler, with_input(job, align_output=True, **options))
    assert len(answer["segments"]) == shown
    assert all(("words" in s) is with_words for s in answer["segments"])
    assert answer["segments_total"] == 60


def test_an_answer_too_large_shrinks_to_the_preview_and_says_so(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    answer = answered(
        make(stand_in(count=400), result_max_bytes=20_000), with_input(job, align_output=True, inline="full")
    )
    assert len(json.dumps(answer, ensure_ascii=False).encode()) <= 20_000
    assert len(answer["segments"]) == 50
    assert answer["truncated"] is True
    assert "result_truncated" in [w["code"] for w in answer["warnings"]]


def test_a_storage_that_fails_loses_nothing(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    shelf = Shelf()
    shelf.failing["put"] = StorageUnavailable("no answer")
    answer = answered(make(stand_in(count=80), shelf), with_input(job, formats=["json", "srt"], align_output=True))
    assert answer["artifacts"] == {}
    assert len(answer["segments"]) == 80
    assert "words" in answer["segments"][0]
    assert [w["code"] for w in answer["warnings"]].count("storage_unavailable") == 2
    assert shelf.objects == {}


def test_the_same_job_again_is_answered_from_the_storage_without_the_models(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    shelf, predictor = Shelf(), stand_in()
    handler = make(predictor, shelf)
    first, second = answered(handler, job), answered(handler, job)
    assert predictor.runs == 1
    assert first["artifacts"]["json"]["url"] != second["artifacts"]["json"]["url"]
    assert {**first, "artifacts": 0} == {**second, "artifacts": 0}
    answered(handler, with_input(job, beam_size=1))
    answered(handler, {**job, "id": "job-2"})
    assert predictor.runs == 3


def test_a_job_whose_storage_failed_is_computed_again(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    shelf, predictor = Shelf(), stand_in()
    handler = make(predictor, shelf)
    shelf.failing["put"] = StorageUnavailable("no answer")
    answered(handler, job)
    del shelf.failing["put"]
    assert answered(handler, job)["artifacts"]["json"]["url"]
    assert predictor.runs == 2


def test_a_partial_result_is_delivered_and_not_taken_for_the_whole_later(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    predictor = stand_in(partial=True)
    handler = make(predictor, Shelf())
    first = answered(handler, job)
    assert first["partial"] is True
    assert first["artifacts"]["json"]["url"]
    predictor.partial = False
    assert answered(handler, job)["partial"] is False
    assert predictor.runs == 2


def test_artifacts_hold_words_only_when_the_job_wants_them(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    for wanted in (True, False):
        shelf = Shelf()
        answer = answered(make(stand_in(), shelf), with_input(job, align_output=wanted))
        stored = json.loads(shelf.objects[answer["artifacts"]["json"]["key"]])
        assert bool(stored["segments"][0].get("words")) is wanted


def test_text_formats_without_storage_travel_in_the_answer(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    answer = answered(make(), with_input(job, formats=["srt", "html"]))
    assert answer["artifacts"] == {}
    assert set(answer["texts"]) == {"srt", "html"}
    assert answer["texts"]["srt"].startswith("1\n00:00:00,000 --> ")
    assert answer["texts"]["html"].startswith("<!DOCTYPE html>")
    assert "storage_not_configured" in [w["code"] for w in answer["warnings"]]


def test_a_json_without_storage_is_the_whole_transcript_inline(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    answer = answered(make(stand_in(count=60)), with_input(job, formats=["json"], align_output=True))
    assert (len(answer["segments"]), answer["truncated"], "texts" in answer) == (60, False, False)
    assert all(segment["words"] for segment in answer["segments"])


def test_a_preview_without_storage_warns_of_what_is_missing(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    answer = answered(make(stand_in(count=60)), with_input(job, align_output=True))
    (warning,) = [w for w in answer["warnings"] if w["code"] == "preview_only"]
    assert "50 of 60" in warning["message"]
    assert len(answer["segments"]) == 50


def test_no_text_inline_and_no_storage_is_a_warning_too(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    def told(**options: Any) -> list[str]:
        warnings = answered(make(), with_input(job, inline="none", **options))["warnings"]
        return [w["message"].split(":")[0] for w in warnings if w["code"] == "storage_not_configured"]

    assert told() == ["inline"]
    assert told(transcription="srt") == []


@pytest.mark.parametrize(
    ("options", "operator", "shown"),
    [({"debug": True}, False, True), ({}, True, True), ({"debug": False}, True, False), ({}, False, False)],
)
def test_debug_tells_options_and_memory(
    make: Callable[..., Handler], job: dict[str, Any], options: dict[str, Any], operator: bool, shown: bool
) -> None:
    answer = answered(make(debug=operator), with_input(job, **options))
    assert ("debug" in answer) is shown
    if shown:
        assert answer["debug"]["options"] == {"a": 1}
        assert answer["debug"]["peak_memory_mb"] > 1


def test_another_worker_s_text_field_comes_beside_the_segments(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    answer = answered(make(), with_input(job, transcription="srt"))
    assert "00:00:00,000 --> " in answer["transcription"]


def test_the_parsers_warnings_reach_the_answer(make: Callable[..., Handler], job: dict[str, Any]) -> None:
    assert [w["code"] for w in answered(make(), with_input(job, enable_vad=True))["warnings"]] == [
        "option_ignored",
        "no_speech",
    ]


def test_the_real_time_factor_of_nothing_is_0() -> None:
    assert totals(time.monotonic(), 0.0)["real_time_factor"] == 0.0


def test_a_jobs_own_metadata_comes_back_with_its_result_and_with_its_failure(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    mine = {"ticket": 4711, "who": "Zoë"}
    assert answered(make(), with_input(job, metadata=mine))["metadata"] == mine
    assert "metadata" not in answered(make(), job)
    wrong = answered(make(), with_input(job, metadata=mine, beam_size=99))
    assert (wrong["code"], wrong["metadata"]) == ("invalid_input", mine)
    assert "metadata" not in answered(make(), with_input(job, metadata=["no object"]))


def test_a_refused_model_is_answered_by_the_models_that_the_endpoint_has(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    refused = failed(answered(make(), with_input(job, model="large-v2")), "invalid_input")
    assert "which has whisper, small (" in refused["error"]


def test_metadata_that_no_json_carries_comes_back_as_json_and_fails_nothing(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    odd = {"cut emoji": "\ud83d", "not a number": float("nan")}
    clean = {"cut emoji": "?", "not a number": None}
    assert answered(make(), with_input(job, metadata=odd))["metadata"] == clean
    wrong = answered(make(), with_input(job, metadata=odd, beam_size=99))
    assert (wrong["code"], wrong["metadata"]) == ("invalid_input", clean)


def test_metadata_nested_too_deeply_is_refused_before_any_work(
    make: Callable[..., Handler], job: dict[str, Any]
) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    refused = failed(answered(make(), with_input(job, metadata={"x": deep})), "invalid_input")
    assert [p["key"] for p in refused["details"]["problems"]] == ["metadata"]
