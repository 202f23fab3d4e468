"""A person at a terminal: the command over a stand-in of the platform, and a hand that plays the worker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from contract.platform import API_KEY, ENDPOINT, Platform
from contract.worker import SURROUNDINGS

from scribe.app import main
from scribe.cli.state import STATE_FILE
from scribe.storage.s3 import Storage
from support.s3server import S3Server, s3_server  # noqa: F401 (the fixture)

PATIENCE = 120.0
SRC = Path(__file__).resolve().parents[2] / "src"
SAMPLES = SRC.parent / "samples"


SOUND = "SUQzIHNvdW5k"  # ID3 sound


WORDS = [
    {"word": "Hello", "start": 0.0, "end": 0.4, "score": 0.9},
    {"word": "there.", "start": 0.5, "end": 1.0, "score": 0.9},
]


ANSWER = {
    "schema_version": "1", "detected_language": "en", "language_probability": 1.0, "duration": 2.0,
    "segments": [{"start": 0.0, "end": 1.0, "text": "Hello there.", "words": WORDS, "speaker": "Alice",
                  "speaker_label": "SPEAKER_00"}],
    "segments_total": 1, "truncated": False, "partial": False,
    "speakers": [{"label": "SPEAKER_00", "name": "Alice", "score": 0.8, "seconds": 1.0,
                  "embedding": {"model": "ecapa", "dimension": 2, "seconds": 1.0, "vector": [0.6, 0.8]}}],
    "artifacts": {}, "warnings": [], "timings": {"total": 1.0}, "models": {},
}  # fmt: skip


class Hand:
    """Plays the worker: takes each job, and posts what `work(job)` returns; None posts nothing, as a worker that died."""

    def __init__(self, platform: Platform, work: Callable[[dict[str, Any]], Mapping[str, Any] | None]) -> None:
        self.jobs: list[dict[str, Any]] = []
        self._platform = platform
        self._work = work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Hand:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        session = requests.Session()
        session.headers["Authorization"] = API_KEY
        while not self._ended.is_set():
            taken = session.get(f"{self._platform.url}/job-take/hand", timeout=30)
            if taken.status_code == 200:
                self.jobs.append(taken.json())
                if (post := self._work(self.jobs[-1])) is not None:
                    session.post(f"{self._platform.url}/job-done/hand/{self.jobs[-1]['id']}", json=post, timeout=30)


def answered(job: Mapping[str, Any]) -> dict[str, Any]:
    return {"output": ANSWER | {"job_id": job["id"]}}


def heard(source: str) -> str:
    """The bytes behind an address that a job names."""
    response = requests.get(source, timeout=10)
    response.raise_for_status()
    return response.text


def storing(server: S3Server, inline: str = "none") -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A worker that reads its recording and stores a transcript that says `heard:<content>`, as the real one would."""
    storage = storage_on(server)

    def work(job: Mapping[str, Any]) -> dict[str, Any]:
        content, artifacts = heard(job["input"]["audio_file"]), {}
        for form in job["input"]["formats"]:
            key = f"transcripts/{job['id']}/f00d/transcript.{form}"
            storage.put(key, said(f"heard:{content[4:20]}"), "application/json", f"transcript.{form}")
            artifacts[form] = {
                "key": key,
                "bytes": 1,
                "url": storage.presign(key)[0],
                "expires_at": "2100-01-01T00:00:00Z",
            }
        output = ANSWER | {"job_id": job["id"], "artifacts": artifacts, "segments": [], "segments_total": 1}
        unsigned = {form: {"key": a["key"], "bytes": 1} for form, a in artifacts.items()}
        mark = json.dumps(output | {"artifacts": unsigned}).encode()
        storage.put(f"transcripts/{job['id']}/f00d/result.json", mark, "application/json", "result.json")
        return {"output": output}

    return work


def said(text: str) -> bytes:
    """A transcript of one segment."""
    return json.dumps(ANSWER | {"segments": [{"start": 0.0, "end": 3.0, "text": text}], "speakers": []}).encode()


def read(file: Path) -> str:
    """What the transcript says, without its times."""
    (found,) = re.findall(r"heard:\w+(?:\s[abc]\b)?", file.read_text())
    return found.replace("\n", " ")


def storage_on(server: S3Server) -> Storage:
    return Storage(server.endpoint, server.bucket, server.access_key, server.secret_key, "transcripts")


def storage_env(server: S3Server) -> dict[str, str]:
    return {
        "STORAGE_ENDPOINT": server.endpoint,
        "STORAGE_BUCKET": server.bucket,
        "STORAGE_ACCESS_KEY": server.access_key,
        "STORAGE_SECRET_KEY": server.secret_key,
    }


def puts(server: S3Server) -> list[str]:
    """The keys that were uploaded as recordings, in order."""
    return [r.path.partition("?")[0] for r in server.requests if r.method == "PUT" and "/uploads/" in r.path]


def surroundings() -> dict[str, str]:
    """What a process needs of this one to run `python -m scribe`."""
    return {"PYTHONPATH": str(SRC)} | {name: os.environ[name] for name in SURROUNDINGS if name in os.environ}


@dataclass
class Desk:
    """One person's folder: `run` is the client in this process, `start` as a process of its own."""

    folder: Path
    platform: Platform
    environment: dict[str, str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.out / STATE_FILE).read_text())

    @property
    def jobs(self) -> list[str]:
        """The ids in the state file, as far as it is there."""
        try:
            return [entry["job_id"] for entry in self.state["recordings"].values()]
        except FileNotFoundError:
            return []

    def recording(self, name: str, text: str = "sound") -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"ID3 {text}" if path.suffix in (".mp3", ".wav", ".ogg") else text)
        return str(path)

    def export(self) -> None:
        """Put this person's variables into the environment of this process."""
        for name, value in self.environment.items():
            self.monkeypatch.setenv(name, value)

    def run(self, *arguments: str) -> int:
        self.export()
        return main(["transcribe", *arguments, "-o", str(self.out)])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "scribe", "transcribe", *arguments, "-o", str(self.out)]
        return subprocess.Popen(command, cwd=self.folder, env=surroundings() | self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    def until(self, condition: Callable[[], bool]) -> None:
        """Look every tenth of a second; the test fails when it never comes."""
        for _ in range(int(PATIENCE * 10)):
            if condition():
                return
            time.sleep(0.1)
        raise AssertionError("it never came")


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform(poll_seconds=0.2) as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in list(os.environ):
        if name.startswith(("RUNPOD_", "STORAGE_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    base = platform.url.removesuffix(f"/{ENDPOINT}")
    own = {
        "RUNPOD_API_KEY": API_KEY,
        "RUNPOD_ENDPOINT_ID": ENDPOINT,
        "RUNPOD_ENDPOINT_BASE_URL": base,
        "HOME": str(tmp_path),
    }
    return Desk(tmp_path, platform, own, monkeypatch)


@pytest.fixture
def stored(desk: Desk, s3_server: S3Server) -> S3Server:  # noqa: F811
    """The storage, named in the client's environment."""
    desk.environment |= storage_env(s3_server)
    return s3_server


def lose_the_job(desk: Desk, job_id: str = "00000000-lost-e1") -> None:
    """As if the client had been killed after submitting, and the platform had forgotten the job since."""
    book = desk.state
    for entry in book["recordings"].values():
        entry |= {"status": "submitted", "job_id": job_id, "files": []}
    (desk.out / STATE_FILE).write_text(json.dumps(book))
