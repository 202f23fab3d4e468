"""What distinguishes one version of a model's files from another."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

END_BYTES = 65536


def revision(place: Path) -> str:
    """Return 12 hex digits: the commit of a snapshot or of a model in the image (`.revision`), else a digest of the file(s).

    The digest covers the names, sizes and the first and last 64 KiB of each file.
    """
    if place.parent.name == "snapshots":
        return place.name[:12]
    with contextlib.suppress(OSError):
        return (place / ".revision").read_text("utf-8")[:12]
    digest = hashlib.sha256()
    for file in [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(place)}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(END_BYTES))
            stream.seek(max(0, size - END_BYTES))
            digest.update(stream.read(END_BYTES))
    return digest.hexdigest()[:12]
