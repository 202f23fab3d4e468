"""Training of the segmentation: who speaks when within a few seconds, as a powerset of three speakers, at most two at once."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from demo_models.augment import augment, decibels
from demo_models.checkpoint import save
from demo_models.corpus import Corpus
from demo_models.espeak import RATE
from demo_models.training import Batches, best_device, train

SECONDS = 8.0
"""Length of the scenes that are trained on."""
WINDOW = 2.5
"""Seconds that the pipeline shows the model at a time. The encoder knows a voice after a second and a half; the segmentation, trained for
minutes, mixes up similar ones within a long window, and no clustering can part them again. Development clips: an error of 10.1 % with
windows of 8 s, 5.3 with 5, 3.0 with 3, 2.6 with 2.5, 2.4 with 2."""
SPEAKERS, AT_ONCE = 3, 2
BATCH = 32
OVERLAP = 0.12
ORDERS = list(itertools.permutations(range(SPEAKERS)))


def untrained():
    """The model. Specifications come before build(): the size of its last layer follows from them."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    from demo_models.speaker_segmentation import EcapaSegmentation

    model = EcapaSegmentation()
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=WINDOW,
        classes=[f"speaker#{number + 1}" for number in range(SPEAKERS)],
        powerset_max_classes=AT_ONCE,
        permutation_invariant=True,
    )
    model.build()
    return model


def scene(corpus: Corpus, rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[float, float, int]]]:
    """SECONDS out of a conversation of one to three: (audio [sample], [(start, end, speaker)] in seconds).

    Mostly it begins in the middle of somebody's sentence, as the sliding window does at run time. A quarter of the sentences break
    off, some turns begin before the other's has ended.
    """
    total = int(SECONDS * RATE)
    people = rng.choice(len(corpus.voices), size=rng.choice((1, 2, 2, 2, 3)), replace=False)
    gains = [decibels(rng.uniform(-8, 0)) for _ in people]
    audio = np.zeros(total, np.float32)
    turns = []
    at = -int(rng.uniform(0, 3) * RATE) if rng.random() < 0.7 else int(rng.uniform(0, 1.5) * RATE)
    current = int(rng.integers(len(people)))
    while at < total:
        pieces = corpus.by_speaker[people[current]]
        speech = corpus.audio(pieces[rng.integers(len(pieces))]) * gains[current]
        if rng.random() < 0.25:
            speech = speech[: rng.integers(len(speech) // 3, len(speech))]
        first, last = max(at, 0), min(at + len(speech), total)
        if last > first:
            audio[first:last] += speech[first - at : last - at]
            turns.append((first / RATE, last / RATE, current))
        following = int(rng.integers(len(people))) if rng.random() < 0.75 else current
        at += len(speech)
        if following != current and rng.random() < OVERLAP:
            at -= int(rng.uniform(0.1, 1.2) * RATE)
        else:
            at += int((rng.uniform(0.03, 0.5) if rng.random() < 0.8 else rng.uniform(0.5, 2.5)) * RATE)
        current = following
    return augment(audio, rng), turns


def activity(turns: list[tuple[float, float, int]], centres: np.ndarray) -> np.ndarray:
    """float32 [frame, speaker]: 1 where a frame's centre (seconds) lies in a turn of the speaker."""
    active = np.zeros((len(centres), SPEAKERS), np.float32)
    for start, end, speaker in turns:
        active[(centres >= start) & (centres < end), speaker] = 1.0
    return active


def best_order(scores: torch.Tensor, active: torch.Tensor, powerset) -> torch.Tensor:
    """The speakers of a scene have no order: classes [batch, frame] of the order that the scores [batch, frame, class] fit best."""
    with torch.no_grad():
        classes = torch.stack([powerset.to_powerset(active[:, :, list(order)]).argmax(-1) for order in ORDERS])
        losses = torch.stack([F.nll_loss(scores.transpose(1, 2), each, reduction="none").mean(1) for each in classes])
        return classes[losses.argmin(0), torch.arange(len(scores), device=scores.device)]


def train_segmentation(corpus: Corpus, ecapa: Path, folder: Path, steps: int, seed: int = 4) -> None:
    """Writes `folder/pytorch_model.bin`. `ecapa` is the folder of the trained speaker encoder."""
    from pyannote.audio.utils.powerset import Powerset

    torch.manual_seed(seed)
    device = best_device()
    model = untrained()
    model.hear_with(torch.load(ecapa / "embedding_model.ckpt", map_location="cpu"))
    model.to(device)
    powerset = Powerset(SPEAKERS, AT_ONCE).to(device)
    field = model.receptive_field
    centres = field.start + field.duration / 2 + np.arange(model.num_frames(int(SECONDS * RATE))) * field.step

    def batch(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        scenes = [scene(corpus, rng) for _ in range(BATCH)]
        audio = np.stack([audio for audio, _ in scenes])[:, None]
        return torch.from_numpy(audio), torch.from_numpy(np.stack([activity(turns, centres) for _, turns in scenes]))

    def loss_of(data: tuple[torch.Tensor, torch.Tensor], _progress: float) -> torch.Tensor:
        audio, active = (part.to(device) for part in data)
        model.eval()  # the encoder's normalisation stays as it was trained; nothing else here has two modes
        with torch.autocast(device.type, torch.bfloat16):
            scores = model(audio).float()
        return F.nll_loss(scores.transpose(1, 2), best_order(scores, active, powerset))

    learned = [value for value in model.parameters() if value.requires_grad]
    train(
        learned,
        Batches(batch, steps, seed),
        loss_of,
        2e-3,
        clip=0.5,
        weight_decay=0.0,
        checkpoint=lambda: save(model, folder),
    )
