"""make bench-gpu: seconds of a GPU for an hour of audio, stage by stage, on models of the real sizes with random weights.

python tests/bench/gpu.py [--rehearse] [--out tests/bench/results]

A chunk is 28 s of speech and takes TOKENS steps to decode. `roofline`: the part of what the card could do at best, its
arithmetic and its memory's speed taken from builder/costs.py; empty for a card that is not in that table. `--rehearse`
runs every stage once on the CPU with toy sizes, so that the program is known to work where there is no GPU; its figures
mean nothing and are not kept.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src"), str(ROOT / "builder")]

from bench.shapes import LARGE_V3, TINY, TURBO, Whisper, WhisperShape, aligner, embedding, segmentation  # noqa: E402
from costs import GPUS, MODELS  # noqa: E402
from scribe.runtime.machine import free_gpu_memory  # noqa: E402

CHUNK_S, TOKENS, BEAM = 28.0, 110, 5
HOUR = 3600.0
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """`seconds` of the GPU for an hour of audio (median), `memory` in GB beyond the weights, `roofline` 0 to 1."""

    what: str
    seconds: float
    memory: float | None = None
    roofline: float | None = None


def named(known: str, card: str) -> bool:
    """Whether one of the names in `known` is this card's, as words: an L40S is no L4."""
    return any(re.search(rf"\b{re.escape(name)}\b", card) for name in known.split(", "))


class Card:
    """The device under test: waits for it, and knows how much of its memory was taken."""

    def __init__(self, rehearse: bool) -> None:
        import torch

        self.device = "cpu" if rehearse else "cuda"
        self.name = "rehearsal on the CPU" if rehearse else torch.cuda.get_device_name(0)
        self.known = next((gpu for gpu in GPUS if named(gpu.name, self.name)), None)

    def timed(self, work: Callable[[], Any]) -> tuple[float, float | None]:
        """(median seconds of `work`, GB that it took at most), after one run that is not counted."""
        before, least, stop = free_gpu_memory(), [free_gpu_memory()], threading.Event()

        def watch() -> None:
            while not stop.wait(0.01):
                least.append(free_gpu_memory())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        times = []
        try:
            for _ in range(REPEATS + 1):
                began = time.perf_counter()
                work()
                self._wait()
                times.append(time.perf_counter() - began)
        finally:
            stop.set()
            watcher.join()
        known = [free for free in least if free is not None]
        return statistics.median(times[1:]), (before - min(known)) / 1e9 if before and known else None

    def _wait(self) -> None:
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()


def recognition(card: Card, name: str, shape: WhisperShape, batches: tuple[int, ...], folder: Path) -> Iterator[Stage]:
    """Encoding and decoding apart, for each size of the batch; together against the card's best."""
    whisper = Whisper(shape, card.device, folder / name)
    steps = TOKENS if card.device == "cuda" else 4
    model = MODELS.get(name)
    for batch in batches:
        hour = HOUR / (CHUNK_S * batch)
        features = whisper.features(batch)
        encoding, _ = card.timed(lambda f=features: whisper.encode(f))
        encoded = whisper.encode(features)
        decoding, memory = card.timed(lambda e=encoded, b=batch: whisper.generate(e, b, BEAM, steps))
        yield Stage(f"{name}, encoder, batch {batch}", encoding * hour, None)
        both = (encoding + decoding) * hour
        least = model and card.known and model.operations / card.known.speed + model.traffic / card.known.bandwidth
        yield Stage(
            f"{name}, encoder and decoder, batch {batch}, beam {BEAM}", both, memory, least / both if least else None
        )


def alignment(card: Card) -> Iterator[Stage]:
    """wav2vec2 one chunk at a time, as the worker runs it."""
    import torch

    model = aligner(card.device)
    waveform = torch.randn(1, int(16000 * (CHUNK_S if card.device == "cuda" else 2)), device=card.device)
    with torch.inference_mode():
        seconds, memory = card.timed(lambda: model(waveform))
    yield Stage("wav2vec2 base, chunk by chunk", seconds * HOUR / CHUNK_S, memory)


def diarization(card: Card, batches: tuple[int, ...]) -> Iterator[Stage]:
    """The two networks over windows of ten seconds, one a second; the trunk of the second once for all speakers."""
    import torch

    nets = {"segmentation, PyanNet": segmentation(card.device), "embeddings, ResNet34": embedding(card.device)}
    for batch in batches:
        windows = torch.randn(batch, 1, 16000 * (10 if card.device == "cuda" else 1), device=card.device)
        for name, net in nets.items():
            with torch.inference_mode():
                seconds, memory = card.timed(lambda n=net, w=windows: n(w))
            yield Stage(f"{name}, batch {batch}", seconds * HOUR / batch, memory)


def beside(card: Card, shape: WhisperShape, batch: int, folder: Path) -> Iterator[Stage]:
    """Recognition and the embedding network one after the other and side by side, the latter on a stream of its own."""
    import torch

    whisper, net = Whisper(shape, card.device, folder / "beside"), embedding(card.device)
    windows = torch.randn(8, 1, 16000 * (10 if card.device == "cuda" else 1), device=card.device)
    features, steps = whisper.features(batch), TOKENS if card.device == "cuda" else 4
    lane = torch.cuda.Stream() if card.device == "cuda" else None

    def hear() -> None:
        whisper.generate(whisper.encode(features), batch, BEAM, steps)

    def separate() -> None:
        with torch.inference_mode(), torch.cuda.stream(lane):
            for _ in range(16 if card.device == "cuda" else 1):
                net(windows)

    def both() -> None:
        thread = threading.Thread(target=separate)
        thread.start()
        hear()
        thread.join()

    hour = HOUR / (CHUNK_S * batch)
    alone = card.timed(lambda: (hear(), separate()))[0]
    together = card.timed(both)[0]
    yield Stage(f"recognition, then embeddings (batch {batch})", alone * hour)
    yield Stage("the same side by side", together * hour)


def stages(card: Card, folder: Path) -> Iterator[Stage]:
    real = card.device == "cuda"
    for name, shape in (("large-v3", LARGE_V3), ("turbo", TURBO)):
        yield from recognition(card, name, shape if real else TINY, (1, 16, 64) if real else (1, 2), folder)
    yield from alignment(card)
    yield from diarization(card, (32, 256) if real else (2,))
    yield from beside(card, TURBO if real else TINY, 16 if real else 2, folder)


def line(stage: Stage) -> str:
    memory = "" if stage.memory is None else f"{stage.memory:.1f} GB"
    share = "" if stage.roofline is None else f"{100 * stage.roofline:.0f} %"
    return f"| {stage.what} | {stage.seconds:.3g} | {memory} | {share} |"


HEADER = "| stage | GPU seconds for an hour of audio | memory | of the roofline |\n|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="every stage once on the CPU, toy sizes")
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "bench" / "results")
    options = parser.parse_args()
    import torch

    if not options.rehearse and not torch.cuda.is_available():
        sys.exit("make bench-gpu needs an NVIDIA GPU; REHEARSE=1 tries the program on the CPU.")
    card = Card(options.rehearse)
    print(f"{card.name}\n\n{HEADER}", flush=True)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for stage in stages(card, Path(folder)):
            found.append(stage)
            print(line(stage), flush=True)
    if not options.rehearse:
        options.out.mkdir(parents=True, exist_ok=True)
        text = "\n".join([f"Measured on {card.name}, random weights.", "", HEADER, *map(line, found)])
        (options.out / "gpu.md").write_text(text + "\n", encoding="utf-8")
        (options.out / "gpu.json").write_text(json.dumps([asdict(s) for s in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
