"""Files at loopback addresses: those that were added, whole, and nothing else."""

from __future__ import annotations

import os
import socket
import threading
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


def test_a_removed_or_deleted_file_is_not_found(tmp_path: Path) -> None:
    for name in ("a.mp3", "b.mp3"):
        (tmp_path / name).write_text("ID3")
    with LoopbackFiles() as files:
        removed, deleted = files.add(tmp_path / "a.mp3"), files.add(tmp_path / "b.mp3")
        files.remove(removed)
        (tmp_path / "b.mp3").unlink()
        for address in (removed, deleted):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(address, timeout=10)


def test_a_file_name_that_is_not_utf8_is_served(tmp_path: Path) -> None:
    recording = tmp_path / os.fsdecode(b"Gespr\xe4ch.mp3")
    recording.write_bytes(b"ID3")
    with LoopbackFiles() as files:
        address = files.add(recording)
        assert address.endswith("/Gespr%E4ch.mp3")
        assert urllib.request.urlopen(address, timeout=10).read() == b"ID3"


def test_a_client_that_closes_early_leaves_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "a.mp3"
    recording.write_bytes(bytes(50_000_000))
    with LoopbackFiles() as files:
        address = files.add(recording)
        for _ in range(3):
            with socket.create_connection(files.host.split(":"), timeout=10) as client:
                client.sendall(f"GET {address.removeprefix('http://' + files.host)} HTTP/1.0\r\n\r\n".encode())
                client.recv(10)
        served = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
        for thread in served:
            thread.join(timeout=30)
    assert capfd.readouterr().err == ""
