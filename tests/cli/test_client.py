"""The client against the stand-in of the platform, a real S3 server and, once, the real worker."""

from __future__ import annotations

import json
import os
import re
import signal
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
import srt
from contract.platform import API_KEY, ENDPOINT, Platform
from contract.worker import SURROUNDINGS, WorkerProcess, demo_environment
from hypothesis import given
from hypothesis import strategies as st
from support.s3server import S3Server, s3_server  # noqa: F401 (the fixture)

import client
from scribe.cli.answer import place_beside
from scribe.cli.order import order_of
from scribe.cli.recording import Place, gather
from scribe.cli.state import STATE_FILE, opened
from scribe.errors import InvalidInput
from scribe.storage.s3 import Storage

pytestmark = pytest.mark.xdist_group("client")

CLIENT = Path(client.__file__)
SAMPLES = CLIENT.parents[1] / "samples"
PATIENCE = 120.0
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

    def run(self, *arguments: str) -> int:
        for name, value in self.environment.items():
            self.monkeypatch.setenv(name, value)
        return client.main(["transcribe", *arguments, "-o", str(self.out)])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        surroundings = {name: os.environ[name] for name in SURROUNDINGS if name in os.environ}
        command = [sys.executable, str(CLIENT), "transcribe", *arguments, "-o", str(self.out)]
        return subprocess.Popen(command, cwd=self.folder, env=surroundings | self.environment, text=True,
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


def ordered(*arguments: str) -> dict[str, Any]:
    return order_of(client.parser().parse_args(["transcribe", "a.mp3", *arguments])).options


def test_flags_and_settings_become_the_jobs_own_options() -> None:
    options = ordered(
        "--diarize",
        "--speakers",
        "2",
        "-f",
        "srt,html",
        "-f",
        "srt",
        "--set",
        "beam_size=3",
        "--set",
        "vad_method=silero",
    )
    assert options == {
        "formats": ["json"],
        "diarization": True,
        "align_output": True,
        "num_speakers": 2,
        "beam_size": 3,
        "vad_method": "silero",
    }


def test_what_stands_beside_the_input_goes_beside_it() -> None:
    own = {"accessId": "id", "accessSecret": "secret", "bucketName": "bucket", "endpointUrl": "https://s3.example.org"}
    order = order_of(client.parser().parse_args(["transcribe", "a.mp3", "--set", f"s3Config={json.dumps(own)}"]))
    assert order.beside == {"s3Config": own}
    assert "s3Config" not in order.options


def test_every_problem_of_the_options_is_told_before_anything_is_sent(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    code = desk.run(desk.recording("a.mp3"), "--set", "vad_metod=silero", "--set", "beam_size=99", "-f", "exe")
    told = capsys.readouterr().err
    assert code == 2
    assert "did you mean vad_method" in told
    assert "beam_size" in told
    assert "formats" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.mp3"], "there is no file nowhere.mp3"),
        (["a.mp3", "--name", "alice"], "--name alice=alice.wav"),
        (["a.mp3", "--set", "beam_size"], "--set key=value"),
        (["a.mp3", "--set", "audio_file=x"], "audio_file"),
        (["empty"], "holds no recording"),
        (["http://[broken"], "host"),
    ],
)
def test_a_command_that_cannot_be_meant_ends_with_2_and_a_sentence(
    desk: Desk, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk.folder / "empty").mkdir()
    desk.recording("a.mp3")
    assert desk.run(*arguments) == 2
    assert told in capsys.readouterr().err


def test_without_a_key_or_an_endpoint_the_client_says_which_variable_is_missing(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = desk.recording("a.mp3")
    del desk.environment["RUNPOD_ENDPOINT_ID"]
    assert desk.run(recording) == 2
    assert "RUNPOD_ENDPOINT_ID" in capsys.readouterr().err
    del desk.environment["RUNPOD_API_KEY"]
    desk.monkeypatch.delenv("RUNPOD_API_KEY")
    assert desk.run(recording, "--endpoint", ENDPOINT) == 2
    assert "RUNPOD_API_KEY" in capsys.readouterr().err


def test_a_folder_keeps_its_shape_and_recordings_of_one_name_their_endings(desk: Desk) -> None:
    for name in ("day/a.mp3", "day/a.wav", "day/b/c.ogg", "day/notes.txt", "day/.hidden.mp3"):
        desk.recording(name)
    assert [r.name for r in gather([str(desk.folder / "day")], {})] == ["a", "a.wav", "b/c"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["mp3", "wav"]), st.integers(0, 3)), max_size=12),
    st.integers(0, 12),
)
def test_names_are_never_shared_and_never_change_between_runs(parts: list[tuple[str, str, int]], first: int) -> None:
    urls = [f"https://host/{folder}/talk-{name}.{ending}" for name, ending, folder in parts]
    once = {r.source: r.name for r in gather(urls[:first], {})}
    again = {r.source: r.name for r in gather(urls, once)}
    assert len(set(again.values())) == len(again) == len(set(urls))
    assert once.items() <= again.items()


