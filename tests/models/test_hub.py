"""Weights from a hub, by the hub's real client against a stand-in on loopback: whole, checked, at the right revision."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from support.demo import variables
from support.hub import Hub

from scribe.models import hub as room
from scribe.models.revision import revision
from scribe.models.snapshots import finished, repository_folder
from scribe.models.staging import FOLDER
from scribe.settings import ROOT

SRC = ROOT / "src"
NAME = "me/model"
TOKEN = "hf_canarytoken"
WEIGHTS = random.Random(7).randbytes(3_000_000)
BLOCK = 10 * 1024**2  # the client writes so many bytes at a time
LARGE = WEIGHTS * 8
KEPT = {"config.json": b"{}", "tokenizer.json": b"{}", "model.bin": WEIGHTS}
FILES = {**KEPT, "README.md": b"words", "tf_model.h5": b"x" * 20_000}

# What a process of its own does: the client reads its endpoint and its offline switch when it is imported.
BRING = f"""
import json, os, sys
from pathlib import Path
sys.path.insert(0, {str(SRC)!r})
from scribe.errors import WorkerError
from scribe.models import hub
from scribe.models.load_errors import loading
from scribe.models import staging
hub.PAUSES_S, hub.ASK_PAUSES_S = (0.0, 0.0, 0.0), (0.0, 0.0)
exec(os.environ.get("BEFORE", ""))
name, revision, cache, token = json.loads(sys.argv[1])
try:
    with loading("speech model", name):
        print(json.dumps({{"path": str(hub.bring(name, revision, Path(cache), token, "speech"))}}))
except WorkerError as error:
    print(json.dumps(error.to_dict()))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as served:
        served.publish(NAME, FILES)
        yield served


