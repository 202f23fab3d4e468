"""`scribe status`, `check` and `delete`: what they show of a job, the endpoint and the storage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.person import ANSWER, Desk, Hand, answered, storing
from support.s3server import S3Server

from scribe.app import main


def finished(desk: Desk, work: Any = answered) -> str:
    """The id of a job that ended."""
    with Hand(desk.platform, work) as hand:
        desk.run(desk.recording("a.mp3"), "--force")
    return str(hand.jobs[0]["id"])


def test_status_shows_a_finished_job_with_its_warnings(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    warning = {"stage": "decode", "code": "audio_damaged", "message": "a part\x1b is missing"}
    job_id = finished(desk, lambda job: {"output": ANSWER | {"warnings": [warning]}})
    capsys.readouterr()
    assert main(["status", job_id]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("COMPLETED\n")
    assert "1 segments in 2.0 s, en" in shown
    assert "warning (decode): a part  is missing" in shown
    assert main(["status", job_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"]["segments"] == ANSWER["segments"]


def test_status_of_a_failed_job_ends_with_1_and_its_reason(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = finished(desk, lambda job: {"error": "not_audio: the file is a page"})
    assert main(["status", job_id]) == 1
    assert "FAILED\nnot_audio: the file is a page" in capsys.readouterr().out


def test_status_of_a_job_that_waits_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = desk.platform.submit({"input": {}})
    desk.export()
    assert main(["status", job_id]) == 0
    assert capsys.readouterr().out == "IN_QUEUE\n"
    desk.platform.cancel(job_id)
    assert main(["status", job_id]) == 1


def test_a_job_that_nobody_knows_or_that_cannot_be_one_is_told_apart(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.export()
    assert main(["status", "00000000-none-e1"]) == 1
    assert "knows no job 00000000-none-e1" in capsys.readouterr().err
    assert main(["status", "../health"]) == 2
    assert "no job id" in capsys.readouterr().err


def test_a_job_that_the_platform_forgot_is_found_in_the_storage(
    desk: Desk, stored: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = finished(desk, storing(stored))
    del desk.platform._endpoint.records[job_id]
    assert main(["status", job_id]) == 0
    assert f"json: transcripts/{job_id}/f00d/transcript.json" in capsys.readouterr().out


def test_check_asks_the_endpoint_and_the_storage(
    desk: Desk, stored: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.export()
    assert main(["check", "--client"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in shown] == [["endpoint", "ok"], ["storage", "ok"]]
    assert stored.objects() == {}, "what the check has put is removed"
    stored.denied.add("PUT")
    assert main(["check", "--client", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], [f["state"] for f in report["findings"]]) == (False, ["ok", "failed"])


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        ({"RUNPOD_ENDPOINT_ID": ""}, 1, "set RUNPOD_ENDPOINT_ID"),
        ({"RUNPOD_API_KEY": ""}, 1, "set RUNPOD_API_KEY"),
        ({"RUNPOD_API_KEY": "rpa_WRONG"}, 3, "endpoint_denied"),
        ({"RUNPOD_ENDPOINT_ID": "another"}, 3, "endpoint_not_found"),
        ({"RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:9/v2"}, 3, "endpoint_unreachable"),
    ],
)
def test_check_says_what_the_client_lacks(
    desk: Desk, changed: dict[str, str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.environment |= changed
    desk.export()
    assert main(["check", "--client"]) == code
    assert told in capsys.readouterr().out
