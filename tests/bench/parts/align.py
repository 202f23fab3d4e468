"""Alignment: beside the model (letters prepared, 28-s segments), and whole, on the sample conversation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from support import stock_punkt
from support.demo import models, recording, sound, truth
from whisperx.alignment import align

from bench.row import Row, in_turns
from scribe.transcript import Segment

SECONDS, SEGMENTS = 28.0, 16


class Peaky:
    """In place of a model: emissions as a trained one gives them, near certainty at a few frames and blank between."""

    def __init__(self, columns: int) -> None:
        frames = int(SECONDS * 50) - 1
        dice = np.random.default_rng(0)
        scores = dice.standard_normal((1, frames, columns)).astype(np.float32)
        scores[0, :, 0] += 6
        spoken = dice.choice(frames, frames // 4, replace=False)
        scores[0, spoken, dice.integers(1, columns, len(spoken))] += 14
        self._scores = torch.from_numpy(scores)

    def __call__(self, waveform: torch.Tensor, lengths: Any = None) -> tuple[torch.Tensor, None]:
        return self._scores, None


def measure() -> list[Row]:
    torch.set_num_threads(1)
    stock_punkt.folder()  # whisperX would download it
    real = models().aligner("en")
    bare = copy.copy(real)
    bare._metadata = real._metadata | {"type": "torchaudio"}
    bare._model = Peaky(len(real._known))
    words = " ".join(t["text"] for t in truth("meeting")["turns"])
    text = f" {words[: int(SECONDS * 14)]}"
    silence = sound("bench-align", np.zeros(int(16000 * SECONDS * SEGMENTS), np.float32))
    dense = [Segment(i * SECONDS, (i + 1) * SECONDS, text) for i in range(SEGMENTS)]
    (talk,) = recording("conversation.mp3")
    turns = [Segment(t["start"], t["end"], f" {t['text']}") for t in truth("conversation")["turns"]]
    chunks = _chunks(turns)
    rows = []
    for what, aligner, segments, audio, target in (
        (f"alignment beside the model, {SEGMENTS} segments of {SECONDS:g} s", bare, dense, silence, 25.0),
        ("alignment whole, demo model, conversation in chunks of 15 s", real, chunks, talk, 3.0),
    ):
        told = [{"start": s.start, "end": s.end, "text": s.text} for s in segments]
        samples = audio[:]
        stock, ours = in_turns(
            lambda told=told, a=aligner, samples=samples: align(told, a._model, a._metadata, samples, "cpu"),
            lambda segments=segments, a=aligner, audio=audio: a.align(
                segments, audio, "nearest", False, lambda f: None
            ),
        )
        rows.append(Row(what, ours, stock, target))
    return rows


def _chunks(turns: list[Segment]) -> list[Segment]:
    """Neighbouring turns in one piece, as a recognizer hands them on."""
    found: list[list[Segment]] = []
    for turn in turns:
        if found and turn.end - found[-1][0].start <= 15:
            found[-1].append(turn)
        else:
            found.append([turn])
    return [Segment(c[0].start, c[-1].end, "".join(t.text for t in c)) for c in found]
