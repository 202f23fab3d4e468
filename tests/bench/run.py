"""make bench: the worker against the pinned stock code, part by part. Prints a table and keeps it with a plot.

python tests/bench/run.py [part ...] [--out tests/bench/results]

A part is a module of parts/ with `measure() -> list[Row]`. Each runs in a process of its own, so that what one imports
or leaves in memory is not measured by the next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from bench.row import Row, spread  # noqa: E402

PARTS = sorted(file.stem for file in (Path(__file__).parent / "parts").glob("*.py") if file.stem != "__init__")
LIMIT_S = 1200
ONE_PART = """
import importlib, json, sys
from dataclasses import asdict
rows = importlib.import_module("bench.parts." + sys.argv[1]).measure()
open(sys.argv[2], "w").write(json.dumps([asdict(row) for row in rows]))
"""


def measured(part: str, out: Path) -> list[Row]:
    """The rows of one part. Raises CalledProcessError when it fails."""
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src"), str(ROOT / "builder")])
    quiet = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYANNOTE_METRICS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
    file = out / f".{part}.json"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ONE_PART, part, str(file)],
        env=os.environ | quiet,
        check=True,
        timeout=LIMIT_S,
    )
    rows = [
        Row(**{k: tuple(v) if isinstance(v, list) else v for k, v in r.items()}) for r in json.loads(file.read_text())
    ]
    file.unlink()
    return rows


def line(row: Row) -> str:
    """The row in Markdown."""

    def figure(values: tuple[float, ...]) -> str:
        return f"{sorted(values)[len(values) // 2]:.3g} {row.unit} ±{100 * spread(values):.0f} %" if values else ""

    ratio = f"**{row.ratio:.1f}x**" if row.ratio else ""
    target = "" if row.target is None else (f">= {row.target:.2g}x" if row.stock else f"<= {row.target:g} {row.unit}")
    verdict = {True: "met", False: "missed", None: ""}[row.met]
    return f"| {row.what} | {figure(row.stock)} | {figure(row.ours)} | {ratio} | {target} | {verdict} | {row.note} |"


HEADER = "| what | stock | this worker | ratio | target | | note |\n|---|---|---|---|---|---|---|"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{date.today()}, {len(os.sched_getaffinity(0))} cores of {model}, Python {platform.python_version()}"


def plot(rows: list[Row], file: Path) -> None:
    """Bars of the ratios, the targets marked."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [row for row in rows if row.ratio][::-1]
    if not shown:
        return
    figure, axes = plt.subplots(figsize=(9, 0.4 * len(shown) + 1.2))
    axes.barh([row.what for row in shown], [row.ratio for row in shown], color="#4878a8")
    for place, row in enumerate(shown):
        axes.text(row.ratio, place, f" {row.ratio:.1f}x", va="center", fontsize=8)
        if row.target:
            axes.plot([row.target, row.target], [place - 0.4, place + 0.4], color="#c04030")
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than the stock code (red: target)")
    axes.tick_params(axis="y", labelsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="part", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "bench" / "results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}\n\n{HEADER}", flush=True)
    rows: list[Row] = []
    for part in options.parts:
        for row in measured(part, options.out):
            rows.append(row)
            print(line(row), flush=True)
    whole = list(options.parts) == PARTS
    stem = options.out / ("bench" if whole else "-".join(options.parts))
    text = "\n".join([f"Measured {machine()}; medians, spread as a share of the median.", "", HEADER, *map(line, rows)])
    stem.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    stem.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    plot(rows, stem.with_suffix(".png"))


if __name__ == "__main__":
    main()
