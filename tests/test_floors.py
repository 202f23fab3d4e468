"""The house rules that DESIGN's table of floors draws, read from the source and tried with the heavy libraries blocked."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
FLOORS = {
    0: "metadata "
    "transcript assignment job errors settings redact result sample foreign destination languages notice problems report gpu_fault "
    "gates coverage inline sentence_rules meaning unquoted links captions",
    1: "net fetch audio storage formats workspace weights progress log "
    "watch addresses decoder mixdown filekind pinned storage_fault job_storage s3source loading shelf hub machine threads viterbi spelling "
    "foresight timing hysteresis recent "
    "turnstile linking fitting published punkt snapshots staging bundles network_fault",
    2: "speaker_processing engines aligner stock_alignment diarizer embeddings vad doctor accelerator "
    "activity sliding lane checkpoint pyannet sentences cores",
    3: "predict stages models recognition naming delivery intake companion",
    4: "rp_handler platform",
    5: "init_and_run client scribe_client",
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms.split()}
# Rooms of one floor that belong together: the parts of one thing, and fetch, which is net's one customer.
NEIGHBOURS = {
    "fetch": {"net"},
    "fitting": {"shelf"},
    "net": {"watch", "addresses", "pinned"},
    "pinned": {"addresses", "watch"},
    "decoder": {"mixdown"},
    "audio": {"filekind"},
    "job_storage": {"net", "storage"},
    "s3source": {"net", "storage"},
    "storage": {"storage_fault"},
    "threads": {"machine"},
    "weights": {"punkt", "bundles", "snapshots", "published"},
    "punkt": {"published"},
    "bundles": {"published"},
    "published": {"staging"},
    "hub": {"snapshots", "staging", "network_fault"},
    "loading": {"network_fault"},
    "aligner": {"stock_alignment", "sentences", "cores"},
    "diarizer": {"embeddings", "activity", "sliding"},
    "embeddings": {"cores"},
    "sliding": {"cores"},
    "speaker_processing": {"cores"},
    "pyannet": {"checkpoint", "sliding", "cores"},
    "vad": {"pyannet", "sliding"},
    "doctor": {"accelerator", "engines"},
    "predict": {"stages", "models", "recognition", "naming", "companion"},
    "companion": {"stages"},
    "recognition": {"stages", "models"},
    "naming": {"stages", "models"},
    "rp_handler": {"platform"},
}
# The client is a program of its own, for users: it has a terminal, an environment and connections of its own.
CLIENT = {"client", "scribe_client"}
CLIENT_KNOWS = {*FLOORS[0].split(), "formats", "filekind"} | CLIENT
FILES = sorted(SRC.rglob("*.py"))
SOCKETS = {"socket", "ssl", "urllib3", "requests", "httpx", "aiohttp", "http.client", "urllib.request"}


def room_of(file: Path) -> str:
    """The room that a file belongs to; the package's own __init__ is "scribe"."""
    parts = file.relative_to(SRC).with_suffix("").parts
    if parts[0] != "scribe":
        return parts[0]
    return "scribe" if parts[1] == "__init__" else parts[1]


def imports(file: Path, tree: ast.AST | None = None) -> Iterator[str]:
    """Every module that the file imports, anywhere in it, as a dotted absolute name; names taken from `scribe` too."""
    package = ["src", *file.relative_to(SRC).parts[:-1]][1:]
    for node in ast.walk(tree or ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(file: Path) -> set[str]:
    found = set()
    for name in imports(file):
        parts = name.split(".")
        room = parts[1] if parts[0] == "scribe" and len(parts) > 1 else parts[0]
        if room in FLOOR:
            found.add(room)
    return found - {room_of(file)}


def users_of(modules: set[str]) -> set[str]:
    """The rooms that import one of these third-party or standard modules."""
    return {
        room_of(file)
        for file in FILES
        if any(name == m or name.startswith(f"{m}.") for name in imports(file) for m in modules)
    }


def test_every_file_has_its_place_in_the_house() -> None:
    assert {room_of(file) for file in FILES} - {"scribe"} <= set(FLOOR)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SRC)))
