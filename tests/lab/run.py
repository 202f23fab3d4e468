"""make lab: bare WhisperX, the worker and the worker in parity mode, side by side on the same weights and recordings.

python tests/lab/run.py [--set models/demo/model_set.json] [--split test|development] [--clips 24] [--part M] [--out tests/lab/results]

Needs libespeak-ng. The speech is made on the spot from fixed seeds, of voices and sentences that no training saw.
Writes lab.json, lab.md and lab.png; builder/docs.py puts the table into docs/quality.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("builder", "tests", "src")]
RESULTS = ROOT / "tests" / "lab" / "results"

from lab.forms import score_forms, segments  # noqa: E402
from lab.material import Recording, conversations, nobody_speaks, with_noises, with_pauses  # noqa: E402
from lab.modes import MODES, modes_table  # noqa: E402
from lab.scores import Score, pool, score  # noqa: E402
from lab.stock import Stock  # noqa: E402
from lab.summary import summary  # noqa: E402
from lab.table import FORMS, NOBODY, NOISY, PAUSES, SYSTEMS, TALK, markdown, plot, table  # noqa: E402
from lab.worker import Worker, enrolled, models_of, recording  # noqa: E402

from demo_models.clips import SPLITS  # noqa: E402
from demo_models.espeak import RATE, Espeak  # noqa: E402

DETECTORS = ("silero", "pyannote")
"""Both listen where nobody speaks: the set's own, and the one that WhisperX takes unless it is told otherwise."""


class Lab:
    """The systems, and what they scored: scores[system][material] is a list, one score a recording."""

    def __init__(self, model_set: Path) -> None:
        shared, exact = models_of(model_set, parity=False), models_of(model_set, parity=True)
        self._models = shared
        self._stock = Stock(shared)
        self._workers = {"worker": Worker(shared), "parity": Worker(exact)}
        rough = Worker(models_of(model_set, parity=False, half=True))
        self._modes = {
            name: (rough if half else self._workers["worker"], asked) for name, (_, asked, half) in MODES.items()
        }
        self.scores: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def conversation(self, one: Recording) -> None:
        """Everything that a job can ask for, and the aligners alone on other ways to write the text."""
        audio = recording(one.name, one.audio)
        voices = {name: recording(f"{one.name}-{name}", samples) for name, samples in one.enrolled.items()}
        prints = enrolled(self._models, voices)
        self._add(TALK, one, "stock", lambda: self._stock(audio, prints))
        for name, worker in self._workers.items():
            self._add(TALK, one, name, lambda w=worker: w(audio, voices))
        for name, (worker, options) in self._modes.items():
            self._add(TALK, one, name, lambda w=worker, o=options: w(audio, voices, **o))
        asked, samples = segments(one.truth), audio[:]
        self.scores["stock"][FORMS].append(score_forms(one.truth, self._stock.aligned(asked, samples)))
        for name, worker in self._workers.items():
            self.scores[name][FORMS].append(score_forms(one.truth, worker.aligned(asked, audio)))

    def words_only(self, material: str, one: Recording, vad: str | None = None) -> None:
        """Recognition and alignment."""
        audio = recording(one.name, one.audio)
        self._add(material, one, "stock", lambda: {"segments": self._stock.recognized(audio[:], vad), "turns": []})
        for name, worker in self._workers.items():
            self._add(material, one, name, lambda w=worker: w(audio, {}, diarization=False, vad_method=vad))

    def speakers(self, material: str, one: Recording) -> None:
        """Who speaks when, and how many they are; nobody is known."""
        audio = recording(one.name, one.audio)
        self._add(material, one, "stock", lambda: self._stock(audio, {}))
        for name, worker in self._workers.items():
            self._add(material, one, name, lambda w=worker: w(audio, {}))

    def _add(self, material: str, one: Recording, system: str, answer: Callable[[], dict]) -> None:
        began = time.perf_counter()
        found = answer()
        self.seconds[material][system] += time.perf_counter() - began
        known = one.enrolled if one.enrolled else None
        self.scores[system][material].append(score(one.truth, found, known))

    def losses(self, names: dict[str, list[str]]) -> list[dict]:
        """Single recordings in which the worker has more word errors or invented words than stock."""
        found = []
        for material, clips in names.items():
            pairs = zip(clips, self.scores["stock"][material], self.scores["worker"][material], strict=True)
            for name, stock, worker in pairs:
                if worker.word_errors > stock.word_errors or worker.invented > stock.invented:
                    counts = {"word_errors": [stock.word_errors, worker.word_errors], "words": stock.words}
                    found.append({"recording": name, **counts, "invented": [stock.invented, worker.invented]})
        return found


