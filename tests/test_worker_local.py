"""One job through the handler of src/rp_handler.py on this machine, without RunPod, in or out of Docker.

    python3 tests/test_worker_local.py [JOB]

JOB is a job file (samples/jobs/minimal.json when there is none), a recording, its http address, or - for a job on the
standard input. Prints the result as JSON and then the transcript as text; the log goes to stderr. Runs on the GPU where
there is one (WHISPERX_DEVICE=cpu for the CPU), and on the small demo models unless a model is named (WHISPERX_MODEL=small,
say). The files of samples/ are served on loopback for the jobs of samples/jobs. Importing this file does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from contract.files import FileServer
from contract.truth import likeness

ROOT = Path(__file__).resolve().parents[1]
MINIMAL = ROOT / "samples" / "jobs" / "minimal.json"
MODEL_VARIABLES = ("MODEL_SET", "WHISPERX_MODEL", "WHISPERX_MODEL_NAME", "WHISPERX_MODEL_DIR")


def main(arguments: list[str]) -> int:
    """Run the job that is named. 0 when it succeeded, 1 when the worker answered with an error, 2 when there is no job."""
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-") and arguments[0] != "-"):
        asked = arguments[0] in ("-h", "--help")
        print(__doc__, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    sys.path.insert(0, str(ROOT / "src"))
    # Some libraries log to stdout, which is for the answer alone.
    quiet = contextlib.redirect_stdout(sys.stderr)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as servers:
        try:
            job, files = job_of(arguments[0] if arguments else str(MINIMAL), Path(scratch), servers)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        with quiet:
            answer = answered(files.localize(job), files.host, scratch)
    print(json.dumps(answer, ensure_ascii=False, indent=2, allow_nan=False))
    if "error" in answer:
        return 1
    print(f"\n{readable(answer)}")
    return 0


def job_of(named: str, scratch: Path, servers: contextlib.ExitStack) -> tuple[dict[str, Any], FileServer]:
    """The job, and the loopback server that its addresses point at. Raises ValueError with a sentence."""
    wanted: dict[str, Any] = {"inline": "full"}
    path = Path(named)
    if named.lower().startswith(("http://", "https://")):
        return {"input": wanted | {"audio_file": named}}, servers.enter_context(FileServer(ROOT / "samples"))
    if named != "-" and not path.is_file():
        raise ValueError(f"there is no file {named}")
    if named != "-" and path.suffix.lower() != ".json":
        folder = scratch / "served"
        folder.mkdir()
        (folder / f"recording{path.suffix}").symlink_to(path.resolve())
        files = servers.enter_context(FileServer(folder))
        return {"input": wanted | {"audio_file": f"{files.url}recording{path.suffix}"}}, files
    try:
        job = json.loads(sys.stdin.read() if named == "-" else path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{named} is no JSON: {error}") from None
    if not isinstance(job, dict) or "input" not in job:
        raise ValueError(f'{named} is no job: it needs {{"input": {{"audio_file": "https://..."}}}}')
    return job, servers.enter_context(FileServer(ROOT / "samples"))


def answered(job: dict[str, Any], host: str, scratch: str) -> dict[str, Any]:
    """The handler's answer, wired as the worker wires it: `host` may be fetched from, `scratch` takes workspaces."""
    if not any(os.environ.get(name) for name in MODEL_VARIABLES):
        os.environ["MODEL_SET"] = "demo"
    if os.environ.get("MODEL_SET") == "demo":
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # models this small gain nothing by a second thread
    os.environ.setdefault("JOBS_DIR", scratch)
    os.environ["FETCH_ALLOW_HOSTS"] = ",".join(filter(None, (os.environ.get("FETCH_ALLOW_HOSTS"), host)))

    from scribe import settings
    from scribe.app.environment import prepare_environment
    from scribe.app.worker import Worker

    loaded = settings.load()
    prepare_environment(loaded)
    worker = Worker.from_settings(loaded)
    from rp_handler import Handler

    return asyncio.run(Handler(worker.runner)({"id": "local", **job}))


def readable(answer: dict[str, Any]) -> str:
    """The inline part of the answer as a person reads it."""
    from scribe.formats import FORMATS, TextOptions
    from scribe.formats.json import from_dict

    shape = {key: answer[key] for key in ("duration", "segments")} | {"language": answer["detected_language"] or "und"}
    names = [{key: speaker[key] for key in ("label", "name")} for speaker in answer["speakers"]]
    return FORMATS["txt"].render(from_dict(shape | {"speakers": names}), TextOptions())


def test_the_harness_runs_the_minimal_job_on_the_demo_models(tmp_path: Path) -> None:
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, __file__], cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer, end = json.JSONDecoder().raw_decode(done.stdout)
    assert likeness(done.stdout[end:].split("] ", 1)[1], "conversation") > 0.9
    assert (answer["job_id"], answer["detected_language"]) == ("local", "en")
    assert all("words" not in segment for segment in answer["segments"])


@pytest.mark.parametrize(
    ("arguments", "given", "code", "told"),
    [
        (["nowhere.json"], "", 2, "there is no file nowhere.json"),
        (["broken.json"], "", 2, "broken.json is no JSON: "),
        (["-"], "[]", 2, '- is no job: it needs {"input"'),
        (["--help"], "", 0, "JOB is a job file"),
        (["--colour"], "", 2, "JOB is a job file"),
        (["a.json", "b.json"], "", 2, "JOB is a job file"),
    ],
)
def test_what_is_no_job_is_answered_by_a_sentence(
    arguments: list[str], given: str, code: int, told: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text("{")
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        cwd=tmp_path,
        input=given,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )
    assert done.returncode == code
    assert told in (done.stdout if code == 0 else done.stderr)
    assert "Traceback" not in done.stderr


def test_a_recording_or_its_address_is_a_job_of_its_own(tmp_path: Path) -> None:
    with contextlib.ExitStack() as servers:
        job, files = job_of(str(ROOT / "samples" / "silence.flac"), tmp_path, servers)
        with urllib.request.urlopen(job["input"]["audio_file"], timeout=30) as response:
            assert response.read() == (ROOT / "samples" / "silence.flac").read_bytes()
        assert job["input"]["audio_file"].startswith(files.url)
        job, _ = job_of("https://example.com/a.mp3", tmp_path, servers)
        assert job["input"] == {"audio_file": "https://example.com/a.mp3", "inline": "full"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
