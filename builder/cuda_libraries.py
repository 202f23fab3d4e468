"""Load every library of the installed nvidia wheels by its name alone, each in the way CTranslate2 does: through the linker.

    python3 builder/cuda_libraries.py

Needs no GPU and no torch. Prints what does not load and ends with 1. The image test runs it inside the image.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from scribe.runtime.machine import CUDA_LIBRARIES, wheel_libraries

# For copies between a disk and another machine's GPU over InfiniBand; wants a driver library that no image here has.
UNUSED = {"libcufile_rdma.so.1"}


def main() -> int:
    """0 when each one loads and none of those that the worker opens is missing from the wheels."""
    found = wheel_libraries()
    missing = [f"{name}: not in the wheels" for name in CUDA_LIBRARIES if name not in found]
    for name in sorted(set(found) - UNUSED):
        try:
            ctypes.CDLL(name)
        except OSError as error:
            missing.append(str(error))
    print("\n".join([*missing, f"{len(found) - len(missing)} of {len(found)} libraries load by name"]))
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