def machine() -> str:
    """Where and when the figures were made."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{time.strftime('%Y-%m-%d')}, {model}, Python {platform.python_version()}"


def line(name: str, scores: dict[str, dict[str, list[Score]]], material: str) -> str:
    """The last recording's figures, stock / worker / parity."""
    last = [scores[system][material][-1] for system in SYSTEMS]

    def three(told: Callable[[Score], str]) -> str:
        return " / ".join(told(one) for one in last)

    parts = [f"{name:26}", f"WER {three(lambda s: f'{100 * s.word_error_rate:.1f}')} %" if last[0].words else ""]
    parts.append(f"invented {three(lambda s: str(s.invented))}")
    if material in (TALK, NOISY):
        parts.append(f"DER {three(lambda s: f'{100 * s.diarization_error_rate:.1f}')} %")
    if material == NOISY:
        parts.append(f"speakers {three(lambda s: str(s.listed))}, nobody {three(lambda s: str(s.nobody))}")
    if material == TALK:
        parts.append(f"named {three(lambda s: str(s.named_right))} of {last[0].people}")
    return "  ".join(filter(None, parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", type=Path, default=ROOT / "models" / "demo" / "model_set.json")
    parser.add_argument("--split", choices=sorted(SPLITS), default="test")
    parser.add_argument("--clips", type=int, default=99, help="only the first so many of each kind, to try something")
    parser.add_argument("--part", choices=(TALK, PAUSES, NOISY, NOBODY), help="only this material; nothing is written")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "PYANNOTE_METRICS_ENABLED": "0", "TOKENIZERS_PARALLELISM": "false"}
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import torch

    torch.set_num_threads(options.threads)
    began = time.monotonic()
    espeak = Espeak()
    makers = {
        TALK: lambda: conversations(options.split, espeak),
        PAUSES: lambda: with_pauses(options.split, espeak),
        NOISY: lambda: with_noises(options.split, espeak),
        NOBODY: nobody_speaks,
    }
    material = {name: make()[: options.clips] if options.part in (None, name) else [] for name, make in makers.items()}
    minutes = {name: round(sum(len(one.audio) for one in clips) / RATE / 60, 1) for name, clips in material.items()}
    print(f"{minutes} minutes of sound, made in {time.monotonic() - began:.0f} s; stock / worker / parity:", flush=True)
    lab = Lab(options.set.resolve())
    for one in material[TALK]:
        lab.conversation(one)
        print(f"{time.monotonic() - began:4.0f} s  {line(one.name, lab.scores, TALK)}", flush=True)
    for one in material[PAUSES]:
        lab.words_only(PAUSES, one)
        print(f"{time.monotonic() - began:4.0f} s  {line(one.name, lab.scores, PAUSES)}", flush=True)
    for one in material[NOISY]:
        lab.speakers(NOISY, one)
        print(f"{time.monotonic() - began:4.0f} s  {line(one.name, lab.scores, NOISY)}", flush=True)
    for vad in DETECTORS:
        for one in material[NOBODY]:
            lab.words_only(NOBODY, one, vad)
            print(f"{time.monotonic() - began:4.0f} s  {line(f'{one.name}, {vad}', lab.scores, NOBODY)}", flush=True)
    if options.part:
        print(markdown(table(lab.scores)))
        return
    names = {name: [one.name for one in clips] for name, clips in material.items()}
    names[NOBODY] = [f"{one.name}, {vad}" for vad in DETECTORS for one in material[NOBODY]]
    rows = table(lab.scores)
    result = {
        "made": machine(),
        "set": options.set.parent.name,
        "split": options.split,
        "recordings": {name: len(clips) for name, clips in names.items()},
        "minutes": minutes | {NOBODY: minutes[NOBODY] * len(DETECTORS)},
        "words": pool(lab.scores["stock"][TALK]).words,
        "seconds": {system: round(sum(s[system] for s in lab.seconds.values()), 1) for system in SYSTEMS},
        "rows": rows,
        "modes": modes_table(lab.scores, lab.seconds[TALK]),
        "losses": lab.losses(names),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "lab.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "lab.md").write_text(summary(result) + "\n", encoding="utf-8")
    plot(rows, options.out / "lab.png")
    print(f"{summary(result)}\n\n{time.monotonic() - began:.0f} s in all; written to {options.out}")


if __name__ == "__main__":
    main()