def environment(hub: Hub, tmp_path: Path, **more: str) -> dict[str, str]:
    """A process that knows the stand-in hub and nothing of this machine's configuration."""
    unwanted = {*variables(), "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return {**kept, **settings, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}


def starting(
    hub: Hub,
    tmp_path: Path,
    name: str = NAME,
    revision: str | None = None,
    token: str | None = None,
    before: str = "",
) -> subprocess.Popen[str]:
    """`before`: statements that the process executes first, with `hub` and `staging` at hand."""
    arguments = json.dumps([name, revision, str(tmp_path / "cache"), token])
    return subprocess.Popen(
        [sys.executable, "-c", BRING, arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(hub, tmp_path, BEFORE=before),
    )


def brought(*arguments: Any, **options: Any) -> dict[str, Any]:
    """What `bring` returned, {path}, or the failure as a job would be told it."""
    process = starting(*arguments, **options)
    out, err = process.communicate(timeout=120)
    assert out.strip(), err
    return json.loads(out.splitlines()[-1])


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_model_comes_whole_without_what_no_loader_reads_and_only_once(hub: Hub, tmp_path: Path) -> None:
    commit = hub.repositories[NAME].branches["main"]
    for _ in range(2):
        path = Path(brought(hub, tmp_path)["path"])
        assert path == finished(tmp_path / "cache", NAME)
        assert path.name == commit
    assert names(path) == set(KEPT)
    assert (path / "model.bin").read_bytes() == WEIGHTS
    assert hub.downloads("model.bin") == [""]


def foreign(tmp_path: Path, hub: Hub, *files: str, large: bytes = WEIGHTS) -> Path:
    """A cache as another tool leaves it that wrote the ref first and was stopped after some files."""
    commit, folder = hub.repositories[NAME].branches["main"], repository_folder(tmp_path / "cache", NAME)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    for name in files:
        (snapshot / name).write_bytes(large if name == "model.bin" else FILES[name])
    return snapshot


def test_a_cache_that_another_tool_began_is_completed_and_not_trusted(hub: Hub, tmp_path: Path) -> None:
    snapshot = foreign(tmp_path, hub, "config.json")
    assert finished(tmp_path / "cache", NAME) is None
    assert Path(brought(hub, tmp_path)["path"]) == snapshot == finished(tmp_path / "cache", NAME)
    assert (snapshot / "model.bin").read_bytes() == WEIGHTS


def test_what_another_tool_brought_is_compared_with_its_checksums_and_only_the_damaged_file_fetched(
    hub: Hub, tmp_path: Path
) -> None:
    snapshot = foreign(tmp_path, hub, *KEPT, large=b"x" + WEIGHTS[1:])
    brought(hub, tmp_path)
    assert (snapshot / "model.bin").read_bytes() == WEIGHTS
    assert (hub.downloads("model.bin"), hub.downloads("config.json")) == ([""], [])


def test_a_whole_cache_of_another_tool_serves_while_the_hub_is_down(hub: Hub, tmp_path: Path) -> None:
    snapshot = foreign(tmp_path, hub, *KEPT)
    hub.failing = 503
    assert Path(brought(hub, tmp_path)["path"]) == snapshot
    (snapshot / "model.bin").unlink()
    assert brought(hub, tmp_path)["code"] == "hub_unreachable"


def test_a_whole_cache_that_may_not_be_written_to_serves_as_it_is(hub: Hub, tmp_path: Path) -> None:
    snapshot = foreign(tmp_path, hub, *KEPT)
    before = sorted((tmp_path / "cache").rglob("*"))
    found = brought(hub, tmp_path, before="hub._is_read_only = lambda folder: True")
    assert Path(found["path"]) == snapshot
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert hub.downloads("model.bin") == []


def test_a_finished_snapshot_that_lost_a_file_is_completed(hub: Hub, tmp_path: Path) -> None:
    snapshot = Path(brought(hub, tmp_path)["path"])
    (snapshot / "model.bin").resolve().unlink()
    assert finished(tmp_path / "cache", NAME) is None
    assert (Path(brought(hub, tmp_path)["path"]) / "model.bin").read_bytes() == WEIGHTS


def test_the_commit_of_a_branch_stays_the_one_that_was_brought_first(hub: Hub, tmp_path: Path) -> None:
    first = Path(brought(hub, tmp_path)["path"])
    hub.publish(NAME, {**FILES, "config.json": b'{"new": 1}'})
    (first / "config.json").resolve().unlink()
    assert Path(brought(hub, tmp_path)["path"]) == first
    assert (first / "config.json").read_bytes() == b"{}"


def test_a_speech_model_without_its_tokenizer_is_refused_before_its_weights_are_fetched(
    hub: Hub, tmp_path: Path
) -> None:
    hub.publish(NAME, {name: data for name, data in FILES.items() if name != "tokenizer.json"})
    failure = brought(hub, tmp_path)
    assert (failure["code"], "tokenizer.json" in failure["error"]) == ("model_not_found", True)
    assert hub.downloads("model.bin") == []


def test_a_pinned_revision_is_taken_though_main_has_moved(hub: Hub, tmp_path: Path) -> None:
    old = hub.repositories[NAME].branches["main"]
    new = hub.publish(NAME, {**FILES, "config.json": b'{"new": 1}'})
    assert Path(brought(hub, tmp_path, revision=old)["path"]).name == old
    assert finished(tmp_path / "cache", NAME, old)
    assert finished(tmp_path / "cache", NAME) is None
    assert Path(brought(hub, tmp_path)["path"]).name == new
    assert finished(tmp_path / "cache", NAME) != finished(tmp_path / "cache", NAME, old)
    assert hub.downloads("model.bin") == [""], "the same bytes were fetched twice"


@pytest.mark.parametrize(
    ("prepare", "options", "code", "told"),
    [
        ({}, {"name": "me/absent"}, "gated_model", "check the name"),
        ({}, {"name": "me/absent", "token": TOKEN}, "model_not_found", "no model me/absent"),
        ({}, {"name": "not a name!"}, "model_not_found", "no model"),
        ({}, {"revision": "v9"}, "model_not_found", "no model me/model"),
        ({"private": True}, {}, "gated_model", "HF_TOKEN"),
        ({"gated": True}, {}, "gated_model", "https://huggingface.co/me/model"),
        ({"gated": True}, {"token": TOKEN}, "gated_model", "https://huggingface.co/me/model"),
    ],
)
def test_each_refusal_has_its_own_sentence(
    hub: Hub, tmp_path: Path, prepare: dict[str, Any], options: dict[str, Any], code: str, told: str
) -> None:
    for field, value in prepare.items():
        setattr(hub.repositories[NAME], field, value)
    failure = brought(hub, tmp_path, **options)
    assert (failure["code"], told in failure["error"]) == (code, True), failure
    assert TOKEN not in str(failure)
    assert hub.downloads("model.bin") == []


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_is_down_is_told_as_unreachable_and_worth_another_try(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.failing = status
    failure = brought(hub, tmp_path)
    assert (failure["code"], failure["retryable"]) == ("hub_unreachable", True)


def test_a_hub_that_fails_for_a_moment_while_it_sends_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.faults = [503, 500]
    assert (Path(brought(hub, tmp_path)["path"]) / "model.bin").read_bytes() == WEIGHTS


XET_FAULTS = (
    "Data processing error: CAS service error : Reqwest Error: HTTP status server error (503 Service Unavailable)",
    "Data processing error: Unable to fetch reconstruction info",
)


@pytest.mark.parametrize("words", XET_FAULTS)
def test_what_xet_says_of_its_servers_is_tried_again_and_the_last_time_without_xet(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_xet: list[bool] = []
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)

    def download() -> str:
        with_xet.append(not constants.HF_HUB_DISABLE_XET)
        if with_xet[-1]:
            raise RuntimeError(words)
        return "here"

    assert room._patient(download, (0.0, 0.0), NAME, last=room._without_xet) == "here"
    assert with_xet == [True, True, False]
    assert not constants.HF_HUB_DISABLE_XET


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(28, "No space left on device"), ValueError("x")])
def test_what_no_other_try_would_change_is_raised_at_once(error: Exception) -> None:
    calls: list[int] = []

    def download() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        room._patient(download, (0.0, 0.0), NAME)
    assert calls == [1]


def test_a_gated_model_is_refused_though_git_s_own_file_may_be_read(hub: Hub, tmp_path: Path) -> None:
    hub.publish(NAME, {".gitattributes": b"*.bin filter=lfs", **FILES})
    hub.repositories[NAME].gated = True
    program = BRING.replace("hub.bring(name, revision, Path(cache), token,", "hub.ask(name, revision, token,")
    arguments = json.dumps([NAME, None, str(tmp_path), TOKEN])
    done = subprocess.run(
        [sys.executable, "-c", program, arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env=environment(hub, tmp_path),
    )
    assert json.loads(done.stdout.splitlines()[-1])["code"] == "gated_model", done.stderr


def test_a_hub_that_is_not_there_is_told_as_unreachable(tmp_path: Path) -> None:
    with Hub() as gone:
        pass
    failure = brought(gone, tmp_path)
    assert failure["code"] == "hub_unreachable"
    assert NAME in failure["error"]


def test_a_gated_model_comes_for_a_token_whose_account_accepted_the_terms(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[NAME].gated = True
    hub.repositories[NAME].accepted = {TOKEN}
    assert "path" in brought(hub, tmp_path, token=TOKEN)


@pytest.mark.long
def test_a_cut_download_goes_on_where_it_broke_off(hub: Hub, tmp_path: Path) -> None:
    hub.publish(NAME, {**FILES, "model.bin": LARGE})
    hub.cuts = [BLOCK + 5, BLOCK + 5]
    path = Path(brought(hub, tmp_path)["path"])
    assert (path / "model.bin").read_bytes() == LARGE
    assert hub.downloads("model.bin") == ["", f"bytes={BLOCK}-", f"bytes={2 * BLOCK}-"]


@pytest.mark.long
def test_a_worker_that_died_while_downloading_leaves_no_half_model_and_its_bytes_are_used(
    hub: Hub, tmp_path: Path
) -> None:
    hub.publish(NAME, {**FILES, "model.bin": LARGE})
    hub.stall_after = BLOCK + 100_000
    dying = starting(hub, tmp_path)
    assert hub.stalled.wait(60)
    for _ in range(1000):
        if any(p.stat().st_size >= BLOCK for p in (tmp_path / "cache" / ".staging").rglob("*.incomplete")):
            break
        time.sleep(0.02)
    dying.kill()
    dying.communicate(timeout=30)
    assert finished(tmp_path / "cache", NAME) is None
    hub.stall_after = None
    path = Path(brought(hub, tmp_path)["path"])
    assert (path / "model.bin").read_bytes() == LARGE
    assert hub.downloads("model.bin") == ["", f"bytes={BLOCK}-"]


@pytest.mark.long
def test_two_workers_that_bring_one_model_never_show_half_of_it(hub: Hub, tmp_path: Path) -> None:
    both = [starting(hub, tmp_path), starting(hub, tmp_path)]
    seen = 0
    while any(process.poll() is None for process in both):
        if snapshot := finished(tmp_path / "cache", NAME):
            seen += 1
            assert (snapshot / "config.json").read_bytes() == FILES["config.json"]
            assert (snapshot / "model.bin").stat().st_size == len(WEIGHTS)
    answers = [json.loads(process.communicate(timeout=60)[0].splitlines()[-1]) for process in both]
    assert answers[0] == answers[1] == {"path": str(finished(tmp_path / "cache", NAME))}


NO_LOCKS = """
def none(*_):
    raise OSError(38, "Function not implemented")
staging.fcntl.flock = none
"""


@pytest.mark.long
def test_two_workers_whose_volume_knows_no_locks_do_not_spoil_each_other(hub: Hub, tmp_path: Path) -> None:
    both = [starting(hub, tmp_path, before=NO_LOCKS) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in both]
    assert answers[0] == answers[1] == {"path": str(finished(tmp_path / "cache", NAME))}
    assert (Path(answers[0]["path"]) / "model.bin").read_bytes() == WEIGHTS


@pytest.mark.long
def test_a_worker_that_hangs_does_not_stop_another_for_ever(hub: Hub, tmp_path: Path) -> None:
    hub.publish(NAME, {**FILES, "model.bin": LARGE})
    hub.stall_after = BLOCK + 5
    hanging = starting(hub, tmp_path)
    assert hub.stalled.wait(60)
    hub.stall_after = None
    found = brought(hub, tmp_path, before="hub.TURN_S = 0.0")
    assert (Path(found["path"]) / "model.bin").read_bytes() == LARGE
    hub.released.set()
    out, err = hanging.communicate(timeout=120)
    assert json.loads(out.splitlines()[-1]) == found, err
    assert (Path(found["path"]) / "model.bin").read_bytes() == LARGE


def test_nothing_stays_behind_a_finished_download(hub: Hub, tmp_path: Path) -> None:
    brought(hub, tmp_path)
    assert names(tmp_path / "cache" / FOLDER) == {"models--me--model.lock"}


def test_bytes_that_are_not_the_announced_ones_are_fetched_again_at_once(hub: Hub, tmp_path: Path) -> None:
    hub.spoiled = 1
    assert (Path(brought(hub, tmp_path)["path"]) / "model.bin").read_bytes() == WEIGHTS
    assert hub.downloads("model.bin") == ["", ""]


def test_bytes_that_are_not_the_announced_ones_twice_are_refused_and_fetched_anew_the_next_time(
    hub: Hub, tmp_path: Path
) -> None:
    hub.spoiled = 2
    failure = brought(hub, tmp_path)
    assert (failure["code"], "model.bin" in failure["error"]) == ("weights_corrupt", True)
    assert finished(tmp_path / "cache", NAME) is None
    assert (Path(brought(hub, tmp_path)["path"]) / "model.bin").read_bytes() == WEIGHTS


def test_a_cache_that_may_not_be_written_to_is_told_as_such(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    failure = brought(hub, tmp_path)
    assert (failure["code"], "HF_HOME" in failure["error"]) == ("model_not_found", True)
    assert str(tmp_path) not in str(failure)


LOAD_ALL = f"""
import json, os, sys
sys.path.insert(0, {str(SRC)!r})
from scribe import settings as module
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
settings = module.load(None)
places = ModelSet(settings)
ModelSet.punkt = lambda self, language: None  # they come from another server, which no test asks
if places.is_local:
    os.environ["HF_HUB_OFFLINE"] = "1"
models = Models(places, "cpu")
models.engine(places.speech()), models.aligner("en"), models.diarizer(), models.encoder()
models.engine(places.speech())
print(json.dumps({{**places.identities(), "align": places.aligner("en").identity, "kept": models._cache.names()}}))
"""


def test_every_kind_of_model_comes_from_the_hub_and_afterwards_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    folders = {
        "whisper": "WHISPERX_MODEL",
        "aligner": "ALIGN_MODEL",
        "diarization": "DIARIZATION_MODEL",
        "ecapa": "SPEAKER_MODEL",
    }
    commits = {name: hub.publish(f"me/{name}", ROOT / "models" / "demo" / name) for name in folders}
    hub.publish("me/diarization", {"config.yaml": b"moved on"})
    named = {variable: f"me/{name}" for name, variable in folders.items()}
    named["DIARIZATION_MODEL"] += f"@{commits['diarization']}"
    for run in range(2):
        env = environment(hub, tmp_path, MODEL_SET="demo", OMP_NUM_THREADS="1", JOBS_DIR=str(tmp_path), **named)
        done = subprocess.run(
            [sys.executable, "-c", LOAD_ALL], capture_output=True, encoding="utf-8", timeout=900, env=env
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert len([name for name in found["kept"] if name.startswith("asr:")]) == 1
        assert [found[stage] for stage in ("transcribe", "align", "diarize", "name")] == [
            f"me/{name}@{commits[name][:12]}" for name in folders
        ]
        if run == 0:
            asked = len(hub.requests)
            hub.failing = 503
    assert len(hub.requests) == asked, "the second start asked the hub"


BAKE = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(ROOT / "builder")!r}]
import fetch_models
fetch_models.fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3]), None)
"""


def baked(hub: Hub, tmp_path: Path, kind: str, name: str, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BAKE, kind, name, str(target)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, env=environment(hub, tmp_path))


def test_a_baked_model_is_plain_files_that_carry_their_revision(hub: Hub, tmp_path: Path) -> None:
    commit = hub.publish("Systran/faster-whisper-small", FILES)
    hub.publish("Systran/faster-whisper-small", {"model.bin": b"newer"})
    target = tmp_path / "set" / "small"
    done = baked(hub, tmp_path, "speech", f"small@{commit}", target.parent)
    assert done.returncode == 0, done.stderr
    assert names(target) == {*KEPT, ".revision"}
    assert not any(p.is_symlink() for p in target.rglob("*"))
    assert (target / "model.bin").read_bytes() == WEIGHTS
    assert revision(target) == commit[:12]
    assert [p.name for p in target.parent.iterdir()] == ["small"]


def test_a_bake_that_breaks_off_leaves_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.publish("Systran/faster-whisper-small", FILES)
    hub.spoiled = 2
    target = tmp_path / "set" / "small"
    assert baked(hub, tmp_path, "speech", "small", target.parent).returncode != 0
    assert not target.exists()
