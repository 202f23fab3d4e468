"""A hundred thousand words: the answer stays under the limit, everything is stored, and the memory is bounded.

A process of its own renders and delivers, because the peak of this one would be that of every test before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.desk import got
from support.s3server import S3Server

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
WORDS = 100_000
LIMIT_BYTES = 5_000_000
LIMIT_MB = 600

WORKER = '''
import json, random, re, sys, time
from pathlib import Path

sys.path[:0] = sys.argv[1:3]
endpoint, bucket, access_key, secret_key, count = *sys.argv[3:7], int(sys.argv[7])

from scribe.formats import FORMATS
from scribe.storage.s3 import Storage
from scribe.transcript import Segment, Speaker, Transcript, Word
from support.predictor import FakePredictor
from support.wiring import answered, handler_of


def spoken():
    chance = random.Random(7)
    names = [f"SPEAKER_{n:02d}" for n in range(6)]
    segments, clock, left = [], 0.0, count
    while left:
        label, words = chance.choice(names), []
        for _ in range(min(left, chance.randint(4, 20))):
            length = chance.uniform(0.1, 0.6)
            text = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz\\u00e4\\u00e9", k=chance.randint(1, 11)))
            words.append(Word(text, round(clock, 3), round(clock + length, 3), round(chance.random(), 3), label))
            clock += length + 0.02
        left -= len(words)
        text = " " + " ".join(word.text for word in words) + "."
        segments.append(Segment(words[0].start, words[-1].end, text, tuple(words), label, -0.2))
        clock += 0.3
    speakers = tuple(Speaker(name, f"Person {name}", 0.8, clock / 6) for name in names)
    return Transcript("en", round(clock, 3), tuple(segments), speakers, 0.99)


def peak_mb():
    """The most that this process ever held. getrusage would tell its parent's peak too, which exec hands down."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) / 1024
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


transcript = spoken()
predictor = FakePredictor(transcript)


def deliver(endpoint, formats):
    options = {"audio_file": "http://samples.local/a.mp3", "formats": formats, "inline": "full", "align_output": True}
    job = {"id": "long", "input": options}
    storage = Storage(endpoint, bucket, access_key, secret_key, "transcripts", attempts=1, connect_timeout=2.0)
    handler = handler_of(predictor, storage=storage)
    began = time.perf_counter()
    answer = answered(handler, job)
    size = len(json.dumps(answer, ensure_ascii=False, allow_nan=False).encode())
    return {"answer": answer, "bytes": size, "seconds": time.perf_counter() - began}


before = peak_mb()
found = {"stored": deliver(endpoint, list(FORMATS)), "peak_mb": peak_mb(), "before_mb": before, "segments": len(transcript.segments)}
found["lost"] = deliver("http://127.0.0.1:9", ["json"])
found["lost_peak_mb"] = peak_mb()
print(json.dumps(found))
'''


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(scope="module")
def found(server: S3Server) -> dict[str, Any]:
    place = (server.endpoint, server.bucket, server.access_key, server.secret_key)
    command = [sys.executable, "-c", WORKER, str(ROOT / "src"), str(ROOT / "tests"), *place, str(WORDS)]
    worker = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert worker.returncode == 0, worker.stderr[-2000:]
    return json.loads(worker.stdout)


def test_the_answer_stays_under_the_limit_with_everything_in_the_storage(
    found: dict[str, Any], server: S3Server
) -> None:
    answer = found["stored"]["answer"]
    publish = answer["timings"]["publish"]
    print(f"rendered and uploaded in {publish:.1f} s, answered in {found['stored']['seconds']:.1f} s")
    assert found["stored"]["bytes"] <= LIMIT_BYTES
    assert set(answer["artifacts"]) == {"json", "srt", "vtt", "tsv", "txt", "html"}
    assert [warning["code"] for warning in answer["warnings"]] == ["result_truncated"]
    assert (answer["segments_total"], answer["truncated"]) == (found["segments"], True)
    for name, artifact in answer["artifacts"].items():
        status, data = got(artifact["url"])
        assert (status, len(data)) == (200, artifact["bytes"]), name
        if name == "json":
            assert len(json.loads(data)["word_segments"]) == WORDS


def test_the_memory_is_bounded(found: dict[str, Any]) -> None:
    print(f"peak {found['peak_mb']:.0f} MB, {found['before_mb']:.0f} MB of it before the delivery")
    assert found["peak_mb"] < LIMIT_MB


def test_without_its_storage_every_sentence_comes_inline_under_the_limit(found: dict[str, Any]) -> None:
    answer = found["lost"]["answer"]
    print(f"answered in {found['lost']['seconds']:.1f} s with {found['lost']['bytes']} bytes")
    assert found["lost"]["bytes"] <= LIMIT_BYTES
    assert len(answer["segments"]) == answer["segments_total"] == found["segments"]
    assert answer["artifacts"] == {}
    assert {warning["code"] for warning in answer["warnings"]} == {"storage_unavailable", "result_truncated"}
    assert found["lost_peak_mb"] < LIMIT_MB
