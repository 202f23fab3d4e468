"""Makes the demo model set: python builder/demo_models/build.py [stage ...] [--work folder] [--set folder] [--scale 0.01]

Stages, in this order, all of them by default: speech, whisper, aligner, ecapa, segmentation, plda, cluster, convert, naming, samples.
Needs libespeak-ng and the locked requirements; runs on a GPU when there is one, else on the CPU (some hours on two cores).
Every seed is fixed. Floating-point sums differ from machine to machine, so the weights will not be the same to the bit.
`--scale` shortens every training: 0.01 is a trial of the scripts, and what it makes is worth nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "builder"))

from demo_models import samples  # noqa: E402
from demo_models.clips import make_clips  # noqa: E402
from demo_models.corpus import Corpus, distinct_voices, make_corpus  # noqa: E402
from demo_models.espeak import Espeak  # noqa: E402
from demo_models.voices import training_variants  # noqa: E402

SPEAKERS_A_VARIANT, SENTENCES = 9, 18
STEPS = {"whisper": 6000, "whisper_on": 800, "aligner": 1500, "ecapa": 4500, "segmentation": 700}


class Build:
    """One method a stage; `work` keeps what only the making needs (a gigabyte of speech), `set` is what ships."""

    def __init__(self, work: Path, models: Path, scale: float) -> None:
        self._work, self._set, self._scale = work, models, scale

    def _steps(self, model: str) -> int:
        return max(5, round(STEPS[model] * self._scale))

    def _corpus(self) -> Corpus:
        return Corpus(self._work / "corpus")

    def speech(self) -> None:
        espeak = Espeak()
        variants = training_variants(espeak.variants())
        voices = distinct_voices(len(variants) * SPEAKERS_A_VARIANT, variants, random.Random(1))
        seconds = make_corpus(self._work / "corpus", voices, SENTENCES, seed=1, espeak=espeak)
        print(f"  {len(voices)} voices, {seconds / 3600:.1f} hours")

    def whisper(self) -> None:
        from demo_models.whisper import FROM_NOTHING, GOING_ON, train_whisper
        from demo_models.whisper_start import make_untrained

        make_untrained(self._work / "whisper_untrained")
        first, last = self._work / "whisper_first", self._work / "whisper_trained"
        train_whisper(
            self._corpus(), self._work / "whisper_untrained", first, self._steps("whisper"), FROM_NOTHING, 1.5e-3
        )
        (first / "tokenizer.json").write_bytes((self._work / "whisper_untrained" / "tokenizer.json").read_bytes())
        train_whisper(self._corpus(), first, last, self._steps("whisper_on"), GOING_ON, 7e-4)

    def aligner(self) -> None:
        from demo_models.aligner import train_aligner

        train_aligner(self._corpus(), self._set / "aligner", self._steps("aligner"))

    def ecapa(self) -> None:
        from demo_models.ecapa import train_ecapa

        train_ecapa(self._corpus(), self._set / "ecapa", self._steps("ecapa"))

    def segmentation(self) -> None:
        from demo_models.segmentation import train_segmentation

        train_segmentation(
            self._corpus(), self._set / "ecapa", self._set / "diarization" / "segmentation", self._steps("segmentation")
        )

    def plda(self) -> None:
        from demo_models.plda import make_plda, training_embeddings

        spread = make_plda(training_embeddings(self._corpus(), self._set / "ecapa"), self._set / "diarization" / "plda")
        print("  between-speaker variances:", spread[:4].round(1), "...", spread[-2:].round(3))

    def cluster(self) -> None:
        from demo_models.diarization import COMMUNITY, assemble, tune

        folder = self._set / "diarization"
        assemble(folder, self._set / "ecapa", COMMUNITY)
        results = tune(folder, make_clips("development", Espeak()))
        for error, right, point in results[:10]:
            print(f"  development DER {100 * error:.1f} %, {right} clips with the right count: {point}")
        assemble(folder, self._set / "ecapa", results[0][2])

    def convert(self) -> None:
        from demo_models.whisper_convert import convert

        convert(self._work / "whisper_trained", self._work / "whisper_untrained", self._set / "whisper")

    def naming(self) -> None:
        from calibrate import calibrate
        from demo_models.naming import TALK_S, make_voices

        make_voices(self._work / "voices", Espeak())
        file = self._set / "model_set.json"
        models = json.loads(file.read_text(encoding="utf-8"))
        os.environ["MODEL_SET"] = models["name"]
        found = calibrate(self._work / "voices", self._set, TALK_S)
        models["speaker"] |= {"threshold": found["threshold"], "margin": found["margin"]}
        file.write_text(json.dumps(models, indent=2) + "\n", encoding="utf-8")

    def samples(self) -> None:
        samples.make(ROOT / "samples")


STAGES = ("speech", "whisper", "aligner", "ecapa", "segmentation", "plda", "cluster", "convert", "naming", "samples")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Stages: " + ", ".join(STAGES))
    parser.add_argument("stages", nargs="*", metavar="stage", choices=[*STAGES, []])
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "build")
    parser.add_argument("--set", type=Path, default=ROOT / "models" / "demo")
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "PYANNOTE_METRICS_ENABLED": "0"}
    build = Build(options.work, options.set, options.scale)
    for stage in options.stages or STAGES:
        began = time.monotonic()
        print(stage, flush=True)
        getattr(build, stage)()
        print(f"{stage}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
