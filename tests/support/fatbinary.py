"""What a CUDA library holds code for, read from its fat binaries, as `cuobjdump` lists them."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

MAGIC = struct.pack("<I", 0xBA55ED50)
PTX, CUBIN = 1, 2


def architectures(library: Path) -> dict[int, set[int]]:
    """{PTX or CUBIN: the chips}, 86 for compute capability 8.6.

    A fat binary is a header (magic, version, header size, size of what follows) and entries, each with a header of its own
    (kind at byte 0, header size at 4, payload size at 8, chip at 28) before its payload.
    """
    found: dict[int, set[int]] = {PTX: set(), CUBIN: set()}
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = data.find(MAGIC)
        while place >= 0:
            version, header, size = struct.unpack_from("<HHQ", data, place + 4)
            entry, end = place + header, place + header + size
            whole = version == 1 and header == 16 and end <= len(data)
            while whole and entry + 32 <= end:
                kind, _, header, size = struct.unpack_from("<HHIQ", data, entry)
                found[kind].add(struct.unpack_from("<I", data, entry + 28)[0])
                entry += header + size
            place = data.find(MAGIC, end if whole else place + 4)
    return found
