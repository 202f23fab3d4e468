"""A result is never lost and never computed twice: the worker's storage, a real S3 server with faults, whole jobs.

Recognition is not the point: the predictor and the intake are stand-ins handed in by the constructor. `Desk` wires the
rest as the worker does; the other tests of delivery use it too.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.desk import Desk, Steered, asking, codes, got, inline_texts
from support.predictor import FakePredictor
from support.transcripts import spoken
from support.wiring import PREFIX, answered

from scribe.errors import StorageUnavailable
from scribe.formats import FORMATS
from scribe.schema.warnings import JobWarning
from scribe.storage.s3 import Storage


@pytest.fixture
def server() -> Iterator[Steered]:
    with Steered() as running:
        yield running


@pytest.fixture
def desk(server: Steered) -> Desk:
    return Desk(server)


def test_every_format_is_stored_and_read_by_its_link(desk: Desk) -> None:
    answer = answered(desk.handler(FakePredictor(), desk.storage()), asking(formats=list(FORMATS), align_output=True))
    assert set(answer["artifacts"]) == set(FORMATS)
    for name, artifact in answer["artifacts"].items():
        status, data = got(artifact["url"])
        assert (status, len(data)) == (200, artifact["bytes"]), name
        assert b"Sentence" in data, name
    assert (answer["warnings"], answer["segments"], answer["segments_total"]) == ([], [], 60)


def test_the_same_job_twice_runs_the_models_once_and_gets_fresh_links(desk: Desk) -> None:
    predictor = FakePredictor()
    job = asking(formats=["srt", "txt"], inline="full")
    first = answered(desk.handler(predictor, desk.storage()), job)
    second = answered(desk.handler(predictor, desk.storage(presign_ttl=7200)), job)
    assert predictor.runs == 1
    assert {**first, "artifacts": 0} == {**second, "artifacts": 0}
    for name in ("srt", "txt"):
        old, new = first["artifacts"][name], second["artifacts"][name]
        assert (new["key"], new["bytes"]) == (old["key"], old["bytes"])
        assert new["expires_at"] > old["expires_at"]
        assert got(new["url"])[0] == 200


@pytest.mark.parametrize(
    "other", [asking(formats=["srt"], beam_size=2), asking(formats=["txt"]), asking("job-2", formats=["srt"])]
)
def test_another_input_or_another_id_is_another_job(desk: Desk, other: dict[str, Any]) -> None:
    predictor = FakePredictor()
    handler = desk.handler(predictor, desk.storage())
    first, second = answered(handler, asking(formats=["srt"])), answered(handler, other)
    assert predictor.runs == 2
    keys = [{a["key"] for a in answer["artifacts"].values()} for answer in (first, second)]
    assert not keys[0] & keys[1]


def test_keys_that_may_not_list_store_and_recall_all_the_same(desk: Desk, server: Steered) -> None:
    server.may_list = False
    predictor = FakePredictor()
    handler = desk.handler(predictor, desk.storage())
    assert answered(handler, asking())["artifacts"]["json"]["url"]
    assert answered(handler, asking())["warnings"] == []
    assert predictor.runs == 1


def test_the_mark_is_written_after_every_artifact(desk: Desk, server: Steered) -> None:
    answered(desk.handler(FakePredictor(), desk.storage()), asking(formats=list(FORMATS)))
    written = [seen.path.rsplit("/", 1)[-1] for seen in server.requests if seen.method == "PUT"]
    assert written == [f"transcript.{form.extension}" for form in FORMATS.values()] + ["result.json"]


@pytest.mark.parametrize("formats", [["json"], ["json", "srt", "vtt"]])
def test_a_mark_that_could_not_be_written_leaves_nothing_that_reads_as_finished(
    desk: Desk, server: Steered, formats: list[str]
) -> None:
    predictor = FakePredictor()
    handler = desk.handler(predictor, desk.storage())
    server.let_pass(1 + len(formats))
    server.hang_up()
    first = answered(handler, asking(formats=formats))
    assert set(first["artifacts"]) == set(formats)
    assert server.commits() == []
    second = answered(handler, asking(formats=formats))
    assert predictor.runs == 2
    assert set(second["artifacts"]) == set(formats)
    assert len(server.commits()) == 1


CHILD = """
import sys
sys.path[:0] = sys.argv[1:3]
from support.desk import Desk, asking
from support.predictor import FakePredictor
from support.s3server import S3Server
from support.wiring import answered

class Remote(S3Server):
    def __init__(self, endpoint, bucket, access_key, secret_key):
        self.address, self.bucket, self.access_key, self.secret_key = endpoint, bucket, access_key, secret_key
    endpoint = property(lambda self: self.address)

