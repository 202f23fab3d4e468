"""Speakers to words: one, three and ten hours against whisperX's own function, and how the cost grows."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import pandas as pd
from whisperx.diarize import assign_word_speakers

from bench.row import Row, in_turns
from scribe.diarization.assignment import assign_speakers
from scribe.transcript import Segment, Turn, Word

WORDS_A_SECOND, WORDS_A_SEGMENT = 2.5, 20


def measure() -> list[Row]:
    # As the worker does at its start: what the imports left is not looked through again and again.
    gc.collect()
    gc.freeze()
    rows, medians = [], {}
    for hours in (1, 3, 10):
        segments, turns = talk(hours)
        frame = pd.DataFrame([{"start": t.start, "end": t.end, "speaker": t.label} for t in turns])
        whole = as_dicts(segments)
        repeats = 5 if hours == 1 else 3
        stock, ours = in_turns(
            lambda f=frame, w=whole: assign_word_speakers(f, w, fill_nearest=True),
            lambda s=segments, t=turns: assign_speakers(s, t),
            repeats,
        )
        rows.append(Row(f"speakers to words, {hours} h, {sum(len(s.words) for s in segments):,} words", ours, stock))
        medians[hours] = rows[-1].value
    exponent = math.log(medians[10] / medians[1]) / math.log(10)
    rows.append(Row("its growth from 1 to 10 hours, exponent", (exponent,), target=1.1, unit=""))
    segments, turns = talk(100_000 / WORDS_A_SECOND / 3600)
    _, ours = in_turns(lambda: None, lambda: assign_speakers(segments, turns))
    rows.append(Row("speakers to 100,000 words", ours, target=0.5))
    return rows


def talk(hours: float) -> tuple[list[Segment], list[Turn]]:
    """Words without pause, and turns of 1 to 12 s of four speakers with gaps and overlaps."""
    dice = np.random.default_rng(0)
    count = round(hours * 3600 * WORDS_A_SECOND)
    words = [Word("word", i / WORDS_A_SECOND, (i + 0.9) / WORDS_A_SECOND, 0.9) for i in range(count)]
    segments = []
    for start in range(0, count, WORDS_A_SEGMENT):
        own = tuple(words[start : start + WORDS_A_SEGMENT])
        segments.append(Segment(own[0].start, own[-1].end, " ".join(w.text for w in own), own))
    turns, clock = [], 0.0
    while clock < hours * 3600:
        length = float(dice.uniform(1, 12))
        turns.append(Turn(clock, clock + length, f"SPEAKER_{dice.integers(4):02d}"))
        clock += length + float(dice.uniform(-0.5, 1.0))
    return segments, turns


def as_dicts(segments: list[Segment]) -> dict[str, Any]:
    shaped = [
        {
            "start": s.start,
            "end": s.end,
            "text": s.text,
            "words": [{"word": w.text, "start": w.start, "end": w.end} for w in s.words],
        }
        for s in segments
    ]
    return {"segments": shaped}
