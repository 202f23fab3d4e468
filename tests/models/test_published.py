"""Files at public addresses (torchaudio's aligners, NLTK's tables): whole, checked, and never half a file in place."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled
from support.loopback import Loopback, page

from scribe.errors import ModelNotFound, WeightsCorrupt
from scribe.models import published
from scribe.models.published import Published
from scribe.models.staging import FOLDER

WEIGHTS = random.Random(3).randbytes(400_000)
SHA = hashlib.sha256(WEIGHTS).hexdigest()
CUT = 2 * published.BLOCK_BYTES
WHOLE = page(WEIGHTS)
SPOILED = page(b"x" + WEIGHTS[1:])
DOWN = page(status="503 Service Unavailable")


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(published, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def cut(after: int) -> bytes:
    """An answer that announces everything and closes the connection early."""
    return page(WEIGHTS[:after], Content_Length=len(WEIGHTS))


def rest(start: int) -> bytes:
    span = f"bytes {start}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"
    return page(WEIGHTS[start:], "206 Partial Content", Content_Range=span)


def documented(server: Loopback) -> Published:
    return Published(f"{server.url}/a/model.pt", len(WEIGHTS), SHA)


def undocumented(server: Loopback) -> Published:
    return Published(f"{server.url}/a/model.pt")


def ranges(server: Loopback) -> list[str]:
    found = [re.search(rb"(?i)\r\nrange: (\S+)", request) for request in server.requests]
    return [match[1].decode() if match else "" for match in found]


def names(folder: Path) -> set[str]:
    """The files but the lock and the folders of the downloads."""
    return {path.name for path in folder.iterdir()} - {FOLDER}


@pytest.mark.parametrize("described", [documented, undocumented])
def test_a_file_comes_whole_and_only_once(described: Callable[[Loopback], Published], tmp_path: Path) -> None:
    with Loopback(WHOLE) as server:
        for _ in range(3):
            assert published.bring(described(server), tmp_path / "cache").read_bytes() == WEIGHTS
        assert len(server.requests) == 1
    assert names(tmp_path / "cache") - {"model.pt.checked.json"} == {"model.pt"}


@pytest.mark.parametrize("described", [documented, undocumented])
def test_a_connection_closed_early_is_gone_on_with_and_never_moved_into_place(
    described: Callable[[Loopback], Published], tmp_path: Path
) -> None:
    with Loopback(cut(CUT), DOWN, rest(CUT)) as server:
        assert published.bring(described(server), tmp_path).read_bytes() == WEIGHTS
        assert ranges(server) == ["", f"bytes={CUT}-", f"bytes={CUT}-"]


@pytest.mark.parametrize("described", [documented, undocumented])
def test_a_server_that_always_closes_early_leaves_nothing(
    described: Callable[[Loopback], Published], tmp_path: Path
) -> None:
    with Loopback(cut(CUT)) as server, pytest.raises(requests.RequestException):
        published.bring(described(server), tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("answer", [WHOLE, page(WEIGHTS, "206 Partial Content"), rest(5)])
def test_a_server_that_sends_another_part_than_asked_for_is_taken_from_the_start(tmp_path: Path, answer: bytes) -> None:
    with Loopback(cut(CUT), answer, WHOLE) as server:
        assert published.bring(documented(server), tmp_path).read_bytes() == WEIGHTS


def test_other_bytes_than_documented_are_fetched_once_more(tmp_path: Path) -> None:
    with Loopback(SPOILED, WHOLE) as server:
        assert published.bring(documented(server), tmp_path).read_bytes() == WEIGHTS
        assert len(server.requests) == 2


def test_other_bytes_than_documented_twice_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with Loopback(SPOILED) as server, pytest.raises(WeightsCorrupt, match=r"model\.pt"):
        published.bring(documented(server), tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("described", [documented, undocumented])
def test_half_a_file_that_another_tool_left_is_replaced(
    described: Callable[[Loopback], Published], tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(WEIGHTS[:1000])
    with Loopback(WHOLE) as server:
        assert published.bring(described(server), tmp_path).read_bytes() == WEIGHTS


@pytest.mark.parametrize("described", [documented, undocumented])
def test_a_whole_file_that_another_tool_left_is_taken(
    described: Callable[[Loopback], Published], tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(WEIGHTS)
    with Loopback(page(Content_Length=len(WEIGHTS))) as server:
        published.bring(described(server), tmp_path)
        assert not any(request.startswith(b"GET") for request in server.requests)


def test_an_undocumented_file_is_compared_with_its_first_complete_download(tmp_path: Path) -> None:
    with Loopback(WHOLE) as server:
        place = published.bring(undocumented(server), tmp_path)
        note = json.loads((tmp_path / "model.pt.checked.json").read_text("utf-8"))
        assert (note["bytes"], note["sha256"]) == (len(WEIGHTS), SHA)
        place.write_bytes(b"x" + WEIGHTS[1:])
        assert published.bring(undocumented(server), tmp_path).read_bytes() == WEIGHTS
    place.unlink()
    with Loopback(SPOILED) as moved, pytest.raises(WeightsCorrupt):
        published.bring(undocumented(moved), tmp_path)


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden"])
def test_a_refusal_is_final_and_names_the_address(tmp_path: Path, status: str) -> None:
    with Loopback(page(status=status)) as server, pytest.raises(ModelNotFound, match=r"/a/model\.pt"):
        published.bring(documented(server), tmp_path)
    assert len(server.requests) == 1


def test_a_download_has_an_end_however_slow_the_server(tmp_path: Path) -> None:
    with Loopback(WHOLE) as server, pytest.raises(requests.Timeout):
        published.bring(documented(server), tmp_path, limit_s=0.0)
    assert names(tmp_path) == set()


def test_offline_means_that_no_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with Loopback(WHOLE) as server:
        with pytest.raises(OfflineModeIsEnabled):
            published.bring(documented(server), tmp_path)
        assert server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_used_where_the_file_is_whole(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(WEIGHTS)
    tmp_path.chmod(0o500)
    try:
        with Loopback(page(Content_Length=len(WEIGHTS))) as server:
            for described in (documented, undocumented):
                assert published.bring(described(server), tmp_path) == tmp_path / "model.pt"
    finally:
        tmp_path.chmod(0o700)


def test_a_checked_file_is_read_again_only_after_it_was_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = published.file_digest
    monkeypatch.setattr(published, "file_digest", lambda path: (read.append(path), real(path))[1])
    with Loopback(WHOLE) as server:
        file = documented(server)
        place = published.bring(file, tmp_path)
        read.clear()
        assert published.bring(file, tmp_path) == place
        assert read == []
        place.write_bytes(SPOILED[-len(WEIGHTS) :])
        assert published.bring(file, tmp_path).read_bytes() == WEIGHTS
        assert read
