"""The package: what its wheel carries, what it needs, and where an installed one finds its data."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

from scribe.settings import ROOT, data_root
from scribe.version import __version__

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built offline by its backend."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as opened:
        yield opened


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (found,) = [member for member in wheel.namelist() if member.endswith(f".dist-info/{name}")]
    return wheel.read(found).decode()


def test_the_wheel_carries_every_module_the_page_and_the_model_sets(wheel: zipfile.ZipFile) -> None:
    carried = set(wheel.namelist())
    source = REPOSITORY / "src"
    assert {file.relative_to(source).as_posix() for file in source.glob("scribe/**/*.py")} <= carried
    assert {"scribe/py.typed", *(f"scribe/formats/page.{end}" for end in ("html", "css", "js"))} <= carried
    for name in ("default", "demo"):
        files = [file for file in (REPOSITORY / "models" / name).rglob("*") if file.is_file()]
        assert {f"scribe/data/{file.relative_to(REPOSITORY).as_posix()}" for file in files} <= carried
    outside = {name for name in carried if not name.startswith(("scribe/", f"scribe_worker-{__version__}.dist-info/"))}
    assert outside == set(), "the four faces stay in the repository"


def test_the_networks_of_the_demo_models_come_with_all_that_they_import(wheel: zipfile.ZipFile) -> None:
    folder = "scribe/data/builder/demo_models/"
    carried = {name.removeprefix(folder).removesuffix(".py") for name in wheel.namelist() if name.startswith(folder)}
    for name in carried:
        wanted = re.findall(r"from demo_models\.(\w+) import", wheel.read(f"{folder}{name}.py").decode())
        assert set(wanted) <= carried
    assert "speaker_segmentation" in carried


def test_the_metadata_names_the_command_the_version_and_the_light_needs(wheel: zipfile.ZipFile) -> None:
    told = Parser().parsestr(metadata(wheel, "METADATA"))
    assert (told["Name"], told["Version"], told["Requires-Python"]) == ("scribe-worker", __version__, ">=3.10")
    assert metadata(wheel, "entry_points.txt").split("\n")[:2] == ["[console_scripts]", "scribe = scribe.app:main"]
    needed = {re.match(r"[\w.-]+", line)[0] for line in told.get_all("Requires-Dist", []) if "extra ==" not in line}  # type: ignore[index]
    assert needed == {"pydantic", "pydantic-settings", "requests", "rich", "tomli", "typer"}
    assert set(told.get_all("Provides-Extra", [])) == {"storage", "worker"}


def test_the_workers_extra_is_what_its_lock_is_resolved_from(wheel: zipfile.ZipFile) -> None:
    told = Parser().parsestr(metadata(wheel, "METADATA")).get_all("Requires-Dist", [])
    extra = {line.partition(";")[0].strip() for line in told if "extra == 'worker'" in line}
    lines = (REPOSITORY / "builder" / "requirements.in").read_text("utf-8").splitlines()
    wanted = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    assert extra == {line.replace("pyannote.audio", "pyannote-audio") for line in wanted}, "as PEP 503 writes the name"


def test_an_installed_package_finds_its_data_in_itself_and_a_checkout_around_itself(tmp_path: Path) -> None:
    assert ROOT == REPOSITORY
    package = tmp_path / "lib" / "site-packages" / "scribe"
    package.mkdir(parents=True)
    assert data_root(package) == tmp_path / "lib"
    (package / "data" / "models").mkdir(parents=True)
    assert data_root(package) == package / "data"


def test_the_wheel_runs_where_it_is_unpacked_on_the_demo_set_that_it_carries(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path / "site")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from scribe import settings\n"
        "from scribe.models.model_set import ModelSet\n"
        "places = ModelSet(settings.load(None, model_set='demo'))\n"
        "places.admit_code()\n"
        "import demo_models\n"
        "print(places.is_local, places.speech().path, demo_models.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "site")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    data = tmp_path / "site" / "scribe" / "data"
    wanted = f"True {data}/models/demo/whisper {data}/builder/demo_models/__init__.py"
    assert done.stdout.strip() == wanted, done.stderr
