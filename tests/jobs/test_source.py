"""`source.transcript_url`: a stored transcript in other formats, or with its speakers named anew, without audio and GPU.

The transcripts lie on a real S3 server and are fetched by presigned links; the predictor is the worker's own with the
demo models, of which only the speaker encoder is ever loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from contract.files import FileServer
from support.demo import SAMPLES, asked, excerpt, job_context, models, predictor, recording
from support.desk import Desk, Steered, asking, codes, got
from support.predictor import FakePredictor
from support.transcripts import spoken
from support.wiring import PREFIX, answered, guarded, intake_at

from rp_handler import Handler
from scribe.errors import DeadlineReached
from scribe.formats import FORMATS, TextOptions, render_all
from scribe.formats.json import to_dict

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def server() -> Iterator[Steered]:
    with Steered() as running:
        yield running


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    with FileServer(SAMPLES) as running:
        yield running


@pytest.fixture(scope="module")
def desk(server: Steered) -> Desk:
    return Desk(server)


@pytest.fixture
def worker(desk: Desk, files: FileServer, tmp_path: Path) -> Handler:
    client = guarded(desk.allowed | {files.host})
    return desk.handler(predictor(), desk.storage(), intake_at(tmp_path, desk.settings, client), client)


def link_to(desk: Desk, data: bytes | dict[str, Any], name: str = "stored") -> str:
    """A presigned link to these bytes, as an earlier answer would hold it."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    key = f"{PREFIX}/{name}/f00d/transcript.json"
    desk.storage().put(key, body, "application/json", "transcript.json")
    return desk.storage().presign(key)[0]


def from_source(url: str, job_id: str, **options: Any) -> dict[str, Any]:
    return {"id": job_id, "input": {"source": {"transcript_url": url}, **options}}


def test_other_formats_come_from_a_stored_transcript_as_if_asked_for_at_once(desk: Desk, worker: Handler) -> None:
    first = answered(desk.handler(FakePredictor(), desk.storage()), asking("first", align_output=True))
    others = [name for name in FORMATS if name != "json"]
    url = first["artifacts"]["json"]["url"]
    second = answered(worker, from_source(url, "second", formats=others, max_line_width=30, highlight_words=True))
    expected = render_all(spoken(60), others, TextOptions(30, 2, True))
    assert {name: got(a["url"])[1] for name, a in second["artifacts"].items()} == expected
    assert (second["models"], second["warnings"]) == ({}, [])
    assert (second["detected_language"], second["duration"], second["segments_total"]) == ("en", 60.0, 60)
    assert not {"transcribe", "align", "diarize"} & set(second["timings"])


def test_a_transcript_goes_through_unchanged(desk: Desk, worker: Handler) -> None:
    stored = to_dict(spoken(60))
    answer = answered(worker, from_source(link_to(desk, stored), "same", formats=["json"], inline="full"))
    assert json.loads(got(answer["artifacts"]["json"]["url"])[1]) == stored
    assert answer["segments"] == stored["segments"]
    assert answer["speakers"] == stored["speakers"]


def test_a_job_from_a_source_is_done_once(desk: Desk, worker: Handler, server: Steered) -> None:
    job = from_source(link_to(desk, to_dict(spoken(3))), "once", formats=["srt"])
    first = answered(worker, job)
    read = sum(seen.path.startswith(f"/{server.bucket}/{PREFIX}/stored/") for seen in server.requests)
    second = answered(worker, job)
    assert {**first, "artifacts": 0} == {**second, "artifacts": 0}
    again = sum(seen.path.startswith(f"/{server.bucket}/{PREFIX}/stored/") for seen in server.requests)
    assert again == read


@cache
def heard() -> dict[str, Any]:
    """Two speakers by the embeddings of their own voices, under names that are wrong."""
    encoder = models().encoder()
    speakers = []
    for label, who in (("SPEAKER_00", "anna"), ("SPEAKER_01", "mark")):
        audio = recording(f"voices/{who}.flac")[0]
        half = audio.seconds / 2
        voice = encoder.voice(excerpt(f"half-{who}", audio, half, audio.seconds), [(0.0, half)])
        assert voice is not None
        embedding = {"model": encoder.identity, "seconds": voice.seconds, "vector": list(voice.vector)}
        speakers.append({"label": label, "name": f"Old {label}", "seconds": 30.0, "embedding": embedding})
    return to_dict(spoken(60)) | {"speakers": speakers}


