"""The pages keep their word: what they show parses, compiles and runs, what they name exists, every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.pages import FILES, ROOT, TEXTS, blocks, prose, shown

import docs
from costs import GPUS
from job_schema import job_schema
from scribe.cli.environment import Environment
from scribe.errors import WorkerError
from scribe.models.torchaudio_bundles import FILES as TORCHAUDIO_BUNDLES
from scribe.schema import aliases
from scribe.schema.parsing import parse
from scribe.schema.warnings import CODES

MOST_BYTES_OF_README = 8 * 1024
PLACEHOLDER = "https://example.com/"
VARIABLES = {name for names in docs.variables().values() for name in names}
# Not read by the worker: the caller's own, the build's, the loader's, a speaker's label, an aligner.
OTHER_VARIABLES = {
    *map(str.upper, Environment.model_fields),
    *TORCHAUDIO_BUNDLES,
    "ENDPOINT_ID",
    "RUNPOD_API_KEY",
    "JOB_ID",
    "PRELOAD_MODELS",
    "PRELOAD_ALIGNERS",
    "BASE_IMAGE",
    "DOCKER_BUILDKIT",
    "LD_LIBRARY_PATH",
    "SPEAKER_00",
    "IN_PROGRESS",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "PYANNOTE_METRICS_ENABLED",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "ORT_DISABLE_TELEMETRY",
    "RUNPOD_LOG_LEVEL",
    "RUNPOD_INIT_TIMEOUT",
    "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS",
    "YOUR_REGISTRY",
}
SCHEMA = json.loads(job_schema())
# The codes of the command line's own failures, as its source writes them.
CLIENT_CODES = {
    code
    for file in (ROOT / "src" / "scribe" / "cli").glob("*.py")
    for code in re.findall(r'(?:Failure|Unreachable)\(\s*f?"([a-z_]+)"', file.read_text("utf-8"))
}
KEYS = {
    *CLIENT_CODES,
    "job_failed",
    *(key for part in (*SCHEMA["properties"].values(), *SCHEMA["$defs"].values()) for key in part["properties"]),
    *docs.ANSWER,
    *docs.FAILURE,
    *(error.code for error in docs.leaves(WorkerError)),
    *("avg_logprob", "speaker_label", "expires_at", "real_time_factor", "word_segments", "stage_percent"),
}


def shape(value: Any) -> Any:
    """Keys and types of a JSON value; a list has the shapes of its elements, each once."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item)) for item in value})
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


JOBS = [job for name in TEXTS for job in shown(name)[0]]


@pytest.mark.parametrize("job", JOBS)
def test_every_job_that_is_shown_is_accepted(job: dict[str, Any]) -> None:
    parse(job["input"], s3_config=job.get("s3Config"))


@pytest.mark.parametrize("name", TEXTS)
def test_every_shell_example_is_bash_and_calls_make_targets_that_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    script = "\n".join(blocks(TEXTS[name], "bash"))
    subprocess.run(["bash", "-n"], input=script, encoding="utf-8", check=True)
    assert (
        set(re.findall(r"\bmake ([a-z-]+)", script + " ".join(re.findall(r"`[^`]+`", prose(TEXTS[name]))))) <= targets
    )


@pytest.mark.parametrize("snippet", [s for text in TEXTS.values() for s in blocks(text, "python")])
def test_every_python_example_compiles_and_its_imports_are_there(snippet: str) -> None:
    compile(snippet, "example", "exec")
    for module in re.findall(r"^import (\w+)$", snippet, re.MULTILINE):
        __import__(module)


@pytest.mark.parametrize("name", TEXTS)
def test_every_setting_that_is_named_exists(name: str) -> None:
    text = TEXTS[name]
    named = set(re.findall(r"(?<![\w$])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", prose(text)))
    named |= set(re.findall(r"^ *([A-Z][A-Z0-9_]+)=", "\n".join(blocks(text, "")), re.MULTILINE))
    named |= {
        word
        for word in re.findall(r"`([A-Z]{4,})(?:=[^`]*)?`", prose(text))
        if word not in ("FAILED", "COMPLETED", "COPY")
    }
    # RunPod's words, which look like variables: its job states and its pools of GPUs.
    named -= {"IN_QUEUE", "TIMED_OUT"} | {gpu.pool for gpu in GPUS}
    assert named <= VARIABLES | OTHER_VARIABLES


