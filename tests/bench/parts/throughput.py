"""Jobs a minute with CONCURRENCY=2 against 1: real worker processes with the demo models, downloads and uploads that take time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from contract.files import FileServer, _Files
from contract.platform import Platform
from contract.worker import REPOSITORY, WorkerProcess, demo_environment
from support.desk import Steered

from bench.row import Row

JOBS = 10
# What an hour's recording takes on the way: 50 MB at 50 MB/s and a round trip; four requests to a storage far away.
DOWNLOAD_S, UPLOAD_S = 1.0, 0.2
JOB = {"language": "en", "diarization": True, "formats": ["json", "srt", "html"], "inline": "full"}
MODELS = ("load", "vad", "transcribe", "align", "diarize")


def measure() -> list[Row]:
    one, texts, busy = _minute(1)
    two, others, _ = _minute(2)
    way = f"downloads take {DOWNLOAD_S} s, each request to the storage {UPLOAD_S} s"
    note = f"same results; alone, a job spends {100 * busy:.0f} % of its time in the models; {way}"
    return [
        Row(
            f"{JOBS} jobs, two in flight against one",
            (two,),
            (one,),
            1.5,
            note=note if texts == others else "RESULTS DIFFER",
        )
    ]


def _minute(concurrency: int) -> tuple[float, list[str], float]:
    """(seconds for all jobs, their texts, the part of its time that a job spends in the models)."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Platform(poll_seconds=0.2) as platform,
        _Slow(REPOSITORY / "samples") as files,
        _Far() as storage,
    ):
        own = {
            "STORAGE_ENDPOINT": storage.endpoint,
            "STORAGE_BUCKET": storage.bucket,
            "STORAGE_ACCESS_KEY": storage.access_key,
            "STORAGE_SECRET_KEY": storage.secret_key,
            "CONCURRENCY": str(concurrency),
        }
        environment = demo_environment(files.host, Path(folder) / "jobs") | own
        names = ["anna", "mark", "nina", "oscar"]
        inputs: list[dict[str, Any]] = [
            {"audio_file": f"{files.url}voices/{names[i % 4]}.flac", **JOB} for i in range(JOBS)
        ]
        with WorkerProcess(platform, environment, cwd=Path(folder)) as worker:
            platform.wait(platform.submit({"input": inputs[0]}), 120)
            began = time.monotonic()
            records = [platform.record(platform.submit({"input": given})) for given in inputs]
            for record in records:
                platform.wait(record.id, 240)
                assert record.status == "COMPLETED", worker.tail()
            seconds = time.monotonic() - began
        texts = [" ".join(s["text"] for s in r.output["segments"]) for r in records]
        times = [r.output["timings"] for r in records]
        return seconds, texts, sum(t[stage] for t in times for stage in MODELS) / sum(t["total"] for t in times)


class _SlowFiles(_Files):
    def do_GET(self) -> None:
        time.sleep(DOWNLOAD_S)
        super().do_GET()


class _Slow(FileServer):
    """A file server whose every answer takes DOWNLOAD_S."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        handler = self._server.RequestHandlerClass
        self._server.RequestHandlerClass = lambda *a, **k: _SlowFiles(*a, **handler.keywords, **k)  # type: ignore[assignment, attr-defined]


class _Far(Steered):
    """A storage whose every answer takes UPLOAD_S."""

    def behind(self, *request: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
        time.sleep(UPLOAD_S)
        return super().behind(*request, **more)
