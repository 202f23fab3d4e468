"""Whether a stage became slower: this checkout against another one, job by job in turns.

python tests/bench/against.py CHECKOUT [--pairs 9] [--neighbours 0] [--set NAME=VALUE ...]

`git worktree add ../before COMMIT` makes a checkout. Prints for every stage both medians and the median of the pairs'
ratios, this checkout's seconds over the other's, with an interval of at least 95 % (order statistics of the pairs, no
distribution assumed). `--set` gives this checkout a variable: with CHECKOUT `.` it tries a value out. Ends with 1 when a
median ratio is above 1.05 on quiet cores.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from bench.systems import System, by_turns, neighbours  # noqa: E402

MOST = 1.05


def interval(values: Sequence[float], sure: float = 0.95) -> tuple[float, float]:
    """The narrowest pair of order statistics that holds the median with that probability; the extremes when none does."""
    ordered, count = sorted(values), len(values)
    outside = 0.0
    low = 0
    while low < count // 2:
        outside += 2 * math.comb(count, low) / 2**count
        if outside > 1 - sure:
            break
        low += 1
    low = max(0, low - 1)
    return ordered[low], ordered[count - 1 - low]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--neighbours", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    variables = dict(one.split("=", 1) for one in options.set)
    with (
        System(options.checkout.resolve(), "worker") as before,
        System(ROOT, "worker", variables) as after,
        neighbours(options.neighbours),
    ):
        old, new = by_turns((before, after), options.pairs)
    worst = 0.0
    print(f"{options.pairs} pairs, {options.neighbours} neighbours\n")
    print("| | before | now | ratio | 95 % interval |\n|---|---|---|---|---|")
    for what in [*old[0].seconds, "CPU of the whole job"]:
        a, b = ([s.seconds.get(what, s.cpu_s) for s in spent] for spent in (old, new))
        ratios = [y / x for x, y in zip(a, b, strict=True)]
        low, high = interval(ratios)
        ratio = statistics.median(ratios)
        worst = max(worst, ratio if what in old[0].seconds else 0.0)
        medians = f"{statistics.median(a):.3f} s | {statistics.median(b):.3f} s"
        print(f"| {what} | {medians} | {ratio:.3f} | {low:.3f} to {high:.3f} |")
    return 1 if not options.neighbours and worst > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
