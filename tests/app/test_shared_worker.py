"""Jobs on this machine share one worker in a process, and leave the process as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from contract.worker import demo_environment
from support.person import PATIENCE, Desk, surroundings

FOUR_THREADS = """
import json, os
from concurrent.futures import ThreadPoolExecutor
from scribe.app.local import means_here

def worker(model):
    connection = means_here(model, own_process=False).connect()
    return connection.identity, connection._machine.worker(model)

with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(worker, [None, "small", "tiny", "small"]))
worker = found[0][1]
print(json.dumps({
    "identities": len({identity for identity, _ in found}),
    "workers": len({id(worker) for _, worker in found}),
    "allowed": sorted(worker.models.model_set.allowed()),
    "jobs_dir": str(worker.settings.jobs_dir),
    "variables": sorted({"JOBS_DIR", "HF_HUB_OFFLINE"} & set(os.environ)),
}))
"""
A_FORK = """
import os, sys
from scribe.app.local import means_here

identity = means_here(None).connect().identity
child = os.fork()
if not child:
    sys.exit(40 + (means_here(None).connect().identity == identity))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

A_BROKEN_GPU = """
import sys
import scribe
from scribe.app import main
from scribe.app.local import means_here

connection = means_here(None).connect()
connection._machine.worker(None).runner.broken = True  # as after an error of the GPU
try:
    scribe.transcribe("a.wav", local=True)
except scribe.WorkerError as error:
    print(type(error).__name__, error.message)
print(main(["transcribe", "inbox", "--local", "--json", *sys.argv[1:]]))
"""


def printed(desk: Desk, program: str, *arguments: str) -> str:
    """Run the program without JOBS_DIR, in a folder with an .env file that sets TMPDIR, and return what it prints."""
    variables = surroundings() | demo_environment("nowhere.invalid", desk.folder)
    variables = {name: value for name, value in variables.items() if name not in ("JOBS_DIR", "TMPDIR")}
    (desk.folder / ".env").write_text(f"TMPDIR={desk.folder / 'tmp'}\n")
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=desk.folder,
        env=variables,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_threads_that_ask_for_several_models_share_one_worker_and_the_hub_stays_on(desk: Desk) -> None:
    found = json.loads(printed(desk, FOUR_THREADS))
    assert (found["identities"], found["workers"]) == (1, 1)
    assert {"small", "tiny"} <= set(found["allowed"])
    assert found["variables"] == []
    jobs = Path(found["jobs_dir"])
    assert jobs.parent.parent == desk.folder / "tmp", "the settings of .env apply"
    assert list(jobs.parent.iterdir()) == [], "nothing is left"


def test_a_forked_process_gets_a_worker_of_its_own_and_ends(desk: Desk) -> None:
    assert printed(desk, A_FORK) == "40\n"


@pytest.mark.parametrize("arguments", [(), ("--watch",)])
def test_after_a_failure_of_the_gpu_the_program_is_to_be_started_again(desk: Desk, arguments: tuple[str, ...]) -> None:
    for name in ("a.wav", "inbox/b.wav", "inbox/c.wav"):
        desk.recording(name)
    lines = printed(desk, A_BROKEN_GPU, *arguments).splitlines()
    assert lines[0].startswith("GpuBroken ")
    assert "start the program again" in lines[0]
    assert lines[-1] == "1"
    reports = {report["name"]: report for report in map(json.loads, lines[1:-1])}
    assert [report["status"] for report in reports.values()] == ["failed", "stopped"], "the command ends"
    assert reports["b"]["error"]["code"] == "gpu_broken"
