"""Every job file of samples/jobs over the real SDK loop: its warnings, its keys, its shape, its progress.

One worker with a storage serves the module; the files are submitted together and answered one after the other.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from support.s3server import S3Server

import docs

from .files import FileServer
from .platform import Platform
from .record import Record
from .test_contract import PATIENCE, STAGES, assert_heard, assert_shows_nothing_of_the_inside, short_job
from .truth import SAMPLES
from .worker import WorkerProcess, demo_environment

FILES = sorted(path.stem for path in (SAMPLES / "jobs").glob("*.json") if path.stem != "schema")

# Of each file: what its warnings name, its artifacts, how many of its segments travel, the stages that it passes.
WARNED: dict[str, set[str]] = {
    "faster_whisper": {"translation", "best_of", "condition_on_previous_text", "enable_vad", "suppress_tokens"}
    | {"temperature_increment_on_fallback"},
    "kod": {"huggingface_access_token"},
    "subtitles": {"interpolate_method"},
    "voices": {"speaker_verification"},
}
ARTIFACTS = {
    "call": {"json", "vtt"},
    "conversation": {"json", "srt", "vtt", "tsv", "txt"},
    "delivery": {"json", "srt"},
    "meeting": {"json", "srt"},
    "source": {"srt", "vtt", "txt"},
    "subtitles": {"json", "srt", "vtt", "html", "txt"},
}
FULL = {"base64", "call", "conversation", "deadline", "meeting", "options"}
PREVIEW = {"source"}
HEARD = {
    "call": "call",
    "conversation": "conversation",
    "deadline": "voices/anna",
    "meeting": "meeting",
}


@pytest.fixture(scope="module")
def own() -> Iterator[S3Server]:
    """The worker's storage."""
    with S3Server() as running:
        yield running


@pytest.fixture(scope="module")
def theirs() -> Iterator[S3Server]:
    """The bucket of whoever sends the job."""
    with S3Server() as running:
        yield running


