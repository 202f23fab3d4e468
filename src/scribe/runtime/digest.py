"""Digests of whole files, read a block at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

BLOCK_BYTES = 1 << 20


class Digest(Protocol):
    """One of hashlib's."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def file_digest(path: Path, begun: Digest | None = None) -> str:
    """Return the SHA-256 of a file as hex digits, or the digest `begun` continued with the file. Raises OSError.

    hashlib.file_digest does the same from Python 3.11 on.
    """
    digest = begun or hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
