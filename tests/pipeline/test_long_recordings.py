"""Ten hours in bounded memory: no stage of a job ever takes the whole recording at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from support.demo import models, predicted, recording, sound, voice
from support.remembered import Remembered

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.diarization.diarizer import Diarizer
from scribe.diarization.linking import layout
from scribe.errors import GpuOutOfMemory
from scribe.nn.sliding_window import network_of, window_scores
from scribe.runtime.gpu_errors import gpu_failure
from scribe.runtime.monitor import Monitor
from scribe.transcript import Turn


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """(file, seconds) of every piece that was taken from an Audio."""
    pieces: list[tuple[str, float]] = []
    read = Audio.__getitem__

    def counted(self: Audio, window: slice) -> np.ndarray:
        found = read(self, window)
        pieces.append((str(self.path), len(found) / SAMPLE_RATE))
        return found

    monkeypatch.setattr(Audio, "__getitem__", counted)
    return pieces


# Chunks are 5 s, a block of silero 16 s, a batch of windows 20 s; one of the two is diarized in blocks of 40 s.
NAMING = {"speaker_verification": True, "speaker_samples": [{"url": "http://h/anna.flac"}]}
JOB = {"chunk_size": 5, "language": "en", "align_output": True, "diarization": True, **NAMING}


@pytest.mark.parametrize("method", ["silero", "pyannote"])
def test_no_stage_reads_the_whole_recording_at_once(
    method: str, taken: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scribe.vad.detectors.BLOCK_WINDOWS", 500)
    if method == "pyannote":
        monkeypatch.setattr("scribe.diarization.diarizer.LONG_S", 30.0)
        monkeypatch.setattr(
            "scribe.diarization.diarizer.layout", functools.partial(layout, block_s=40.0, overlap_s=20.0)
        )
    (talk,) = recording("conversation.mp3")
    samples = [voice("Anna"), voice("Mark")]
    found = predicted([talk], JOB | {"vad_method": method}, samples)
    assert {s.name for s in found.transcript.speakers} == {"Anna", "Mark"}
    assert found.transcript.segments[0].words
    pieces = [seconds for path, seconds in taken if path == str(talk.path)]
    assert sum(pieces) > 3 * talk.seconds
    assert max(pieces) < 25 < talk.seconds / 2


def test_nor_does_a_stage_of_a_call_with_a_channel_a_speaker(
    taken: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scribe.vad.detectors.BLOCK_WINDOWS", 500)
    call = recording("call.flac", split=True)
    predicted(call, {"chunk_size": 5, "language": "en", "channels": "split", **NAMING}, [voice("Nina")])
    own = {str(channel.path) for channel in call}
    assert max(seconds for path, seconds in taken if path in own) < 20 < call[0].seconds / 2


@pytest.fixture
def ten_minutes() -> Audio:
    """Three who talk, two who talk, and so on: four people. Whole seconds each, so that windows repeat."""
    meeting, talk = (recording(name)[0] for name in ("meeting.mp3", "conversation.mp3"))
    pieces = [a[: len(a) // SAMPLE_RATE * SAMPLE_RATE] for a in (meeting, talk, meeting, talk, meeting)]
    return sound("ten-minutes", np.concatenate(pieces)[: 600 * SAMPLE_RATE])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Diarizer:
    """The demo diarizer; its networks hear each window once."""
    diarizer = models().diarizer()
    pipeline = diarizer._pipeline
    monkeypatch.setattr(pipeline._segmentation, "infer", Remembered(pipeline._segmentation.infer))
    monkeypatch.setitem(vars(pipeline), "_embedding", Remembered(pipeline._embedding))
    return diarizer


def test_blocks_give_ten_minutes_the_labels_of_one_piece(
    ten_minutes: Audio, quick: Diarizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = quick.diarize(ten_minutes)
    monkeypatch.setattr("scribe.diarization.diarizer.LONG_S", 300.0)
    monkeypatch.setattr("scribe.diarization.diarizer.layout", functools.partial(layout, block_s=200.0, overlap_s=40.0))
    ticks: list[float] = []
    blocks = quick.diarize(ten_minutes, Monitor(report=ticks.append))
    assert len({t.label for t in whole.turns}) == len({t.label for t in blocks.turns}) == 4
    assert difference(whole.turns, blocks.turns) < 0.005
    assert difference(whole.exclusive, blocks.exclusive) < 0.005
    done = [t for t in ticks if t]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0)
    two = quick.diarize(ten_minutes, num_speakers=2)
    assert len({t.label for t in two.turns}) == 2


def difference(one: Sequence[Turn], other: Sequence[Turn]) -> float:
    """The share of 10-ms frames that have not the same speakers, under the best translation of the labels."""
    grids = []
    for turns in (one, other):
        labels = sorted({t.label for t in turns})
        grid = np.zeros((60_000, len(labels)))
        for t in turns:
            grid[round(100 * t.start) : round(100 * t.end), labels.index(t.label)] = 1
        grids.append(grid)
    rows, columns = linear_sum_assignment(-grids[0].T @ grids[1])
    return float((grids[0][:, rows] != grids[1][:, columns]).any(axis=1).mean())


def test_a_gpu_that_is_full_is_told_as_such_though_pyannote_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the batches of a window network would never be halved."""
    inference: Any = models().diarizer()._pipeline._segmentation

    def full(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(inference.model, "forward", full)
    with pytest.raises(RuntimeError) as raised:
        window_scores(network_of(inference), recording("conversation.mp3")[0], lambda *_: None)
    assert isinstance(gpu_failure(raised.value), GpuOutOfMemory)
