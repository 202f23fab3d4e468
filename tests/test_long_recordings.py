"""Ten hours in bounded memory: no stage of a job ever takes the whole recording at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pipeline import models, predicted, recording, voice

from scribe.audio import SAMPLE_RATE, Audio
from scribe.errors import GpuOutOfMemory
from scribe.gpu_fault import gpu_failure
from scribe.sliding import window_scores

pytestmark = pytest.mark.xdist_group("models")


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


# Chunks are 5 s, a block of silero 16 s, a batch of windows 20 s.
NAMING = {"speaker_verification": True, "speaker_samples": [{"url": "http://h/anna.flac"}]}
JOB = {"chunk_size": 5, "language": "en", "align_output": True, "diarization": True, **NAMING}


@pytest.mark.parametrize("method", ["silero", "pyannote"])
def test_no_stage_reads_the_whole_recording_at_once(
    method: str, taken: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scribe.vad.BLOCK_WINDOWS", 500)
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
    monkeypatch.setattr("scribe.vad.BLOCK_WINDOWS", 500)
    call = recording("call.flac", split=True)
    predicted(call, {"chunk_size": 5, "language": "en", "channels": "split", **NAMING}, [voice("Nina")])
    own = {str(channel.path) for channel in call}
    assert max(seconds for path, seconds in taken if path in own) < 20 < call[0].seconds / 2


def test_a_gpu_that_is_full_is_told_as_such_though_pyannote_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the batches of a window network would never be halved."""
    inference: Any = models().diarizer()._pipeline._segmentation

    def full(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(inference.model, "forward", full)
    with pytest.raises(RuntimeError) as raised:
        window_scores(inference, recording("conversation.mp3")[0], lambda *_: None)
    assert isinstance(gpu_failure(raised.value), GpuOutOfMemory)
