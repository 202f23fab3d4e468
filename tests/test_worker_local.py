"""The local harness: one job through the handler of src/rp_handler.py on the CPU, without RunPod, in or out of Docker.

    python3 tests/test_worker_local.py [job.json]

Prints the result as JSON and then the transcript as text; the log goes to stderr. The job is samples/jobs/minimal.json
unless another is named. Without a model in the environment (WHISPERX_MODEL=small, say) the small demo models run; the
files of samples/ are served on loopback for the jobs of samples/jobs. Importing this file does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from contract.files import FileServer
from contract.truth import likeness

ROOT = Path(__file__).resolve().parents[1]
MINIMAL = ROOT / "samples" / "jobs" / "minimal.json"
MODEL_VARIABLES = ("MODEL_SET", "WHISPERX_MODEL", "WHISPERX_MODEL_NAME", "WHISPERX_MODEL_DIR")


def main(arguments: list[str]) -> int:
    """Run the job of the first argument. 0 when it succeeded, 1 when the worker answered with an error."""
    sys.path.insert(0, str(ROOT / "src"))
    job = json.loads(Path(arguments[0] if arguments else MINIMAL).read_text(encoding="utf-8"))
    # Some libraries log to stdout, which is for the answer alone.
    quiet = contextlib.redirect_stdout(sys.stderr)
    with FileServer(ROOT / "samples") as files, tempfile.TemporaryDirectory() as scratch, quiet:
        answer = answered(files.localize(job), files.host, scratch)
    print(json.dumps(answer, ensure_ascii=False, indent=2, allow_nan=False))
    if "error" in answer:
        return 1
    print(f"\n{readable(answer)}")
    return 0


def answered(job: dict[str, Any], host: str, scratch: str) -> dict[str, Any]:
    """The handler's answer, wired as the worker wires it: `host` may be fetched from, `scratch` takes workspaces."""
    if not any(os.environ.get(name) for name in MODEL_VARIABLES):
        os.environ["MODEL_SET"] = "demo"
    if os.environ.get("MODEL_SET") == "demo":
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # models this small gain nothing by a second thread
    os.environ.setdefault("WHISPERX_DEVICE", "cpu")
    os.environ.setdefault("JOBS_DIR", scratch)
    os.environ["FETCH_ALLOW_HOSTS"] = ",".join(filter(None, (os.environ.get("FETCH_ALLOW_HOSTS"), host)))

    import init_and_run
    from scribe import settings

    loaded = settings.load()
    init_and_run.prepare_environment(loaded)
    handler = init_and_run.build(loaded)
    return asyncio.run(handler({"id": "local", **job}))


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