def test_a_file_imports_only_from_floors_below_its_own(file: Path) -> None:
    room = room_of(file)
    if room == "scribe":
        assert not rooms_imported(file)
        return
    known = rooms_imported(file) - NEIGHBOURS.get(room, set())
    if room in CLIENT:
        assert known <= CLIENT_KNOWS
    elif FLOOR[room] == 0:
        assert all(FLOOR[other] == 0 for other in known)
    else:
        assert {other for other in known if FLOOR[other] >= FLOOR[room]} == set()


def test_floor_0_knows_no_model_network_or_storage_library() -> None:
    heavy = users_of(
        {"torch", "whisperx", "faster_whisper", "pyannote", "speechbrain", "numpy", "av", "boto3", "runpod", *SOCKETS}
    )
    assert heavy.isdisjoint(FLOORS[0].split())


def test_only_the_rooms_of_models_touch_torch() -> None:
    assert users_of({"torch", "whisperx", "pyannote", "speechbrain"}) <= set(FLOORS[2].split())


def test_only_settings_reads_the_environment_and_only_init_and_run_writes_it() -> None:
    touching: dict[str, set[str]] = {}
    for file in FILES:
        names = {
            node.attr
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
        }
        touching.setdefault(room_of(file), set()).update(names & {"environ", "getenv", "putenv", "environb"})
    assert {room for room, names in touching.items() if names} - CLIENT <= {"settings", "init_and_run"}
    tree = ast.parse((SRC / "init_and_run.py").read_text("utf-8"))
    reads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and ast.unparse(node.value) == "os.environ"
    ]
    assert reads == []
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"os.environ.get", "os.getenv"}


def test_nobody_prints_but_the_programs_that_a_person_runs() -> None:
    speaking = {
        room_of(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert speaking - CLIENT <= {"init_and_run"}


def test_only_audio_starts_processes() -> None:
    assert users_of({"subprocess", "multiprocessing", "pty", "os.system", "os.popen", "os.fork"}) - CLIENT <= {"audio"}


def test_only_storage_imports_boto3() -> None:
    assert users_of({"boto3", "botocore", "s3transfer"}) - CLIENT <= {"storage", "storage_fault"}


def test_only_net_opens_sockets_and_platform_posts_to_runpod_and_published_downloads_models() -> None:
    assert users_of(SOCKETS) - CLIENT <= {"net", "pinned", "watch", "addresses", "platform", "published"}


def test_only_the_platform_room_knows_runpod() -> None:
    assert users_of({"runpod"}) - CLIENT <= {"platform"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SRC)))
def test_a_file_can_be_held_in_the_eye(file: Path) -> None:
    """250 lines at most, blank ones aside."""
    assert sum(1 for line in file.read_text("utf-8").splitlines() if line.strip()) <= 250


def without(blocked: list[str], imported: str) -> subprocess.CompletedProcess[str]:
    """Import a module in a fresh process in which `blocked` cannot be imported."""
    code = f"""
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Wall())
sys.path.insert(0, {str(SRC)!r})
import {imported}
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)


def test_the_handler_imports_without_torch_whisperx_and_boto3() -> None:
    done = without(
        ["torch", "torchaudio", "whisperx", "pyannote", "speechbrain", "ctranslate2", "boto3", "botocore"], "rp_handler"
    )
    assert done.returncode == 0, done.stderr


def test_the_predictor_imports_without_runpod_and_boto3() -> None:
    done = without(["runpod", "boto3", "botocore", "torch", "whisperx"], "predict")
    assert done.returncode == 0, done.stderr


def test_the_wall_of_these_tests_really_blocks() -> None:
    assert "blocked: json" in without(["json"], "rp_handler").stderr


def test_importing_init_and_run_starts_nothing() -> None:
    done = without(["torch", "runpod", "whisperx"], "init_and_run")
    assert (done.returncode, done.stdout) == (0, "")
