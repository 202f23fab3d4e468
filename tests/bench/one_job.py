"""One system in a process of its own: it does the same job, once for every line on its standard input.

python tests/bench/one_job.py CHECKOUT worker|stock

Answers each line with {"seconds": {stage: wall-clock}, "cpu_s": the whole job's} in JSON. `worker` is the code in
CHECKOUT/src in the environment that its entry prepares, its jobs off the main thread as its handler runs them; `stock`
is bare whisperX, on the same models and samples.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

Stages = dict[str, float]
CHECKOUT, KIND = Path(sys.argv[1]), sys.argv[2]
sys.path[:0] = [str(CHECKOUT / "src"), str(CHECKOUT / "tests")]
VOICES = ("Anna", "Mark")
SAMPLES = [{"name": name, "url": f"http://samples.local/{name}.flac"} for name in VOICES]
CUT = {"batch_size": 4, "chunk_size": 15}
OPTIONS = {"language": "en", "vad_method": "pyannote", "align_output": True, "diarization": True} | CUT
NAMING = {"speaker_verification": True, "speaker_samples": SAMPLES}


def worker() -> Callable[[], Stages]:
    """The worker's pass over the models; one stage after the other, so that each has a time of its own."""
    try:
        from support.demo import models, predicted, recording, voice
    except ImportError:  # a checkout from before the rooms
        from pipeline import models, predicted, recording, voice

    from predict import Predictor

    predictor = Predictor(models(), "off")
    clip = recording("conversation.mp3")
    voices = [voice(name) for name in VOICES]

    def job() -> Stages:
        spent = predicted(clip, OPTIONS | NAMING, voices, by=predictor).timings
        return {
            "recognition": spent["vad"] + spent["transcribe"],
            "alignment": spent["align"],
            "diarization": spent["diarize"],
            "naming": spent["name"],
        }

    return job


def stock() -> Callable[[], Stages]:
    """whisperX's three steps as its own command does them."""
    import whisperx
    from support import stock_punkt
    from support.demo import models, recording
    from whisperx.diarize import DiarizationPipeline

    stock_punkt.folder()  # whisperX would download it
    places = models().model_set
    aligner = places.aligner("en")
    assert aligner is not None
    samples = recording("conversation.mp3")[0][:]
    speech = whisperx.load_model(places.speech().source, "cpu", compute_type="int8", language="en")
    model, metadata = whisperx.load_align_model("en", "cpu", model_name=aligner.source)
    diarizer = DiarizationPipeline(places.diarization.source, device="cpu")

    def job() -> Stages:
        clock = [time.monotonic()]
        found = speech.transcribe(samples, **CUT)
        clock.append(time.monotonic())
        found = whisperx.align(found["segments"], model, metadata, samples, "cpu")
        clock.append(time.monotonic())
        whisperx.assign_word_speakers(diarizer(samples), found)
        clock.append(time.monotonic())
        spent = [after - before for before, after in pairwise(clock)]
        return dict(zip(("recognition", "alignment", "diarization"), spent, strict=True))

    return job


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the libraries print
    logging.disable()
    if KIND == "worker":
        from scribe import settings
        from scribe.app.environment import prepare_environment

        # Before any library is loaded.
        prepare_environment(settings.load(None, model_set="demo", whisperx_device="cpu"))
    job = {"worker": worker, "stock": stock}[KIND]()

    async def answer() -> None:
        for _ in sys.stdin:
            before = os.times()
            spent = await asyncio.to_thread(job) if KIND == "worker" else job()
            after = os.times()
            cpu = after.user + after.system - before.user - before.system
            print(json.dumps({"seconds": spent, "cpu_s": cpu}), file=answers, flush=True)

    asyncio.run(answer())


if __name__ == "__main__":
    main()