def naming(files: FileServer, *names: str, **options: Any) -> dict[str, Any]:
    samples = [{"url": f"{files.url}voices/{name.lower()}.flac", "name": name} for name in names]
    return {"speaker_verification": True, "speaker_samples": samples, "inline": "full", "formats": ["txt"], **options}


def test_the_speakers_are_named_anew_by_the_embeddings_that_are_stored(
    desk: Desk, worker: Handler, files: FileServer
) -> None:
    url = link_to(desk, heard())
    answer = answered(worker, from_source(url, "anew", **naming(files, "Mark", "Anna")))
    assert {s["label"]: s["name"] for s in answer["speakers"]} == {"SPEAKER_00": "Anna", "SPEAKER_01": "Mark"}
    assert all(0.5 < s["score"] <= 1.001 for s in answer["speakers"])
    assert [s["speaker"] for s in answer["segments"][:4]] == ["Anna", "Mark", "Anna", "Mark"]
    assert {w["speaker"] for w in answer["segments"][0]["words"]} == {"Anna"}
    assert answer["warnings"] == []
    assert set(answer["models"]) == {"name"}
    text = got(answer["artifacts"]["txt"]["url"])[1].decode()
    assert "Anna" in text
    assert "Old" not in text


def test_who_is_not_among_the_samples_is_unknown_again(desk: Desk, worker: Handler, files: FileServer) -> None:
    answer = answered(worker, from_source(link_to(desk, heard()), "one", **naming(files, "Mark")))
    assert {s["label"]: s["name"] for s in answer["speakers"]} == {"SPEAKER_00": None, "SPEAKER_01": "Mark"}
    assert answer["segments"][0]["speaker"] == "SPEAKER_00"


def test_an_embedding_of_an_earlier_answer_is_a_sample(desk: Desk, worker: Handler) -> None:
    known = heard()["speakers"][1]["embedding"]
    options = {"speaker_verification": True, "speaker_samples": [{"name": "Somebody", "embedding": known}]}
    answer = answered(worker, from_source(link_to(desk, heard()), "known", **options))
    assert [s["name"] for s in answer["speakers"]] == [None, "Somebody"]


def test_an_embedding_that_is_no_unit_vector_does_not_win_by_its_length(
    desk: Desk, worker: Handler, files: FileServer
) -> None:
    loud = json.loads(json.dumps(heard()))
    embedding = loud["speakers"][0]["embedding"]
    embedding["vector"] = [100 * x for x in embedding["vector"]]
    answer = answered(worker, from_source(link_to(desk, loud), "loud", **naming(files, "Anna", "Mark")))
    assert {s["name"] for s in answer["speakers"]} == {"Anna", "Mark"}
    assert all(s["score"] <= 1.001 for s in answer["speakers"])


def of_another_model() -> dict[str, Any]:
    shape = json.loads(json.dumps(heard()))
    shape["speakers"][1]["embedding"]["model"] = "another/encoder@1"
    return shape


def without_embeddings() -> dict[str, Any]:
    return to_dict(spoken(60))


def with_crippled_embeddings() -> dict[str, Any]:
    shape = json.loads(json.dumps(heard()))
    shape["speakers"][0]["embedding"]["vector"] = [0.5] * 8
    return shape