@pytest.mark.parametrize("name", TEXTS)
def test_every_key_that_is_named_exists(name: str) -> None:
    named = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)(?:: [^`]*)?`", prose(TEXTS[name])))
    # Names in the prose that are no keys: files, functions and values.
    named -= {*CODES, *aliases.TEXTS} | {
        *("align_failed", "diarize_failed", "name_failed", "vad_pause", "too_fast"),
        "hf_token",
        "init_and_run",
        "rp_handler",
        "speaker_processing",
        "get_ecapa",
        "use_auth_token",
        "assign_word_speakers",
    }
    assert named <= KEYS


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_of_the_repository_that_is_named_exists(name: str) -> None:
    named = re.findall(r"`((?:src|tests|builder|samples|docs|\.runpod|\.ci)/[\w./-]*)`", prose(TEXTS[name]))
    named += re.findall(
        r"(?<![\w/])((?:src|tests|builder|samples)/[\w./-]+\.(?:py|json))", "\n".join(blocks(TEXTS[name], "bash"))
    )
    named += re.findall(r"^(src/\w+\.py|src/[\w/]+/) ", "\n".join(blocks(TEXTS[name], "")), re.MULTILINE)
    assert [path for path in named if not (ROOT / path).exists()] == []


def anchors(text: str) -> set[str]:
    """The names under which GitHub links to a page's headings."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?)[ #]*$", prose(text), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{count}" if count else name)
    return names


@pytest.mark.parametrize("file", [*FILES, *ROOT.glob("samples/**/*.md"), *ROOT.glob("models/**/*.md")], ids=str)
def test_every_link_into_the_repository_leads_to_a_file_and_a_heading(file: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(file.read_text("utf-8"))):
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            lost.append(link)
    assert not lost


def test_a_heading_has_the_anchor_that_github_gives_it() -> None:
    page = "# Which GPU, and what it costs?\n## `scribe check`\n## Twice\n```\n# no heading\n```\n## Twice\n"
    assert anchors(page) == {"which-gpu-and-what-it-costs", "scribe-check", "twice", "twice-1"}


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].encode()) <= MOST_BYTES_OF_README


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)\)", TEXTS["README.md"]))
    assert {name for name in TEXTS if name != "README.md"} <= linked


@pytest.fixture
def storage() -> Iterator[dict[str, str]]:
    """The settings of an S3 server on loopback with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "reader-writer", "aws_secret_access_key": "not-a-secret"}
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys).create_bucket(Bucket="results")
    yield {"STORAGE_ENDPOINT": address, "STORAGE_BUCKET": "results", "STORAGE_ACCESS_KEY": "reader-writer",
           "STORAGE_SECRET_KEY": "not-a-secret"}  # fmt: skip
    server.stop()


# Both jobs in one process, which pays for its imports once: argv is the folder with tests/, then the storage's settings.
BOTH = """
import json, os, sys, tempfile
sys.path[:0] = [sys.argv[1], os.path.join(sys.argv[1], "..", "src")]
from pathlib import Path
from contract.files import FileServer
from test_worker_local import answered
with FileServer(Path(sys.argv[1], "..", "samples")) as files, tempfile.TemporaryDirectory() as scratch:
    waited, handed = (files.localize(job) for job in json.load(sys.stdin))
    answers = [answered(waited, files.host, scratch)]
    os.environ.update(json.loads(sys.argv[2]))
    answers.append(answered(handed, files.host, scratch))
print(json.dumps(answers))
"""


def test_the_real_answers_have_the_documented_keys_and_types(tmp_path: Path, storage: dict[str, str]) -> None:
    (by_readme, answers), (by_quickstart, responses) = shown("README.md"), shown("docs/quickstart.md")
    jobs = json.dumps([by_readme[0], by_quickstart[0]]).replace(PLACEHOLDER, "http://samples.local/")
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", BOTH, str(ROOT / "tests"), json.dumps(storage)],
        input=jobs, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    waited, handed = json.loads(done.stdout.splitlines()[-1])
    by_runsync, by_run = answers[0], responses[0]["output"]
    assert shape(waited) == shape(by_runsync)
    assert shape(handed) == shape(by_run)
    for same in ("detected_language", "duration", "segments_total", "truncated", "partial"):
        assert (waited[same], handed[same]) == (by_runsync[same], by_run[same])
    assert (waited["warnings"], waited["models"]) == (by_runsync["warnings"], by_runsync["models"])
    assert handed["models"] == by_run["models"]
    assert [s["score"] for s in waited["speakers"]] == pytest.approx(
        [s["score"] for s in by_runsync["speakers"]], abs=0.02
    )
    assert {s["label"]: s["name"] for s in waited["speakers"]} == {
        s["label"]: s["name"] for s in by_runsync["speakers"]
    }
