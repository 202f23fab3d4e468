"""The house rules that import-linter cannot tell: who reads the environment, prints, opens sockets; and that its rules bite."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
FILES = sorted(SRC.rglob("*.py"))
FACES = ("init_and_run", "rp_handler", "predict", "speaker_processing")
# The client is a program of its own, for users: it has a terminal, an environment and connections of its own.
CLIENT = {"client", "cli"}
SOCKETS = {"socket", "ssl", "urllib3", "requests", "httpx", "aiohttp", "http.client", "urllib.request"}


def room_of(file: Path) -> str:
    """The room that a file belongs to; a module in no room by its own name."""
    parts = file.relative_to(SRC).with_suffix("").parts
    return parts[0] if parts[0] != "scribe" else parts[1]


def imports(file: Path) -> Iterator[str]:
    """Every module that the file imports, anywhere in it, as a dotted absolute name; names taken from modules too."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def users_of(modules: set[str]) -> set[str]:
    """The files, as dotted names, that import one of these modules."""
    return {
        ".".join(file.relative_to(SRC).with_suffix("").parts)
        for file in FILES
        if any(name == m or name.startswith(f"{m}.") for name in imports(file) for m in modules)
    }


def test_nothing_in_the_package_imports_the_users_four_files() -> None:
    assert {user for user in users_of(set(FACES)) if user.startswith("scribe.")} == set()


def test_only_settings_reads_the_environment_and_only_the_app_writes_it() -> None:
    touching: dict[str, set[str]] = {}
    for file in FILES:
        names = {
            node.attr
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
        }
        touching.setdefault(room_of(file), set()).update(names & {"environ", "getenv", "putenv", "environb"})
    assert {room for room, names in touching.items() if names} - CLIENT <= {"settings", "app"}
    tree = ast.parse((SRC / "scribe" / "app" / "environment.py").read_text("utf-8"))
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
    assert speaking - CLIENT <= {"init_and_run", "app"}


def test_only_net_opens_sockets_and_the_door_posts_to_runpod_and_published_downloads_models() -> None:
    users = {user for user in users_of(SOCKETS) if user.split(".")[0] not in CLIENT}
    users = {user for user in users if not user.startswith(("scribe.net.", "scribe.cli."))}
    assert users <= {"scribe.doors.runpod_sdk", "scribe.models.published"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SRC)))
def test_a_file_can_be_held_in_the_eye(file: Path) -> None:
    """250 lines at most, blank ones aside."""
    assert sum(1 for line in file.read_text("utf-8").splitlines() if line.strip()) <= 250


@pytest.mark.parametrize("room", sorted(p.parent for p in SRC.glob("scribe/*/__init__.py")), ids=lambda p: p.name)
def test_a_room_says_in_its_first_line_what_it_is_for(room: Path) -> None:
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8")))
    assert said
    assert said.splitlines()[0].endswith(".")


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the sources with the configuration in that folder."""
    return subprocess.run(
        [shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or "lint-imports", "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_no_room_imports_from_a_room_above_it() -> None:
    done = linted(ROOT)
    assert done.returncode == 0, done.stdout


def test_a_swapped_layer_is_caught(tmp_path: Path) -> None:
    rules = (ROOT / "pyproject.toml").read_text("utf-8")
    swapped = rules.replace('    "jobs",\n    "doctor | pipeline",\n', '    "doctor | pipeline",\n    "jobs",\n')
    assert swapped != rules
    (tmp_path / "pyproject.toml").write_text(swapped, "utf-8")
    done = linted(tmp_path)
    assert done.returncode == 1
    assert "scribe.jobs" in done.stdout


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


def test_the_core_of_every_door_imports_without_a_platform() -> None:
    done = without(["runpod", "aiohttp", "fastapi", "boto3", "botocore", "torch", "whisperx"], "scribe.jobs.runner")
    assert done.returncode == 0, done.stderr


def test_the_wall_of_these_tests_really_blocks() -> None:
    assert "blocked: json" in without(["json"], "rp_handler").stderr


def test_importing_init_and_run_starts_nothing() -> None:
    done = without(["torch", "runpod", "whisperx"], "init_and_run")
    assert (done.returncode, done.stdout) == (0, "")
