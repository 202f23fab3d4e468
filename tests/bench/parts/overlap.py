"""A whole job with speakers, diarization beside recognition against one after the other: the worker's own code in both.

On the CPU two threads gain only what the cores give: with one thread each, on two cores and more, one side hides behind
the other; with all cores' threads on each side, what one alone leaves idle. On a GPU, which this does not measure, it is
what decoding, bound by memory, leaves of the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from support.demo import Predicted, configured, predicted, recording, sound

import scribe.models.loader
from bench.row import Row, in_turns
from scribe.audio.decode import Audio
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.predictor import Predictor
from scribe.runtime.machine import usable_cores

TIMES = 2


def measure() -> list[Row]:
    audio = sound("bench-overlap", np.tile(recording("conversation.mp3")[0][:], TIMES))
    cores = usable_cores()
    counts = sorted({1, cores})
    return [_row(audio, threads, cores) for threads in counts]


def _row(audio: Audio, threads: int, cores: int) -> Row:
    torch.set_num_threads(threads)
    # The speech model's threads are fixed when it is loaded.
    scribe.models.loader.usable_cores = lambda: threads  # type: ignore[assignment]
    models = Models(ModelSet(configured()), "cpu")
    predictors = {overlap: Predictor(models, overlap) for overlap in ("off", "on")}
    found: dict[str, Predicted] = {}

    def job(overlap: str) -> Any:
        options = {"language": "en", "align_output": True, "diarization": True}
        found[overlap] = predicted([audio], options, by=predictors[overlap])

    times = in_turns(lambda: job("off"), lambda: job("on"), repeats=3)
    alone, both = found["off"], found["on"]
    same = "same transcript" if both.transcript == alone.transcript else f"same words: {_texts(both) == _texts(alone)}"
    share = alone.timings["diarize"] / (alone.timings["diarize"] + alone.timings["transcribe"])
    note = (
        f"{cores} cores; baseline: this worker, one after the other; {same}; diarization is {100 * share:.0f} % of the two,"
        f" {100 * both.options_used['diarized_beside_s'] / times[1][-1]:.0f} % of the job ran beside; nothing follows for a GPU"
    )
    return Row(
        f"job of {audio.seconds:.0f} s with speakers, diarization beside, {threads} threads",
        times[1],
        times[0],
        note=note,
    )


def _texts(prediction: Predicted) -> list[tuple[str, str | None]]:
    return [(s.text, s.label) for s in prediction.transcript.segments]
