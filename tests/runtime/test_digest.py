"""A file's digest is the one of its bytes, however many blocks they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from scribe.runtime.digest import BLOCK_BYTES, file_digest


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path, length: int) -> None:
    (tmp_path / "f").write_bytes(b"x" * length)
    assert file_digest(tmp_path / "f") == hashlib.sha256(b"x" * length).hexdigest()


def test_a_digest_that_has_begun_goes_on(tmp_path: Path) -> None:
    """As git's of a file, which begins with its length."""
    (tmp_path / "f").write_bytes(b"hello\n")
    begun = hashlib.sha1(b"blob 6\0", usedforsecurity=False)
    assert file_digest(tmp_path / "f", begun) == "ce013625030ba8dba906f756967f9e9ca394464a"