@pytest.fixture(scope="module")
def worker(
    platform: Platform, files: FileServer, own: S3Server, theirs: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    folder = tmp_path_factory.mktemp("worker")
    hosts = ",".join([files.host, *(server.endpoint.removeprefix("http://") for server in (own, theirs))])
    more = {
        "STORAGE_ENDPOINT": own.endpoint,
        "STORAGE_BUCKET": own.bucket,
        "STORAGE_ACCESS_KEY": own.access_key,
        "STORAGE_SECRET_KEY": own.secret_key,
        "PRINT_MOUNTS": "1",
        "DEBUG": "0",
        "CONSOLE_LOG_LEVEL": "DEBUG",
    }
    with WorkerProcess(platform, demo_environment(hosts, folder / "jobs") | more, cwd=folder) as running:
        yield running


@pytest.fixture(scope="module")
def submitted(platform: Platform, files: FileServer, theirs: S3Server, worker: WorkerProcess) -> dict[str, str]:
    """{job file: id}, all of them in the queue."""
    return {name: platform.submit(job_of(name, files, theirs)) for name in FILES}


@pytest.fixture
def record(request: pytest.FixtureRequest, platform: Platform, submitted: dict[str, str]) -> Record:
    """The job file that the test is about, when it is done."""
    return platform.wait(submitted[request.node.callspec.params["name"]], len(FILES) * PATIENCE)


def job_of(name: str, files: FileServer, theirs: S3Server) -> dict[str, Any]:
    """The file as it is, its addresses on loopback and its bucket a real one."""
    job = files.localize(json.loads((SAMPLES / "jobs" / f"{name}.json").read_text()))
    if "s3Config" in job:
        job["s3Config"] = {
            "accessId": theirs.access_key,
            "accessSecret": theirs.secret_key,
            "bucketName": theirs.bucket,
            "endpointUrl": theirs.endpoint,
        }
        job["input"]["result_urls"] = {name: presigned_put(theirs, name) for name in job["input"]["result_urls"]}
    return job


def presigned_put(server: S3Server, key: str) -> str:
    session = boto3.session.Session(server.access_key, server.secret_key, region_name=server.region)
    path = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    s3 = session.client("s3", endpoint_url=server.endpoint, config=path)
    return s3.generate_presigned_url("put_object", {"Bucket": server.bucket, "Key": key}, ExpiresIn=3600)


def read(artifact: dict[str, Any]) -> str:
    with urllib.request.urlopen(artifact["url"], timeout=30) as response:
        return response.read().decode()


def answer_of(name: str, platform: Platform, submitted: dict[str, str]) -> dict[str, Any]:
    record = platform.wait(submitted[name], len(FILES) * PATIENCE)
    assert record.status == "COMPLETED", record.error
    return record.output


@pytest.mark.parametrize("name", FILES)
def test_a_job_file_is_answered_in_the_documented_shape(name: str, record: Record) -> None:
    assert record.status == "COMPLETED", record.error
    answer, asked = record.output, json.loads((SAMPLES / "jobs" / f"{name}.json").read_text())["input"]
    without = {key for key in ("transcription", "metadata", "debug") if not asked.get(key)} | {"texts"}
    assert set(answer) == set(docs.ANSWER) - without
    assert (answer["schema_version"], answer["job_id"], answer["partial"]) == ("1", record.id, False)
    assert set(answer["artifacts"]) == ARTIFACTS.get(name, {"json"})
    shown = answer["segments_total"] if name in FULL | PREVIEW else 0
    assert (len(answer["segments"]), answer["truncated"]) == (shown, shown < answer["segments_total"])
    assert answer["segments_total"] > 0
    assert any("words" in s for s in answer["segments"]) is (name in FULL and bool(asked.get("align_output")))
    assert {"total", "real_time_factor"} <= set(answer["timings"])
    assert_shows_nothing_of_the_inside(record)


@pytest.mark.parametrize("name", FILES)
def test_its_warnings_name_what_did_nothing_and_nothing_else(name: str, record: Record) -> None:
    told = [warning["message"].split()[0].rstrip(":") for warning in record.output["warnings"]]
    assert sorted(told) == sorted(WARNED.get(name, set()))


@pytest.mark.parametrize("name", FILES)
def test_its_progress_comes_in_order_and_ends_before_the_answer(name: str, record: Record) -> None:
    stages = [event["stage"] for event in record.progress]
    percents = [event["percent"] for event in record.progress]
    assert stages == sorted(stages, key=STAGES.index)
    assert percents == sorted(percents)
    assert all(0 <= event[key] <= 100 for event in record.progress for key in ("percent", "stage_percent"))
    assert record.late == []


@pytest.mark.parametrize("name", HEARD)
def test_its_words_are_those_of_the_recording(name: str, record: Record) -> None:
    assert_heard(record.output["segments"], HEARD[name])


def test_without_a_language_its_probability_is_told(platform: Platform, submitted: dict[str, str]) -> None:
    minimal, kod = (answer_of(name, platform, submitted) for name in ("minimal", "kod"))
    for answer in (minimal, kod):
        assert answer["detected_language"] == "en"
        assert 0 < answer["language_probability"] <= 1
    assert answer_of("deadline", platform, submitted)["language_probability"] is None


def test_debug_returns_the_options_as_the_job_asked_for_them(platform: Platform, submitted: dict[str, str]) -> None:
    asked = json.loads((SAMPLES / "jobs" / "options.json").read_text())["input"]
    debug = answer_of("options", platform, submitted)["debug"]
    names = set(asked) - {"audio_url", "model", "inline", "metadata", "debug"}
    assert {name: debug["options"][name] for name in names} == {name: asked[name] for name in names}
    assert debug["options"]["model"] == "whisper"
    assert debug["peak_memory_mb"] > 100


def test_subtitles_keep_their_line_and_mark_the_spoken_word(platform: Platform, submitted: dict[str, str]) -> None:
    artifacts = answer_of("subtitles", platform, submitted)["artifacts"]
    srt = read(artifacts["srt"])
    cues = [cue.splitlines()[2:] for cue in srt.strip().split("\n\n")]
    assert all(len(lines) == 1 and len(re.sub(r"</?u>", "", lines[0])) <= 32 for lines in cues)
    assert srt.count("<u>") > 20
    words = json.loads(read(artifacts["json"]))["word_segments"]
    assert all(word["chars"] for word in words if word["score"])
    assert read(artifacts["html"]).lower().startswith("<!doctype html>")


def test_names_come_from_the_query_the_fragment_and_the_file(platform: Platform, submitted: dict[str, str]) -> None:
    answer = answer_of("voices", platform, submitted)
    assert {speaker["name"] for speaker in answer["speakers"]} == {"Anna B.", "Mark"}
    options = answer["debug"]["options"]
    assert (options["speaker_threshold"], options["speaker_margin"]) == (0.4, 0.05)
    for speaker in answer["speakers"]:
        scores = options["speaker_scores"][speaker["label"]]
        assert set(scores) == {"Anna B.", "Mark", "nina"}
        assert speaker["score"] == max(scores.values()) >= 0.4
        embedding = speaker["embedding"]
        assert len(embedding["vector"]) == embedding["dimension"]
        assert embedding["seconds"] > 1
        assert embedding["model"] == answer["models"]["name"]


def test_an_embedding_names_the_same_voice_in_the_next_job(
    platform: Platform, files: FileServer, submitted: dict[str, str]
) -> None:
    speakers = answer_of("voices", platform, submitted)["speakers"]
    known = [{"name": f"{s['name']} again", "embedding": s["embedding"]} for s in speakers]
    job = short_job(files, speaker_verification=True, num_speakers=1, speaker_samples=known)
    record = platform.wait(platform.submit(job), PATIENCE)
    assert [speaker["name"] for speaker in record.output["speakers"]] == ["Anna B. again"]


def test_a_stored_transcript_gets_other_names_and_formats_without_its_audio(
    platform: Platform, files: FileServer, submitted: dict[str, str]
) -> None:
    before = answer_of("voices", platform, submitted)
    job = {
        "source": {"transcript_url": before["artifacts"]["json"]["url"]},
        "speaker_verification": True,
        "speaker_samples": [{"url": f"{files.url}voices/{n}.flac", "name": n.upper()} for n in ("anna", "mark")],
        "formats": ["txt"],
        "beam_size": 7,
    }
    record = platform.wait(platform.submit({"input": job}), PATIENCE)
    assert record.status == "COMPLETED", record.error
    assert {s["name"] for s in record.output["speakers"]} == {"ANNA", "MARK"}
    assert "ANNA" in read(record.output["artifacts"]["txt"])
    assert [w["message"].split()[0] for w in record.output["warnings"]] == ["beam_size"]
    assert "transcribe" not in record.output["timings"]


def test_the_voice_in_a_job_without_addresses_is_named(platform: Platform, submitted: dict[str, str]) -> None:
    answer = answer_of("base64", platform, submitted)
    assert [speaker["name"] for speaker in answer["speakers"]] == ["Anna"]
    assert {segment["speaker"] for segment in answer["segments"]} == {"Anna"}


def test_each_channel_of_a_call_is_its_speaker(platform: Platform, submitted: dict[str, str]) -> None:
    answer = answer_of("call", platform, submitted)
    assert [(s["label"], s["name"]) for s in answer["speakers"]] == [("CHANNEL_1", "Anna"), ("CHANNEL_2", "Oscar")]
    starts = [segment["start"] for segment in answer["segments"]]
    assert starts == sorted(starts)
    assert "diarize" not in answer["timings"]


def test_a_meeting_has_as_many_speakers_as_it_asks_for(platform: Platform, submitted: dict[str, str]) -> None:
    answer = answer_of("meeting", platform, submitted)
    assert [speaker["name"] for speaker in answer["speakers"]] == [None] * 3


def test_results_go_where_the_job_says_and_its_keys_are_seen_nowhere(
    platform: Platform, submitted: dict[str, str], worker: WorkerProcess, own: S3Server, theirs: S3Server
) -> None:
    artifacts = answer_of("delivery", platform, submitted)["artifacts"]
    held = theirs.objects()
    assert held["srt"][0].decode().startswith("1\n")
    assert json.loads(held[artifacts["json"]["key"]][0])["segments"]
    assert (artifacts["srt"]["key"], "?" in artifacts["srt"]["url"]) == (None, False)
    assert submitted["delivery"] not in "".join(own.objects())
    for secret in (theirs.secret_key, theirs.access_key, own.secret_key):
        assert secret not in worker.text_of(submitted["delivery"])


def test_a_deadline_that_passes_before_anything_is_finished_is_told(
    platform: Platform, files: FileServer, worker: WorkerProcess
) -> None:
    record = platform.wait(platform.submit(short_job(files, deadline_s=0.001)), PATIENCE)
    assert (record.status, record.output["code"]) == ("FAILED", "deadline_reached")
    assert record.output["retryable"] is False


@pytest.mark.parametrize(("model", "status"), [("whisper", "COMPLETED"), ("large-v3", "FAILED")])
def test_only_an_allowed_model_is_taken(
    platform: Platform, files: FileServer, worker: WorkerProcess, model: str, status: str
) -> None:
    record = platform.wait(platform.submit(short_job(files, model=model)), PATIENCE)
    assert record.status == status
    if status == "FAILED":
        assert [p["key"] for p in record.output["details"]["problems"]] == ["model"]
        worker.text_with(f"error_id {record.output['error_id']}")


def test_every_event_is_one_line_of_json_and_the_mounts_come_first(
    worker: WorkerProcess, platform: Platform, submitted: dict[str, str]
) -> None:
    answer_of("minimal", platform, submitted)
    worker.text_of(submitted["minimal"])
    lines = [line for line in worker.log if line.strip()]
    assert [line for line in lines if not line.startswith("{") and "Starting Serverless Worker" not in line] == []
    events = [json.loads(line) for line in lines if line.startswith("{")]
    messages = [event["message"] for event in events]
    assert any(re.fullmatch(r"mount /: [\d.]+ GB free of [\d.]+ GB", message) for message in messages)
    assert "[Predict] device=cpu compute_type=int8" in messages
    assert "[Predict] whisper_arch=whisper (path)" in messages
    (options,) = [m for m in messages if m.startswith("effective options") and '"beam_size": 3' in m]
    assert "peak memory" in options
    assert "camera" not in options, "a prompt is what somebody says"
    done = [e["job"] for e in events if e["message"].startswith("job done in") and "job" in e]
    assert submitted["minimal"] in done
