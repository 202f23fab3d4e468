"""The programs of docs/javascript-and-n8n.md run: the client on the stand-in of the platform, the receiver on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import HTTPServer
from pathlib import Path

import pytest
from contract.platform import API_KEY, Platform
from support.pages import TEXTS, blocks, shown

PAGE = "docs/javascript-and-n8n.md"
ANSWER = shown("README.md")[1][0]


def asked(address: str, body: object = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": API_KEY}
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def worked(platform: Platform, answer: object, client: subprocess.Popen[str]) -> dict[str, object]:
    """Do a worker's part once: take the client's job, post the answer. The job's input."""
    addresses = platform.environment()
    taken = b""
    while not taken and client.poll() is None:  # a poll ends without a job when its time is over
        _, taken = asked(addresses["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", "worker-1"))
    assert taken, client.communicate()[1]
    job = json.loads(taken)
    asked(
        addresses["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", "worker-1").replace("$ID", job["id"]), answer
    )
    return job["input"]


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here")
@pytest.mark.parametrize(
    ("answer", "code", "on_stdout", "on_stderr"),
    [
        ({"output": ANSWER}, 0, "0.6s Anna: The orange garden is near the hotel.", "diarization_implied: "),
        ({"error": "not_found: there is no file at the address"}, 1, "", "FAILED: "),
    ],
)
def test_the_javascript_client_prints_the_transcript_or_the_failure(
    tmp_path: Path, answer: dict[str, object], code: int, on_stdout: str, on_stderr: str
) -> None:
    program = tmp_path / "transcribe.mjs"
    program.write_text(blocks(TEXTS[PAGE], "js")[0], encoding="utf-8")
    with Platform() as platform:
        base, _, endpoint = platform.url.rpartition("/")
        own = {"RUNPOD_ENDPOINT_BASE_URL": base, "ENDPOINT_ID": endpoint, "RUNPOD_API_KEY": API_KEY}
        node = subprocess.Popen(
            ["node", str(program)],
            env={"PATH": os.environ["PATH"], "AUDIO_URL": "https://example.com/talk.mp3"} | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        given = worked(platform, answer, node)
        out, err = node.communicate(timeout=120)
    assert given == {"audio_file": "https://example.com/talk.mp3", "inline": "full", "diarization": True}
    assert (node.returncode, on_stdout in out, on_stderr in err) == (code, True, True), err


def test_the_receiver_takes_what_runpod_posts_and_refuses_who_does_not_know_the_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    program: dict[str, object] = {"__name__": "receiver"}
    exec(compile(blocks(TEXTS[PAGE], "python")[0], PAGE, "exec"), program)
    server = HTTPServer(("127.0.0.1", 0), program["Receiver"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/hooks/transcripts?secret="
        done = {"id": "5f0c2a6e-1", "status": "COMPLETED", "output": ANSWER}
        assert asked(f"{address}choose-one", done)[0] == 200
        assert asked(f"{address}wrong", done)[0] == 403
    finally:
        server.shutdown()
        server.server_close()
    assert capsys.readouterr().out == "5f0c2a6e-1 COMPLETED 22 segments\n"
