"""make soak: two hundred mixed jobs with faults between them, through one real worker with the demo models.

python tests/soak/run.py [--jobs 200] [--seed 1]

The worker is the real process on the SDK's loop, over a stand-in of RunPod's platform, a file server and a real S3 server
on loopback. Prints what became of the jobs, and memory, files, threads, children and scratch before and after. Ends with
1 when one of them grew, or when a job came to nothing.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from contract.files import FileServer  # noqa: E402
from contract.platform import Platform  # noqa: E402
from contract.record import Record  # noqa: E402
from contract.worker import WorkerProcess, demo_environment  # noqa: E402
from support.desk import Steered  # noqa: E402

PATIENCE_S = 300.0
# Until every model is loaded and every pool has its threads, growth is no leak.
WARM_JOBS = 30
# Of memory: allocators keep what they had. A leak of one decoded minute a job (2 MB) is ten times as much in 170 jobs.
MAY_GROW = {"memory MB": 60.0, "open files": 8, "threads": 6, "children": 0, "files in scratch": 0}


@dataclass(frozen=True, slots=True)
class Kind:
    """A job of the mixture: its input, the outcome that is right, and what is done to the worker's surroundings."""

    name: str
    input: dict[str, Any]
    outcome: str = "COMPLETED"
    fault: str = ""


def kinds(files: str) -> list[Kind]:
    """The mixture; good jobs are about half of it."""
    anna, long = f"{files}voices/anna.flac", f"{files}conversation.mp3"
    inline = base64.b64encode((ROOT / "samples" / "voices" / "mark.flac").read_bytes()).decode()
    named = {"speaker_verification": True, "speaker_samples": [{"url": anna, "name": "Anna"}]}
    fast = {"quality": "fast"}
    return [
        Kind("plain", {"audio_file": anna, **fast}),
        Kind("every format", {"audio_file": anna, "formats": ["json", "srt", "vtt", "tsv", "txt", "html"], **fast}),
        Kind("aligned", {"audio_file": anna, "align_output": True, "language": "en", **fast}),
        Kind("speakers", {"audio_file": anna, "diarization": True, **fast}),
        Kind("named", {"audio_file": anna, **named, **fast}),
        Kind("in the job", {"audio_base64": inline, "inline": "full", **fast}),
        Kind("storage fails and recovers", {"audio_file": anna, **fast}, fault="storage"),
        Kind("result post fails", {"audio_file": anna, **fast}, fault="post"),
        Kind("missing", {"audio_file": f"{files}absent.mp3"}, "not_found"),
        Kind("private address", {"audio_file": "http://10.0.0.1/a.mp3"}, "url_blocked"),
        Kind("no audio", {"audio_base64": base64.b64encode(b"<html>no</html>" * 50).decode()}, "not_audio"),
        Kind("wrong option", {"audio_file": anna, "batch_size": 0}, "invalid_input"),
        Kind("no time", {"audio_file": long, "deadline_s": 0.3}, "deadline_reached"),
        Kind("cancelled", {"audio_file": long}, "CANCELLED", fault="cancel"),
    ]


def state(pid: int, scratch: Path) -> dict[str, float]:
    """What the worker holds now."""
    own = Path(f"/proc/{pid}")
    pages = int((own / "statm").read_text().split()[1])
    children = [c for task in (own / "task").iterdir() for c in (task / "children").read_text().split()]
    return {
        "memory MB": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "open files": len(list((own / "fd").iterdir())),
        "threads": len(list((own / "task").iterdir())),
        "children": len(children),
        "files in scratch": sum(1 for path in scratch.rglob("*") if path.is_file()),
    }


def outcome(record: Record) -> str:
    """COMPLETED, CANCELLED, or the failure's code."""
    return str(record.output["code"]) if record.status == "FAILED" and record.output else record.status


def run(kind: Kind, platform: Platform, storage: Steered) -> str:
    """Send one job, do to it what its kind says, wait for its end."""
    if kind.fault == "storage":
        storage.let_pass(1)
        storage.fail(503, times=2)
    platform.faults.cuts = 1 if kind.fault == "post" else 0
    record = platform.record(platform.submit({"input": kind.input}))
    if kind.fault == "cancel":
        platform.until(lambda: any(p.get("stage") == "transcribe" for p in record.progress), PATIENCE_S)
        platform.cancel(record.id)
    platform.wait(record.id, PATIENCE_S)
    storage.over()
    return outcome(record)


def soak(jobs: int, seed: int, folder: Path) -> list[str]:
    """Every promise that did not hold."""
    dice, seen, wrong = random.Random(seed), Counter[str](), list[str]()
    jobs_dir = folder / "jobs"
    with Platform(poll_seconds=0.3) as platform, FileServer(ROOT / "samples") as files, Steered() as storage:
        own = {
            "STORAGE_ENDPOINT": storage.endpoint,
            "STORAGE_BUCKET": storage.bucket,
            "STORAGE_ACCESS_KEY": storage.access_key,
            "STORAGE_SECRET_KEY": storage.secret_key,
            "TMPDIR": str(folder / "tmp"),
        }
        mixture = kinds(files.url)
        with WorkerProcess(platform, demo_environment(files.host, jobs_dir) | own, cwd=folder) as worker:
            before, warm = {}, min(WARM_JOBS, jobs // 2)
            began = time.monotonic()
            for number in range(jobs):
                # Each kind once first, so that every model is loaded when counting begins.
                kind = mixture[number] if number < len(mixture) else dice.choice(mixture)
                came = run(kind, platform, storage)
                seen[f"{kind.name}: {came}"] += 1
                if came != kind.outcome:
                    wrong.append(f"job {number}, {kind.name}: {came} and not {kind.outcome}")
                if number + 1 == warm:
                    before = settled(worker.pid, folder)
                if (number + 1) % 10 == 0:
                    now = state(worker.pid, folder)
                    told = ", ".join(f"{name} {value:.0f}" for name, value in now.items())
                    print(f"{number + 1:4d} of {jobs}, {time.monotonic() - began:4.0f} s: {told}", flush=True)
            after = settled(worker.pid, folder)
        commits = len(storage.commits())
    print(f"\n{jobs} jobs, {commits} results committed in the storage")
    for what, count in sorted(seen.items()):
        print(f"{count:4d}  {what}")
    print(f"\n| | after {warm} jobs | after {jobs} | may grow by |\n|---|---|---|---|")
    for name, limit in MAY_GROW.items():
        print(f"| {name} | {before[name]:.0f} | {after[name]:.0f} | {limit:g} |")
        if after[name] - before[name] > limit:
            wrong.append(f"{name} grew from {before[name]:.0f} to {after[name]:.0f}")
    return wrong


def settled(pid: int, folder: Path) -> dict[str, float]:
    """The worker's state when the last job's threads have gone."""
    time.sleep(1.5)
    return state(pid, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = soak(options.jobs, options.seed, Path(folder))
    print("\n".join(["", *wrong]) if wrong else "\nnothing grew, and every job ended as it should")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