def test_a_signed_address_leaves_its_signature_nowhere() -> None:
    signed = Place.of("https://host/talk.mp3?X-Amz-Signature=0f1e2d")
    assert signed.source.startswith("https://host/talk.mp3?")
    assert "0f1e2d" not in signed.source
    assert signed.source != Place.of("https://host/talk.mp3?id=2").source


def test_a_damaged_state_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text("{")
    with pytest.raises(InvalidInput, match="state file"), opened(tmp_path):
        pass
    assert (tmp_path / STATE_FILE).read_text() == "{"


def test_two_clients_never_work_in_one_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InvalidInput, match="another client"), opened(tmp_path):
        pass
    with opened(tmp_path):
        pass


def test_without_storage_the_recording_travels_in_the_job_and_the_files_are_rendered_here(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    with Hand(desk.platform, answered) as hand:
        code = desk.run(
            desk.recording("talk.mp3"),
            "--name",
            f"Alice={desk.recording('alice.wav')}",
            "-f",
            "json,srt,html",
            "--align",
        )
    asked = hand.jobs[0]["input"]
    assert (code, asked["audio_base64"], asked["inline"], asked["speaker_verification"]) == (
        0,
        SOUND,
        "full",
        True,
    )
    assert asked["speaker_samples"] == [{"audio_base64": SOUND, "name": "Alice"}]
    assert [cue.content for cue in srt.parse((desk.out / "talk.srt").read_text())] == ["Alice: Hello there."]
    assert json.loads((desk.out / "talk.json").read_text())["speakers"][0]["embedding"]["vector"] == [0.6, 0.8]
    assert "talk.mp3" in (desk.out / "talk.html").read_text()
    assert "travels inside the job" in capsys.readouterr().out


def test_without_storage_a_large_recording_is_refused_before_it_is_sent(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.run(desk.recording("talk.mp3", "x" * 8_000_000)) == 1
    assert "too_large" in capsys.readouterr().out
    assert desk.jobs == []


def test_a_preview_is_not_taken_for_a_transcript(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    with Hand(desk.platform, lambda job: {"output": ANSWER | {"segments_total": 900}}):
        assert desk.run(desk.recording("talk.mp3"), "-f", "srt") == 1
    assert "result_truncated: The worker stored no json, and 1 of 900 segments came inline" in capsys.readouterr().out


def test_a_failed_job_is_shown_by_its_code_and_the_others_are_done(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(job: dict[str, Any]) -> dict[str, Any]:
        if job["input"]["audio_base64"] == "SUQzIG5vdGhpbmc=":
            return {"error": "not_audio: the file is a page", "output": {"code": "not_audio", "retryable": False}}
        return answered(job)

    with Hand(desk.platform, work) as hand:
        arguments = [desk.recording("a.mp3"), desk.recording("b.mp3", "nothing"), "--json"]
        assert desk.run(*arguments) == 1
        shown = capsys.readouterr()
        reports = {report["name"]: report for report in map(json.loads, shown.out.splitlines())}
        assert reports["b"]["error"] == {"code": "not_audio", "message": "the file is a page"}
        assert (reports["a"]["status"], reports["a"]["files"], reports["a"]["language"]) == (
            "done",
            [str(desk.out / "a.json")],
            "en",
        )
        assert "b: not_audio: the file is a page" in shown.err
        assert desk.run(*arguments) == 1
    assert len(hand.jobs) == 3, "what is done is not sent again, what failed is"


def test_only_failures_are_said_with_quiet(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    with Hand(desk.platform, lambda job: {"error": "boom"}):
        assert desk.run(desk.recording("a.mp3"), "--quiet") == 1
    assert capsys.readouterr() == ("", "a: job_failed: boom\n")


def test_where_nothing_can_be_reached_it_ends_with_3(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    recordings = [desk.recording(f"{n}.mp3") for n in "abc"]
    assert desk.run(*recordings, "--api-base", "http://127.0.0.1:9/v2", "--parallel", "1") == 3
    assert "endpoint_unreachable: RunPod could not be reached" in capsys.readouterr().out
    desk.environment["RUNPOD_API_KEY"] = "rpa_WRONG"
    assert desk.run(*recordings) == 3
    assert "endpoint_denied" in capsys.readouterr().out
    desk.environment |= {"RUNPOD_API_KEY": API_KEY, "RUNPOD_ENDPOINT_ID": "another"}
    assert desk.run(*recordings) == 3
    assert "endpoint_not_found" in capsys.readouterr().out


def test_what_is_finished_and_unchanged_is_skipped_and_what_changed_is_done_anew(desk: Desk) -> None:
    with Hand(desk.platform, answered) as hand:
        recordings = [desk.recording("a.mp3"), desk.recording("b.mp3")]
        assert desk.run(*recordings) == 0
        assert desk.run(*recordings) == 0
        assert len(hand.jobs) == 2
        desk.recording("a.mp3", "another sound")
        assert desk.run(*recordings) == 0
        assert len(hand.jobs) == 3
        (desk.out / "b.json").unlink()
        assert desk.run(*recordings) == 0
        assert len(hand.jobs) == 4
        assert desk.run(*recordings, "--language", "en") == 0
        assert len(hand.jobs) == 6


def test_a_file_that_somebody_else_wrote_is_not_overwritten(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.recording("out/talk.json", "mine")
    assert desk.run(desk.recording("talk.mp3")) == 1
    assert "file_exists" in capsys.readouterr().out
    assert (desk.out / "talk.json").read_text() == "mine"


def lose_the_job(desk: Desk, job_id: str = "00000000-lost-e1") -> None:
    """As if the client had been killed after submitting, and the platform had forgotten the job since."""
    book = desk.state
    for entry in book["recordings"].values():
        entry |= {"status": "submitted", "job_id": job_id, "files": []}
    (desk.out / STATE_FILE).write_text(json.dumps(book))


def test_a_job_that_the_platform_forgot_is_submitted_again(desk: Desk) -> None:
    with Hand(desk.platform, answered) as hand:
        recording = desk.recording("a.mp3")
        assert desk.run(recording) == 0
        lose_the_job(desk)
        (desk.out / "a.json").unlink()
        assert desk.run(recording) == 0
    assert len(hand.jobs) == 2
    assert (desk.out / "a.json").is_file()


def test_a_forgotten_jobs_answer_is_found_in_the_storage(desk: Desk, stored: S3Server) -> None:
    with Hand(desk.platform, storing(stored)) as hand:
        recording = desk.recording("a.mp3")
        assert desk.run(recording, "-f", "srt") == 0
        lose_the_job(desk, "forgotten-e1")
        for key, (data, _) in stored.objects().items():
            storage_on(stored).put(key.replace(hand.jobs[0]["id"], "forgotten-e1"), data, "text/plain", "x")
        moved = json.loads(storage_on(stored).get("transcripts/forgotten-e1/f00d/result.json"))
        assert moved["artifacts"]["json"].keys() == {"key", "bytes"}
        (desk.out / "a.srt").unlink()
        assert desk.run(recording, "-f", "srt") == 0
    assert len(hand.jobs) == 1, "the GPU is not asked twice"
    assert read(desk.out / "a.srt") == "heard:sound"


def test_recordings_and_voices_go_through_the_storage_once_and_are_removed_at_the_end(
    desk: Desk, stored: S3Server
) -> None:
    recordings = [desk.recording(f"{n}.mp3", f"sound {n}") for n in "abc"]
    voice = desk.recording("alice smith.wav", "voice")
    with Hand(desk.platform, storing(stored)) as hand:
        assert desk.run(*recordings, "--name", f"Alice={voice}", "-f", "srt,txt", "--parallel", "1") == 0
    assert sorted(path.rpartition("/")[2] for path in puts(stored)) == ["a.mp3", "alice%20smith.wav", "b.mp3", "c.mp3"]
    assert {read(desk.out / f"{n}.{form}") for n in "abc" for form in ("srt", "txt")} == {
        f"heard:sound {n}" for n in "abc"
    }
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []
    assert "inline" not in hand.jobs[0]["input"]
    assert hand.jobs[0]["input"]["speaker_samples"][0]["name"] == "Alice"
    assert "X-Amz" not in (desk.out / STATE_FILE).read_text()


def test_kept_uploads_are_not_uploaded_again(desk: Desk, stored: S3Server) -> None:
    recording = desk.recording("a.mp3")
    with Hand(desk.platform, storing(stored)):
        assert desk.run(recording, "--keep-uploads") == 0
        assert desk.run(recording, "--keep-uploads", "--language", "en") == 0
        assert len(puts(stored)) == 1
        assert desk.run(recording, "--language", "en") == 0
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []


def test_uploads_of_failed_jobs_stay_until_they_are_done(desk: Desk, stored: S3Server) -> None:
    recording = desk.recording("a.mp3")
    with Hand(desk.platform, lambda job: {"error": "boom"}):
        assert desk.run(recording) == 1
    assert len([key for key in stored.objects() if key.startswith("uploads/")]) == 1
    with Hand(desk.platform, storing(stored)):
        assert desk.run(recording) == 0
    assert len(puts(stored)) == 1
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []


def test_a_large_recording_is_uploaded_in_parts(desk: Desk, stored: S3Server) -> None:
    large = "0123456789" * 2_000_000
    with Hand(desk.platform, storing(stored)):
        assert desk.run(desk.recording("a.mp3", large), "-f", "txt") == 0
    assert len(puts(stored)) > 1
    assert read(desk.out / "a.txt") == f"heard:{large[:16]}"


def test_a_link_that_has_run_out_is_read_by_its_key(desk: Desk, stored: S3Server) -> None:
    def expired(job: dict[str, Any]) -> dict[str, Any]:
        post = storing(stored)(job)
        artifact = post["output"]["artifacts"]["json"]
        artifact["url"] = None if job["input"].get("language") else artifact["url"] + "0"
        return post

    for number, options in enumerate(((), ("--language", "en"))):
        with Hand(desk.platform, expired):
            assert desk.run(desk.recording(f"{number}.mp3"), "-f", "srt,txt", *options) == 0
        assert {read(desk.out / f"{number}.{form}") for form in ("srt", "txt")} == {"heard:sound"}


def test_a_storage_that_fails_for_a_moment_is_asked_again(desk: Desk, stored: S3Server) -> None:
    def work(job: dict[str, Any]) -> dict[str, Any]:
        post = storing(stored)(job)
        stored.fail(503)
        stored.hang_up(after_bytes=3)
        return post

    with Hand(desk.platform, work):
        assert desk.run(desk.recording("a.mp3"), "-f", "srt") == 0
    assert read(desk.out / "a.srt") == "heard:sound"


def test_a_storage_that_refuses_is_told_apart_from_one_that_is_gone(
    desk: Desk, stored: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = desk.recording("a.mp3")
    stored.denied.add("PUT")
    assert desk.run(recording) == 1
    assert "storage_denied: The storage refused (AccessDenied)" in capsys.readouterr().out
    desk.environment["STORAGE_ENDPOINT"] = "http://127.0.0.1:9"
    assert desk.run(recording) == 3
    assert "storage_unreachable" in capsys.readouterr().out


def test_delete_removes_a_jobs_objects_and_nothing_else(
    desk: Desk, stored: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with Hand(desk.platform, storing(stored)) as hand:
        assert desk.run(desk.recording("a.mp3", "one"), desk.recording("b.mp3", "two"), "-f", "srt") == 0
    first, second = (job["id"] for job in hand.jobs)
    assert client.main(["delete", first]) == 0
    assert "2 objects" in capsys.readouterr().out
    assert {key.split("/")[1] for key in stored.objects()} == {second}
    assert client.main(["delete", first]) == 1
    assert client.main(["delete", "../transcripts"]) == 2


def test_a_folder_survives_the_killing_of_the_client(desk: Desk, stored: S3Server) -> None:
    for n in "abc":
        desk.recording(f"day/{n}.mp3", f"sound {n}")
    arguments = [str(desk.folder / "day"), "-f", "srt,txt", "--parallel", "1"]
    running = desk.start(*arguments)
    desk.until(lambda: len(desk.jobs) == 1)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    with Hand(desk.platform, storing(stored)) as hand:
        running = desk.start(*arguments, "--json")
        out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, err
    assert sorted(json.loads(line)["name"] for line in out.splitlines()) == ["a", "b", "c"]
    assert len(hand.jobs) == 3, "the first job was watched, not sent again"
    found = {p.name: read(p) for p in desk.out.iterdir() if p.suffix in (".srt", ".txt")}
    assert found == {f"{n}.{form}": f"heard:sound {n}" for n in "abc" for form in ("srt", "txt")}
    assert len(puts(stored)) == 3
    assert [key for key in stored.objects() if key.startswith("uploads/")] == []


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(desk: Desk) -> None:
    recording = desk.recording("a.mp3")
    running = desk.start(recording)
    desk.until(lambda: len(desk.jobs) == 1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, "Traceback" in err) == (130, False)
    assert "1 submitted jobs go on at the endpoint. The same command continues with them." in err
    with Hand(desk.platform, answered) as hand:
        assert desk.run(recording) == 0
    assert len(hand.jobs) == 1


SLOW = """
import os, time, runpod
from pathlib import Path

def handler(job):
    runpod.serverless.progress_update(job, {"stage": "transcribe", "percent": 40.0, "stage_percent": 10.0})
    if Path("hang").exists():
        time.sleep(600)
    return ANSWER | {"job_id": job["id"]}

if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
"""


def test_a_worker_killed_at_work_costs_the_client_nothing_but_time(desk: Desk) -> None:
    place = desk.folder / "worker"
    desk.recording("worker/handler.py", SLOW.replace("ANSWER", repr(ANSWER)))
    desk.recording("worker/hang")
    running = desk.start(desk.recording("a.mp3"))
    first = WorkerProcess(desk.platform, {}, cwd=place, entry=place / "handler.py").__enter__()
    try:
        desk.until(lambda: bool(desk.jobs) and bool(desk.platform.record(desk.jobs[0]).progress))
    finally:
        first.kill()
    (place / "hang").unlink()
    desk.platform.deliver_again(desk.jobs[0])
    with WorkerProcess(desk.platform, {}, cwd=place, entry=place / "handler.py"):
        out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, err
    assert "transcribing" in out
    assert (desk.out / "a.json").is_file()
    assert desk.platform.record(desk.jobs[0]).deliveries == 2


def test_a_transcript_here_becomes_other_formats_without_a_job(desk: Desk) -> None:
    (desk.folder / "talk.json").write_bytes(said("heard:before"))
    assert desk.run(str(desk.folder / "talk.json"), "-f", "srt,html") == 0
    assert read(desk.out / "talk.srt") == "heard:before"
    assert (desk.out / "talk.html").is_file()
    assert desk.jobs == [""]


def test_a_transcript_whose_speakers_are_to_be_named_is_a_job_without_audio(desk: Desk, stored: S3Server) -> None:
    def work(job: dict[str, Any]) -> dict[str, Any]:
        return storing(stored)(job | {"input": job["input"] | {"audio_file": job["input"]["source"]["transcript_url"]}})

    (desk.folder / "talk.json").write_bytes(said("heard:before"))
    with Hand(desk.platform, work) as hand:
        voice = desk.recording("anna.wav")
        assert desk.run(str(desk.folder / "talk.json"), "-f", "srt", "--name", f"Anna={voice}") == 0
    assert "audio_file" not in hand.jobs[0]["input"]


def test_other_formats_of_what_is_finished_are_made_here_and_cost_nothing(desk: Desk) -> None:
    recording = desk.recording("a.mp3")
    with Hand(desk.platform, answered) as hand:
        assert desk.run(recording, "-f", "srt") == 0
        assert (desk.out / "a.json").is_file(), "the transcript is always kept"
        assert desk.run(recording, "-f", "vtt,html") == 0
        assert (desk.out / "a.vtt").read_text().startswith("WEBVTT")
        assert desk.run(recording, "-f", "srt", "--set", "max_line_width=10") == 0
        assert max(map(len, (desk.out / "a.srt").read_text().splitlines())) <= len("00:00:00,000 --> 00:00:00,000")
        assert len(hand.jobs) == 1
        assert hand.jobs[0]["input"]["formats"] == ["json"]
        assert desk.run(recording, "-f", "srt", "--force") == 0
    assert len(hand.jobs) == 2


def test_the_page_has_its_recording_beside_it_and_a_file_that_is_there_stays(desk: Desk) -> None:
    with Hand(desk.platform, answered):
        assert desk.run(desk.recording("a.mp3"), "-f", "html") == 0
        (desk.out / "b.mp3").write_text("mine")
        assert desk.run(desk.recording("b.mp3"), "-f", "html") == 0
    assert (desk.out / "a.mp3").read_text() == "ID3 sound"
    assert (desk.out / "b.mp3").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "told"), [("# README", "plain text"), ("%PDF-1.7", "a PDF document"), ("", "is empty")]
)
def test_what_is_no_recording_is_refused_before_anything_is_sent(
    desk: Desk, content: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.run(desk.recording("README.md", content)) == 1
    shown = capsys.readouterr().out
    assert "not_audio: README.md is" in shown
    assert told in shown
    assert desk.jobs == []


def test_a_file_that_is_not_there_is_told_before_a_missing_key(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    del desk.environment["RUNPOD_ENDPOINT_ID"]
    assert desk.run("nowhere.mp3") == 2
    assert "there is no file nowhere.mp3" in capsys.readouterr().err


def test_an_unknown_flag_names_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        client.main(["transcribe", "a.mp3", "--diarise"])
    assert left.value.code == 2
    assert "did you mean --diarize?" in capsys.readouterr().err


def test_the_bare_command_shows_its_help_and_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main([]) == 2
    assert "transcribe" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        client.main(["transcribe", "--help"])
    assert "--name Anna=anna.wav" in capsys.readouterr().out


def test_the_real_worker_names_the_voices_and_every_file_arrives(desk: Desk, stored: S3Server) -> None:
    host = stored.endpoint.removeprefix("http://")
    worker = demo_environment(host, desk.folder / "jobs")
    recording = str(SAMPLES / "conversation.mp3")
    voices = [f"--name={name}={SAMPLES / 'voices' / f'{name.lower()}.flac'}" for name in ("Anna", "Mark")]
    with WorkerProcess(desk.platform, worker | storage_env(stored), cwd=desk.folder):
        code = desk.run(recording, *voices, "-f", "json,srt,vtt,tsv,txt,html", "--align", "--language", "en")
    assert code == 0
    names = {f"conversation.{form}" for form in ("json", "srt", "vtt", "tsv", "txt", "html")}
    assert {path.name for path in desk.out.iterdir()} == names | {"conversation.mp3", STATE_FILE}, "the page plays it"
    transcript = json.loads((desk.out / "conversation.json").read_text())
    assert {speaker["name"] for speaker in transcript["speakers"]} == {"Anna", "Mark"}
    assert list(srt.parse((desk.out / "conversation.srt").read_text()))
    assert len(puts(stored)) == 3
    assert {key.split("/")[0] for key in stored.objects()} == {"transcripts"}


def test_what_somebody_else_wrote_is_not_overwritten_by_a_format_that_is_made_here(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = desk.recording("a.mp3")
    with Hand(desk.platform, answered):
        assert desk.run(recording, "-f", "srt") == 0
        desk.recording("out/a.vtt", "mine")
        assert desk.run(recording, "-f", "vtt") == 1
        assert desk.run(recording, "-f", "srt", "--set", "max_line_width=10") == 0, "its own it may write anew"
    assert "file_exists" in capsys.readouterr().out
    assert (desk.out / "a.vtt").read_text() == "mine"


def test_a_transcript_from_elsewhere_is_copied_where_its_json_is_asked_for(desk: Desk) -> None:
    (desk.folder / "talk.json").write_bytes(said("heard:before"))
    assert desk.run(str(desk.folder / "talk.json"), "-f", "json,srt") == 0
    assert (desk.out / "talk.json").read_bytes() == said("heard:before")


def test_two_recordings_of_one_name_have_each_their_own_beside_their_page(desk: Desk) -> None:
    monday, tuesday = desk.recording("monday/talk.mp3", "ID3 monday"), desk.recording("tuesday/talk.mp3", "ID3 tuesday")
    with Hand(desk.platform, answered):
        assert desk.run(monday, tuesday, "-f", "html") == 0
    for page in desk.out.glob("*.html"):
        name = re.search(r'data-audio="([^"]*)"', page.read_text())
        assert name
        (entry,) = [e for e in desk.state["recordings"].items() if page.name in e[1]["files"]]
        assert (page.parent / name[1]).read_bytes() == Path(entry[0]).read_bytes()


@pytest.mark.parametrize("first", ["talk", "talk.mp3"])
def test_the_page_that_is_written_second_plays_its_own_recording_too(tmp_path: Path, first: str) -> None:
    recordings = {"talk": tmp_path / "monday" / "talk.mp3", "talk.mp3": tmp_path / "tuesday" / "talk.mp3"}
    out = tmp_path / "out"
    out.mkdir()
    for name, recording in recordings.items():
        recording.parent.mkdir()
        recording.write_text(f"ID3 {name}")
    for _ in "twice":
        for name in sorted(recordings, key=lambda name: name != first):
            beside = place_beside(out / f"{name}.html", recordings[name])
            assert (out / beside).read_bytes() == recordings[name].read_bytes()
    assert len(list(out.iterdir())) == 2, "what lies there already is not copied again"
