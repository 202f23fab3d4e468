"""The contract, held against the worker as RunPod sees it: src/init_and_run.py, the real SDK, the demo models.

One worker serves the module, because its imports cost most of the time; the SIGTERM test is the last and ends it.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .files import FileServer
from .platform import API_KEY, Platform
from .record import Record
from .truth import SAMPLES, likeness
from .worker import REPOSITORY, NotReady, WorkerProcess, demo_environment

STAGES = ["fetch", "decode", "transcribe", "align", "diarize", "name", "publish"]
SIGNATURE = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
# A conversation takes some ten seconds on one core; the rest is for machines that are busy.
PATIENCE = 300.0


@pytest.fixture(scope="module")
def worker(platform: Platform, files: FileServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    folder = tmp_path_factory.mktemp("worker")
    with WorkerProcess(platform, demo_environment(files.host, folder / "jobs"), cwd=folder) as running:
        yield running


@pytest.fixture(scope="module")
def conversation(platform: Platform, files: FileServer, worker: WorkerProcess) -> Record:
    """The sample conversation, posted to /run, when it is done."""
    posted = post(f"{platform.url}/run", sample_job(files, "conversation"))
    return platform.wait(posted["id"], PATIENCE)


def sample_job(files: FileServer, name: str, **options: Any) -> dict[str, Any]:
    """A job of samples/jobs with its addresses on loopback, and `options` beside its own."""
    job = files.localize(json.loads((SAMPLES / "jobs" / f"{name}.json").read_text()))
    return {"input": job["input"] | options}


def short_job(files: FileServer, **options: Any) -> dict[str, Any]:
    """A few seconds of one voice: for tests in which the text is not the point."""
    return {"input": {"audio_file": f"{files.url}voices/anna.flac", "language": "en", **options}}


def post(url: str, job: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(job).encode(), {"Authorization": f"Bearer {API_KEY}"})
    with urllib.request.urlopen(request, timeout=PATIENCE + 30) as response:
        return json.load(response)


# A channel of a call is mostly pauses, at which the small model may drop a sentence.
LIKE_ENOUGH = {"call": 0.8}


def assert_heard(segments: list[dict[str, Any]], recording: str) -> None:
    """The segments' text is the recording's, up to a word in ten, or as many as LIKE_ENOUGH allows."""
    heard = " ".join(segment["text"] for segment in segments)
    assert likeness(heard, recording) > LIKE_ENOUGH.get(recording, 0.9), heard


def assert_next_job_is_right(platform: Platform, files: FileServer) -> None:
    record = platform.wait(platform.submit(short_job(files)), PATIENCE)
    assert record.status == "COMPLETED", record.error
    assert_heard(record.output["segments"], "voices/anna")


def test_a_conversation_comes_back_with_its_words_and_both_speakers_named(conversation: Record) -> None:
    assert conversation.status == "COMPLETED", conversation.error
    answer = conversation.output
    assert_heard(answer["segments"], "conversation")
    assert {speaker["name"] for speaker in answer["speakers"]} == {"Anna", "Mark"}
    assert all(speaker["score"] > 0 and speaker["seconds"] > 1 for speaker in answer["speakers"])
    assert {segment["speaker"] for segment in answer["segments"]} == {"Anna", "Mark"}
    words = [word for segment in answer["segments"] for word in segment["words"]]
    assert all(0 <= word["start"] < word["end"] <= answer["duration"] + 0.1 for word in words)
    assert (answer["detected_language"], answer["truncated"], answer["partial"]) == ("en", False, False)


def test_every_word_goes_to_the_one_who_said_it(conversation: Record) -> None:
    truth = json.loads((SAMPLES / "conversation.json").read_text())["words"]
    words = [word for segment in conversation.output["segments"] for word in segment["words"]]
    told = [min(words, key=lambda word: abs(word["start"] - said["start"]))["speaker"] for said in truth]
    right = sum(name == said["speaker"] for name, said in zip(told, truth, strict=True))
    assert right / len(truth) > 0.9


def test_the_answer_accounts_for_its_time_and_its_models(conversation: Record) -> None:
    answer = conversation.output
    assert {"fetch", "decode", "transcribe", "align", "diarize", "name", "real_time_factor"} <= set(answer["timings"])
    assert {"transcribe", "align", "diarize", "name"} <= set(answer["models"])
    assert answer["job_id"] == conversation.id
    assert answer["artifacts"] == {}, "without storage there is nothing to point at"


def test_runsync_answers_the_same_in_one_call(
    platform: Platform, files: FileServer, worker: WorkerProcess, conversation: Record
) -> None:
    answer = post(f"{platform.url}/runsync?wait={PATIENCE * 1000:.0f}", sample_job(files, "conversation"))
    assert (answer["status"], answer["id"][:5]) == ("COMPLETED", "sync-")
    assert answer["output"]["segments"] == conversation.output["segments"]
    assert answer["output"]["speakers"] == conversation.output["speakers"]


def test_progress_comes_in_order_and_ends_before_the_result(
    platform: Platform, files: FileServer, conversation: Record
) -> None:
    stages = [event["stage"] for event in conversation.progress]
    percents = [event["percent"] for event in conversation.progress]
    assert stages == sorted(stages, key=STAGES.index)
    assert len(set(stages)) >= 3, "events are a second apart, so that short stages may be passed over"
    assert percents == sorted(percents)
    assert percents[0] >= 0
    assert percents[-1] <= 100
    assert_next_job_is_right(platform, files)
    assert conversation.late == [], "nothing may follow the result"


def test_bad_input_is_told_whole_and_shows_nothing_of_the_inside(platform: Platform, worker: WorkerProcess) -> None:
    job = {
        "input": {"audio_ulr": "http://example.org/a.mp3", "batch_size": 0, "formats": ["exe"], "min_speakers": "two"}
    }
    record = platform.wait(platform.submit(job), PATIENCE)
    assert (record.status, record.output["code"], record.output["retryable"]) == ("FAILED", "invalid_input", False)
    assert record.error.startswith("invalid_input: ")
    keys = {problem["key"].split(".")[0] for problem in record.output["details"]["problems"]}
    assert {"audio_ulr", "batch_size", "formats", "min_speakers"} <= keys
    assert "did you mean audio_" in record.error
    assert_shows_nothing_of_the_inside(record)


def assert_shows_nothing_of_the_inside(record: Record) -> None:
    answer = json.dumps([record.output, record.error])
    for inside in ("Traceback", ".py", str(REPOSITORY), "site-packages", "/tmp/"):
        assert inside not in answer


@pytest.mark.parametrize("job", [{"input": None}, {"input": []}, {"input": {}}, {"input": "http://example.org/a.mp3"}])
def test_an_input_that_is_no_job_is_answered(platform: Platform, worker: WorkerProcess, job: dict[str, Any]) -> None:
    record = platform.wait(platform.submit(job), PATIENCE)
    assert (record.status, record.output["code"]) == ("FAILED", "invalid_input")
    assert "audio_file" in record.error
    assert_shows_nothing_of_the_inside(record)


def test_a_job_without_input_does_not_stop_the_worker(
    platform: Platform, files: FileServer, worker: WorkerProcess
) -> None:
    platform.submit({})
    assert_next_job_is_right(platform, files)


def test_the_result_arrives_through_a_cut_connection_and_server_errors(
    platform: Platform, files: FileServer, worker: WorkerProcess
) -> None:
    platform.faults.cuts, platform.faults.server_errors = 1, 4
    record = platform.wait(platform.submit(short_job(files)), PATIENCE)
    assert (record.status, record.refusals) == ("COMPLETED", ["cut", "503", "503", "503", "503"])
    assert_heard(record.output["segments"], "voices/anna")


def test_a_job_delivered_twice_gets_the_same_answer_twice(
    platform: Platform, files: FileServer, worker: WorkerProcess
) -> None:
    record = platform.record(platform.submit(short_job(files), deliveries=2))
    assert platform.until(lambda: len(record.late_results) == 1, PATIENCE)
    assert record.late_results[0]["output"]["segments"] == record.output["segments"]


def test_a_job_cancelled_on_the_gpu_posts_nothing_and_the_next_is_right(
    platform: Platform, files: FileServer, worker: WorkerProcess
) -> None:
    record = platform.record(platform.submit(sample_job(files, "meeting")))
    on_gpu = ("transcribe", "align", "diarize")
    assert platform.until(lambda: bool(record.progress) and record.progress[-1]["stage"] in on_gpu, PATIENCE)
    begun = STAGES.index(record.progress[-1]["stage"])
    platform.cancel(record.id)
    assert_next_job_is_right(platform, files)
    assert (record.status, record.late_results) == ("CANCELLED", [])
    after = [STAGES.index(post["output"]["stage"]) for post in record.late]
    assert max(after, default=0) <= begun + 1, "its thread went on working"


def test_a_signed_address_works_and_leaves_no_trace(
    platform: Platform, files: FileServer, worker: WorkerProcess
) -> None:
    signed = f"?X-Amz-Credential=AKIALOOPBACK&X-Amz-Signature={SIGNATURE}"
    names = ("voices/anna.flac", "voices/nobody.flac")
    jobs = [platform.submit({"input": {"audio_file": f"{files.url}{name}{signed}"}}) for name in names]
    records = [platform.wait(job, PATIENCE) for job in jobs]
    assert {f"/{name}{signed}" for name in names} <= set(files.requests)
    assert [record.status for record in records] == ["COMPLETED", "FAILED"]
    assert records[1].output["code"] == "not_found"
    for seen in (worker.text_of(*jobs), json.dumps([[record.output, record.error] for record in records])):
        assert SIGNATURE not in seen
        assert "AKIALOOPBACK" not in seen


def test_other_workers_jobs_run_and_what_does_nothing_is_said(
    platform: Platform, files: FileServer, worker: WorkerProcess
) -> None:
    short = f"{files.url}voices/anna.flac"
    answers = {}
    for name, key in (("kod", "audio_file"), ("faster_whisper", "audio")):
        record = platform.wait(platform.submit(sample_job(files, name, **{key: short})), PATIENCE)
        assert record.status == "COMPLETED", record.error
        answers[name] = record.output
        assert_heard(record.output["segments"], "voices/anna")
    log = worker.text_of(*(answer["job_id"] for answer in answers.values()))
    token = sample_job(files, "kod")["input"]["huggingface_access_token"]
    assert any("HF_TOKEN" in warning["message"] for warning in answers["kod"]["warnings"])
    assert token not in log + json.dumps(answers)
    assert "-->" in answers["faster_whisper"]["transcription"]


def test_the_log_tells_no_transcript(worker: WorkerProcess, conversation: Record) -> None:
    assert conversation.output["segments"][0]["text"].strip() not in worker.text_of(conversation.id)


def test_a_missing_diarization_model_is_a_warning_or_with_strict_an_error(files: FileServer, tmp_path: Path) -> None:
    empty = tmp_path / "no_pipeline"
    empty.mkdir()
    env = demo_environment(files.host, tmp_path / "jobs") | {"DIARIZATION_MODEL": str(empty)}
    with Platform() as platform, WorkerProcess(platform, env, cwd=tmp_path):
        lenient = platform.wait(platform.submit(short_job(files, diarization=True)), PATIENCE)
        strict = platform.wait(platform.submit(short_job(files, diarization=True, strict=True)), PATIENCE)
    assert lenient.status == "COMPLETED", lenient.error
    assert_heard(lenient.output["segments"], "voices/anna")
    assert any(warning["stage"] == "diarize" for warning in lenient.output["warnings"])
    assert (strict.status, strict.output["code"]) == ("FAILED", "stage_failed")
    assert_shows_nothing_of_the_inside(lenient)
    assert_shows_nothing_of_the_inside(strict)


def test_invalid_variables_are_told_together_before_anything_is_loaded(tmp_path: Path) -> None:
    env = {"WHISPERX_DEVICE": "gpu", "PRESIGN_TTL": "never"}
    told = pytest.raises(NotReady, match=r"exited with 78[\s\S]*WHISPERX_DEVICE[\s\S]*PRESIGN_TTL")
    with told, Platform() as platform, WorkerProcess(platform, env, cwd=tmp_path):
        pass


def test_sigterm_while_idle_ends_the_worker_with_0_and_an_empty_scratch(worker: WorkerProcess) -> None:
    assert worker.stop() == 0
    assert [path for path in worker.cwd.rglob("*") if path.is_file()] == []
