"""From the start of a process to its first result: the worker, its job already waiting, against bare whisperX.

Both work on the demo models and a recording of 13 s. WhisperX comes off lightly: it gets the decoded samples from memory,
and has no queue, no download and nothing to deliver.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from contract.files import FileServer
from contract.platform import Platform
from contract.worker import REPOSITORY, WorkerProcess, demo_environment

from bench.row import Row

REPEATS = 3
RECORDING = "voices/anna.flac"
SET = REPOSITORY / "models" / "demo"
STOCK = """
import json, os, sys, warnings
warnings.filterwarnings("ignore")
folder, samples, full = sys.argv[1], sys.argv[2], sys.argv[3] == "full"
os.environ.update(HF_HUB_OFFLINE="1", PYANNOTE_METRICS_ENABLED="0", NLTK_DATA=sys.argv[4])
sys.path.insert(0, folder + "/..")
import numpy as np
import whisperx
audio = np.load(samples)
model = whisperx.load_model(folder + "/whisper", "cpu", compute_type="int8", language="en", threads=2)
found = model.transcribe(audio, batch_size=4, chunk_size=15)
if full:
    aligner, metadata = whisperx.load_align_model("en", "cpu", model_name=folder + "/aligner")
    found = whisperx.align(found["segments"], aligner, metadata, audio, "cpu")
    from whisperx.diarize import DiarizationPipeline
    found = whisperx.assign_word_speakers(DiarizationPipeline(folder + "/diarization", device="cpu")(audio), found)
print("RESULT", json.dumps(" ".join(s["text"].strip() for s in found["segments"])))
"""
JOBS: dict[str, dict[str, Any]] = {
    "ASR only": {"language": "en"},
    "ASR only, whisperX's detector here too": {"language": "en", "vad_method": "pyannote"},
    "with words and speakers": {"language": "en", "align_output": True, "diarization": True},
}


def measure() -> list[Row]:
    from support import stock_punkt
    from support.demo import recording

    with tempfile.TemporaryDirectory() as folder, FileServer(REPOSITORY / "samples") as files:
        import numpy as np

        samples = Path(folder) / "samples.npy"
        np.save(samples, recording(RECORDING)[0][:])
        ours: dict[str, list[float]] = {name: [] for name in JOBS}
        tables = stock_punkt.folder()  # whisperX would download them
        stock: dict[str, list[float]] = {"asr": [], "full": []}
        for number in range(REPEATS + 1):  # the first warms the disk's cache and is not counted
            for name, options in JOBS.items():
                seconds = _worker(files, Path(folder) / "jobs", {"audio_file": files.url + RECORDING, **options})
                ours[name] += [seconds] if number else []
            for kind, times in stock.items():
                seconds = _stock(samples, kind, tables)
                times += [seconds] if number else []
    rows = []
    for name, times in ours.items():
        theirs = stock["full" if "speakers" in name else "asr"]
        target = None if "speakers" in name else 1 / 0.6
        note = "from process start to the answer's arrival"
        rows.append(Row(f"cold start, {name}", tuple(times), tuple(theirs), target, note=note))
    return rows


def _worker(files: FileServer, jobs: Path, given: dict[str, Any]) -> float:
    with Platform(poll_seconds=0.05) as platform:
        job = platform.submit({"input": given})
        environment = demo_environment(files.host, jobs) | {"OMP_NUM_THREADS": "2"}
        began = time.monotonic()
        with WorkerProcess(platform, environment, cwd=jobs.parent) as worker:
            platform.wait(job, 240)
            seconds = time.monotonic() - began
            assert platform.record(job).status == "COMPLETED", worker.tail()
    return seconds


def _stock(samples: Path, kind: str, tables: Path) -> float:
    began = time.monotonic()
    command = [sys.executable, "-c", STOCK, str(SET), str(samples), kind, str(tables)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert "RESULT" in done.stdout, done.stderr[-2000:]
    return time.monotonic() - began
