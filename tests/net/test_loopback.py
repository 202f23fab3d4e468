"""Files at loopback addresses: those that were added, whole, and nothing else."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from scribe.net.client import GuardedClient
from scribe.net.download import fetch
from scribe.net.loopback import LoopbackFiles


def test_an_added_file_is_fetched_whole_by_the_workers_own_client(tmp_path: Path) -> None:
    recording = tmp_path / "Gespräch 1.mp3"
    recording.write_bytes(bytes(range(256)) * 20_000)
    with LoopbackFiles() as files:
        address = files.add(recording)
        found = fetch(
            GuardedClient(frozenset({files.host})), address, tmp_path / "got", max_bytes=10**8, deadline_s=30.0
        )
    assert found.path.read_bytes() == recording.read_bytes()
    assert found.warnings == ()
    assert address.endswith("/Gespr%C3%A4ch%201.mp3")


@pytest.mark.parametrize("place", ["/", "/a.mp3", "/../a.mp3", "/etc/passwd", "/%2e%2e/a.mp3"])
def test_nothing_else_can_be_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "a.mp3").write_text("ID3")
    with LoopbackFiles() as files:
        files.add(tmp_path / "a.mp3")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{files.host}{place}", timeout=10)


def test_two_addresses_of_one_file_cannot_be_guessed_from_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_text("ID3")
    with LoopbackFiles() as files:
        one, other = (files.add(tmp_path / "a.mp3").split("/")[3] for _ in "ab")
    assert one != other
    assert len(one) >= 20