desk = Desk(Remote(*sys.argv[3:7]))
answered(desk.handler(FakePredictor(), desk.storage(read_timeout=60.0)), asking(formats=["json", "srt"]))
"""


def test_a_worker_killed_before_the_mark_leaves_nothing_that_reads_as_finished(desk: Desk, server: Steered) -> None:
    server.let_pass(3)
    reached = server.hold()
    tests = Path(__file__).resolve().parents[1]
    place = (server.endpoint, server.bucket, server.access_key, server.secret_key)
    worker = subprocess.Popen([sys.executable, "-c", CHILD, str(tests.parent / "src"), str(tests), *place])
    try:
        assert reached.wait(60), "the worker did not come to the mark"
    finally:
        worker.kill()
        worker.wait(30)
    assert sorted(key.rsplit("/", 1)[-1] for key in server.objects()) == ["transcript.json", "transcript.srt"]
    predictor = FakePredictor()
    answer = answered(desk.handler(predictor, desk.storage()), asking(formats=["json", "srt"]))
    assert predictor.runs == 1
    assert set(answer["artifacts"]) == {"json", "srt"}
    assert len(server.commits()) == 1


def test_a_worker_that_dies_after_the_mark_is_answered_for_by_the_next(desk: Desk) -> None:
    lost = answered(desk.handler(FakePredictor(), desk.storage()), asking(inline="full"))
    next_worker = FakePredictor()
    answer = answered(Desk(desk.server).handler(next_worker, desk.storage()), asking(inline="full"))
    assert next_worker.runs == 0
    assert answer["segments"] == lost["segments"]
    assert got(answer["artifacts"]["json"]["url"])[0] == 200


def test_two_workers_with_the_same_job_at_once_both_answer_right(desk: Desk, server: Steered) -> None:
    together = threading.Barrier(2, timeout=30)
    predictors = [FakePredictor(work=lambda run: together.wait()) for _ in range(2)]
    handlers = [desk.handler(predictor, desk.storage()) for predictor in predictors]

    async def both() -> list[dict[str, Any]]:
        return await asyncio.gather(*(handler(asking(inline="full", formats=["json", "vtt"])) for handler in handlers))

    first, second = asyncio.run(both())
    assert [predictor.runs for predictor in predictors] == [1, 1]
    for answer in (first, second):
        assert answer["segments_total"] == len(answer["segments"]) == 60
        assert answer["warnings"] == []
        assert all(got(artifact["url"])[0] == 200 for artifact in answer["artifacts"].values())
    assert len(server.commits()) == 1


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b'{"artifacts": {}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"artifacts": {"json": {"key": 5}}, "warnings": []}',
        b'{"artifacts": {"json": {"key": "k"}}, "warnings": [1]}',
        b'{"artifacts": {}, "warnings": [], "duration": NaN}',
    ],
    ids=["empty", "half", "deep", "binary", "key", "warning", "nan"],
)
def test_a_mark_that_cannot_be_read_is_ignored_and_replaced(desk: Desk, server: Steered, stored: bytes) -> None:
    predictor = FakePredictor()
    handler = desk.handler(predictor, desk.storage())
    answered(handler, asking())
    (key,) = server.commits()
    desk.storage().put(key, stored, "application/json", "result.json")
    answer = answered(handler, asking())
    assert predictor.runs == 2
    assert answer["artifacts"]["json"]["url"]
    assert json.loads(server.objects()[key][0])["segments_total"] == 60


def test_what_the_deadline_cut_short_is_stored_and_never_committed(desk: Desk, server: Steered) -> None:
    predictor = FakePredictor(partial=True)
    handler = desk.handler(predictor, desk.storage())
    assert answered(handler, asking(deadline_s=60))["partial"] is True
    assert server.commits() == []
    predictor.partial = False
    whole = answered(handler, asking(deadline_s=60))
    assert (predictor.runs, whole["partial"]) == (2, False)
    assert len(server.commits()) == 1


@pytest.mark.parametrize("fault", ["fail", "hang_up"])
def test_a_storage_that_is_down_at_first_does_not_stop_the_job(desk: Desk, server: Steered, fault: str) -> None:
    getattr(server, fault)()
    predictor = FakePredictor()
    answer = answered(desk.handler(predictor, desk.storage()), asking())
    assert predictor.runs == 1
    assert answer["artifacts"]["json"]["url"]
    assert len(server.commits()) == 1


def test_a_storage_that_fails_and_recovers_is_asked_again_and_loses_nothing(desk: Desk, server: Steered) -> None:
    server.let_pass()
    server.fail(503)
    answer = answered(desk.handler(FakePredictor(), desk.storage(attempts=2)), asking())
    assert [seen.status for seen in server.requests] == [404, 503, 200, 200]
    assert (answer["warnings"], set(answer["artifacts"])) == ([], {"json"})


@pytest.mark.parametrize(("status", "code"), [(503, "storage_unavailable"), (403, "storage_denied")])
def test_a_storage_that_fails_at_the_end_sends_the_whole_transcript_inline(
    desk: Desk, server: Steered, status: int, code: str
) -> None:
    server.let_pass()
    server.fail(status, "SlowDown" if status == 503 else "AccessDenied", times=20)
    answer = answered(desk.handler(FakePredictor(), desk.storage()), asking(formats=["json", "srt"], align_output=True))
    assert inline_texts(answer) == [f"Sentence {n}." for n in range(60)]
    assert all(segment["words"] for segment in answer["segments"])
    assert (answer["artifacts"], answer["truncated"]) == ({}, False)
    warnings = [warning for warning in answer["warnings"] if warning["code"] == code]
    assert [warning["message"].split()[0] for warning in warnings] == ["json", "srt"]
    assert all(("send the job again" in warning["message"]) is (status == 503) for warning in warnings)
    server.over()
    assert server.objects() == {}


def test_one_format_that_fails_is_named_and_the_others_are_stored(desk: Desk, server: Steered) -> None:
    server.let_pass(2)
    server.fail(503)
    predictor = FakePredictor()
    handler = desk.handler(predictor, desk.storage())
    answer = answered(handler, asking(formats=["json", "srt", "txt"]))
    assert set(answer["artifacts"]) == {"json", "txt"}
    (warning,) = answer["warnings"]
    assert warning["code"] == "storage_unavailable"
    assert warning["message"].startswith("srt ")
    assert len(answer["segments"]) == 60
    assert server.commits() == []
    again = answered(handler, asking(formats=["json", "srt", "txt"]))
    assert (predictor.runs, set(again["artifacts"]), again["warnings"]) == (2, {"json", "srt", "txt"}, [])


def size_of(answer: Mapping[str, Any]) -> int:
    return len(json.dumps(answer, ensure_ascii=False).encode())


def test_what_is_only_inline_leaves_its_words_out_before_any_sentence(server: Steered) -> None:
    server.let_pass()
    server.fail(503, times=20)
    desk = Desk(server, result_max_bytes=60_000)
    answer = answered(desk.handler(FakePredictor(spoken(400)), desk.storage()), asking(align_output=True))
    assert inline_texts(answer) == [f"Sentence {n}." for n in range(400)]
    assert not any("words" in segment for segment in answer["segments"])
    assert size_of(answer) <= 60_000
    assert {"storage_unavailable", "result_truncated"} == set(codes(answer))


def test_what_is_only_inline_keeps_as_many_sentences_as_fit(server: Steered) -> None:
    server.let_pass()
    server.fail(503, times=20)
    desk = Desk(server, result_max_bytes=20_000)
    answer = answered(desk.handler(FakePredictor(spoken(400)), desk.storage()), asking(align_output=True))
    shown = inline_texts(answer)
    assert 50 < len(shown) < 400
    assert shown == [f"Sentence {n}." for n in range(len(shown))]
    assert 19_000 < size_of(answer) <= 20_000
    assert answer["truncated"] is True
    (told,) = [warning for warning in answer["warnings"] if warning["code"] == "result_truncated"]
    assert f"{len(shown)} of 400" in told["message"]
    assert "send the job again" in told["message"]


class CannotPresign(Storage):
    """The real storage, but for its signer."""

    def presign(self, key: str) -> tuple[str, str]:
        raise StorageUnavailable("no signer")


def test_a_link_that_cannot_be_signed_leaves_the_key_and_is_signed_when_the_job_comes_again(
    desk: Desk, server: Steered
) -> None:
    unsigned = CannotPresign(server.endpoint, server.bucket, server.access_key, server.secret_key, PREFIX, attempts=1)
    predictor = FakePredictor()
    answer = answered(desk.handler(predictor, unsigned), asking())
    artifact = answer["artifacts"]["json"]
    assert artifact["url"] is None
    assert artifact["key"] in server.objects()
    assert codes(answer) == ["presign_failed"]
    assert codes(answered(desk.handler(predictor, unsigned), asking())) == ["presign_failed"]
    again = answered(desk.handler(predictor, desk.storage()), asking())
    assert predictor.runs == 1
    assert got(again["artifacts"]["json"]["url"])[0] == 200
    assert again["warnings"] == []


def test_the_warnings_of_the_work_come_again_with_the_answer(desk: Desk) -> None:
    told = JobWarning("speaker_count", "diarize", "2 speakers were asked for and 1 could be told apart")
    predictor = FakePredictor(warnings=(told,))
    handler = desk.handler(predictor, desk.storage())
    assert answered(handler, asking())["warnings"] == answered(handler, asking())["warnings"] == [told.to_dict()]
    assert predictor.runs == 1
