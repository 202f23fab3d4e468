"""make lab: WER, word starts, diarization error and speaker counts of a model set, on held-out voices and sentences.

python tests/lab/run.py [--set models/demo/model_set.json] [--split test|development] [--threads 2] [--out out/lab]

Needs libespeak-ng. The speech is made on the spot from fixed seeds; the figures are printed and written as text and JSON.
A system is a function (audio, model set file) -> {segments, turns}: another one is measured by adding it to SYSTEMS.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "builder"), str(ROOT / "tests")]

from lab.scores import HEADER, Score, pool, row, score  # noqa: E402
from lab.stock import stock  # noqa: E402

from demo_models.clips import SPLITS, Clip, make_clips, pooled_seconds  # noqa: E402
from demo_models.espeak import Espeak  # noqa: E402

System = Callable[..., dict]
SYSTEMS: dict[str, System] = {"stock": stock}


def measure(system: System, clips: list[Clip], model_set: Path) -> tuple[list[Score], list[str]]:
    """One score and one printed line a clip."""
    scores, lines = [], []
    for clip in clips:
        answer = system(clip.audio, model_set)
        scores.append(score(clip.truth, answer))
        found = len({turn["speaker"] for turn in answer["turns"]})
        lines.append(row(clip.name, scores[-1], f"{found} of {len(clip.voices)}"))
        print(lines[-1], flush=True)
    return scores, lines


def summary(scores: list[Score]) -> dict:
    """The pooled figures, by their names in the model card."""
    pooled = pool(scores)
    return {
        "clips": pooled.clips,
        "words": pooled.words,
        "word_error_rate": round(pooled.word_error_rate, 4),
        "word_start_error_ms": {
            "mean": round(1000 * pooled.start_error(), 1),
            "median": round(1000 * pooled.start_error(50), 1),
            "p95": round(1000 * pooled.start_error(95), 1),
        },
        "diarization_error_rate": round(pooled.diarization_error_rate, 4),
        "right_number_of_speakers": pooled.right_counts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", type=Path, default=ROOT / "models" / "demo" / "model_set.json")
    parser.add_argument("--split", choices=sorted(SPLITS), default="test")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "lab")
    options = parser.parse_args()
    model_set = options.set.resolve()
    punkt = model_set.parent / json.loads(model_set.read_text(encoding="utf-8"))["nltk_data"]
    os.environ |= {"HF_HUB_OFFLINE": "1", "PYANNOTE_METRICS_ENABLED": "0", "NLTK_DATA": str(punkt)}
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(options.threads)
    clips = make_clips(options.split, Espeak())
    options.out.mkdir(parents=True, exist_ok=True)
    for name, system in SYSTEMS.items():
        title = f"{name}, {model_set.parent.name} set, {options.split} split: {len(clips)} clips, {pooled_seconds(clips) / 60:.1f} minutes"
        print(f"{title}\n{HEADER}", flush=True)
        began = time.monotonic()
        scores, lines = measure(system, clips, model_set)
        figures = summary(scores) | {"seconds": round(time.monotonic() - began, 1)}
        lines.append(row("pooled", pool(scores), f"{figures['right_number_of_speakers']} of {len(clips)} clips right"))
        print(f"{lines[-1]}\n{json.dumps(figures)}", flush=True)
        stem = options.out / f"{name}-{options.split}"
        stem.with_suffix(".txt").write_text("\n".join([title, HEADER, *lines]) + "\n", encoding="utf-8")
        stem.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
