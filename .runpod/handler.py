"""The handler, where RunPod's Hub looks for one. The image itself starts src/init_and_run.py."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "src" / "init_and_run.py"), run_name="__main__")