@pytest.mark.parametrize("made", [of_another_model, without_embeddings, with_crippled_embeddings])
def test_a_transcript_whose_voices_cannot_be_compared_keeps_its_names_and_says_so(
    desk: Desk, worker: Handler, files: FileServer, made: Any
) -> None:
    shape = made()
    url = link_to(desk, shape, made.__name__)
    answer = answered(worker, from_source(url, made.__name__, **naming(files, "Anna")))
    assert [s["name"] for s in answer["speakers"]] == [s["name"] for s in shape["speakers"]]
    (warning,) = answer["warnings"]
    assert warning["stage"] == "name"
    assert "the speakers keep their names" in warning["message"]
    assert got(answer["artifacts"]["txt"]["url"])[0] == 200
    strict = answered(worker, from_source(url, f"{made.__name__}-strict", **naming(files, "Anna", strict=True)))
    assert (strict["code"], strict["details"]["stage"]) == ("stage_failed", "name")


@pytest.mark.parametrize(
    ("made", "word"), [(of_another_model, "another speaker model"), (without_embeddings, "return_speaker_embeddings")]
)
def test_the_warning_says_what_to_do(desk: Desk, worker: Handler, files: FileServer, made: Any, word: str) -> None:
    answer = answered(worker, from_source(link_to(desk, made()), f"say-{made.__name__}", **naming(files, "Anna")))
    assert word in answer["warnings"][0]["message"]


NO_TRANSCRIPT = {
    "empty": b"",
    "text": b"1\n00:00:00,000 --> 00:00:01,000\nHello\n",
    "page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "list": b"[]",
    "number": b"5",
    "null": b"null",
    "other": b'{"text": "Hello"}',
    "segments": b'{"segments": 5}',
    "times": b'{"segments": [{"start": "now", "end": 1}]}',
    "nan": b'{"segments": [{"start": NaN, "end": 1, "text": "x"}]}',
    "deep": b"[" * 200_000,
    "binary": bytes(range(256)) * 10,
    "utf16": '{"segments": []'.encode("utf-16"),
}


@pytest.mark.parametrize("kind", NO_TRANSCRIPT)
def test_a_file_that_is_no_transcript_is_invalid_input(desk: Desk, worker: Handler, kind: str) -> None:
    answer = answered(worker, from_source(link_to(desk, NO_TRANSCRIPT[kind], kind), f"no-{kind}"))
    assert (answer["code"], answer["retryable"]) == ("invalid_input", False)
    assert "transcript" in answer["error"]
    assert "X-Amz" not in json.dumps(answer)


def test_a_link_that_has_expired_is_not_found(desk: Desk, worker: Handler, server: Steered) -> None:
    url = link_to(desk, to_dict(spoken(1)))
    server.ahead = 4000
    try:
        answer = answered(desk.handler(predictor(), None, worker.runner._intake), from_source(url, "late"))
    finally:
        server.ahead = 0
    assert answer["code"] == "not_found"
    assert "expired" in answer["error"]
    assert "X-Amz" not in json.dumps(answer)


IGNORED = {
    "language": "en",
    "task": "translate",
    "quality": "best",
    "beam_size": 3,
    "batch_size": 2,
    "align_output": True,
    "diarization": True,
    "num_speakers": 2,
    "return_char_alignments": True,
    "return_speaker_embeddings": True,
    "temperature": 0.5,
    "suppress_numerals": True,
    "vad_onset": 0.4,
}


def test_every_option_that_does_nothing_to_a_stored_transcript_is_told(desk: Desk, worker: Handler) -> None:
    url = link_to(desk, to_dict(spoken(1)))
    answer = answered(worker, from_source(url, "ignored", formats=["srt"], max_line_width=30, **IGNORED))
    assert set(codes(answer)) == {"option_ignored"}
    assert sorted(w["message"].split()[0] for w in answer["warnings"]) == sorted(IGNORED)


def test_a_source_beside_a_recording_is_refused(desk: Desk, worker: Handler) -> None:
    job = from_source("https://example.com/t.json", "both", audio_file="https://example.com/a.mp3")
    assert answered(worker, job)["code"] == "invalid_input"


def test_a_deadline_in_the_naming_makes_the_result_partial() -> None:
    def late() -> None:
        raise DeadlineReached("deadline_s: 1 second has passed")

    request = asked(speaker_verification=True, speaker_samples=[{"url": "http://h/anna.flac"}])
    with job_context(request, late) as context:
        assert predictor().rename(spoken(3), request, [], context) == spoken(3)
    assert context.record.partial
