"""NLTK's sentence tables: fetched once into the model cache, unpacked without trust, and done without where they cannot be had."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.demo import configured, variables
from support.loopback import Loopback, page

from scribe import settings as settings_module
from scribe.errors import WeightsCorrupt
from scribe.models import published, punkt
from scribe.models.model_set import ModelSet
from scribe.models.published import Published
from scribe.models.staging import FOLDER

TABLES = {f"punkt_tab/{language}/{name}": b"a\tb\n" for language in ("german", "english") for name in punkt.FILES}
ODD = {
    "punkt_tab/README": b"words",
    "../escaped/abbrev_types.txt": b"x",
    "/abbrev_types.txt": b"x",
    "punkt_tab/../abbrev_types.txt": b"x",
    "punkt_tab/german/../../../abbrev_types.txt": b"x",
    "punkt_tab/german/run.py": b"x",
}


def zipped(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(published, "PAUSES_S", (0.0,))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings_module, "VOLUME", tmp_path / "volume")


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    return zipped(TABLES | ODD)


def served(monkeypatch: pytest.MonkeyPatch, server: Loopback, data: bytes) -> None:
    address = f"{server.url}/punkt_tab.zip"
    monkeypatch.setattr(punkt, "ARCHIVE", Published(address, sha256=hashlib.sha256(data).hexdigest()))


def places(tmp_path: Path, **values: str) -> ModelSet:
    return ModelSet(configured(**{"model_set": "default", "hf_home": tmp_path / "hf", **values}))


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if FOLDER not in name}


def test_the_tables_come_once_for_all_languages_and_nothing_else_is_unpacked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: bytes
) -> None:
    with Loopback(page(archive)) as server:
        served(monkeypatch, server, archive)
        folder = places(tmp_path).punkt("german")
        assert folder == tmp_path / "hf" / "hub" / "nltk_data"
        assert places(tmp_path).punkt("english") == folder
        assert len(server.requests) == 1
    assert files(tmp_path) == {f"hf/hub/nltk_data/tokenizers/{name}" for name in TABLES}


def test_baked_tables_are_taken_without_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = places(tmp_path)
    monkeypatch.setattr(asked, "_folder", tmp_path / "set")
    tables = tmp_path / "set" / "nltk_data" / "tokenizers" / "punkt_tab" / "german"
    tables.mkdir(parents=True)
    for name in punkt.FILES:
        (tables / name).write_bytes(b"a\t1\n")
    with Loopback(page(status="404 Not Found")) as server:
        served(monkeypatch, server, b"")
        assert asked.punkt("german") == tmp_path / "set" / "nltk_data"
        assert server.requests == []


def test_a_language_that_the_archive_has_not_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: bytes
) -> None:
    with Loopback(page(archive)) as server:
        served(monkeypatch, server, archive)
        asked = places(tmp_path)
        assert (asked.punkt("welsh"), asked.punkt("klingon")) == (None, None)
        assert len(server.requests) == 1


def test_tables_that_cannot_be_had_are_asked_for_once_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Loopback(page(status="404 Not Found")) as server, caplog.at_level(logging.WARNING):
        served(monkeypatch, server, b"")
        asked = places(tmp_path)
        assert [asked.punkt(language) for language in ("german", "german", "english")] == [None, None, None]
        assert len(server.requests) == 1
    assert sum("sentence tables" in record.message for record in caplog.records) == 1


def test_other_bytes_than_nltks_are_not_unpacked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: bytes
) -> None:
    with Loopback(page(zipped(TABLES | {"punkt_tab/german/abbrev_types.txt": b"other"}))) as server:
        served(monkeypatch, server, archive)
        assert places(tmp_path).punkt("german") is None
    assert files(tmp_path) == set()


def test_a_set_that_needs_no_network_never_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archive: bytes
) -> None:
    with Loopback(page(archive)) as server:
        served(monkeypatch, server, archive)
        assert places(tmp_path, model_set="demo").punkt("german") is None
        assert server.requests == []


def test_empty_tables_are_no_tables(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizers" / "punkt_tab" / "german"
    folder.mkdir(parents=True)
    for name in punkt.FILES:
        (folder / name).touch()
    assert not punkt.holds(tmp_path, "german")
    (folder / "ortho_context.tab").write_text("a\t1\n")
    assert punkt.holds(tmp_path, "german")
    (folder / "sent_starters.txt").unlink()
    assert not punkt.holds(tmp_path, "german")


def test_what_is_no_archive_or_holds_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(WeightsCorrupt):
        punkt.unpack(tmp_path / "a.zip", tmp_path / "out")
    monkeypatch.setattr(punkt, "LARGEST_BYTES", 3)
    (tmp_path / "b.zip").write_bytes(zipped(TABLES))
    with pytest.raises(WeightsCorrupt):
        punkt.unpack(tmp_path / "b.zip", tmp_path / "out")
