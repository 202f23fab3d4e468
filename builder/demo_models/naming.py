"""Calibration of the speaker names: from which likeness on are two recordings one voice? Measured on development voices."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo_models.espeak import RATE, Espeak
from demo_models.grammar import sentence
from demo_models.voices import DEVELOPMENT, random_voice

SPEAKERS_A_VARIANT = 6
ENROLMENT, TALK = 12.0, (1.5, 3.0, 6.0, 12.0)
"""Seconds of a voice sample, and of what one speaker says in a recording."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Cosines between voice samples and talk, by who they belong to."""

    same: np.ndarray
    other: np.ndarray
    """Of different variants: people that a listener can tell apart."""
    look_alike: np.ndarray
    """Of the same variant with another pitch, pace or accent."""

    def threshold(self) -> float:
        """Half-way between the 99th percentile of others and the 5th of the same voice: with these voices both errors are zero there,
        and a mixed-up cluster or a noisy sample may move either side."""
        return round(float(np.percentile(self.other, 99) + np.percentile(self.same, 5)) / 2, 2)

    def figures(self) -> dict[str, float]:
        """What the model card prints; rates are at `threshold`."""
        at = self.threshold()
        numbers = {"same_mean": self.same.mean(), "same_5th_percentile": np.percentile(self.same, 5)}
        numbers |= {"other_mean": self.other.mean(), "other_99th_percentile": np.percentile(self.other, 99)}
        numbers |= {"look_alike_mean": self.look_alike.mean(), "threshold": at, "same_refused": (self.same < at).mean()}
        numbers |= {"other_accepted": (self.other >= at).mean(), "look_alike_accepted": (self.look_alike >= at).mean()}
        return {name: round(float(value), 3) for name, value in numbers.items()}


def likeness(
    ecapa: Path, espeak: Espeak, variants: tuple[str, ...] = DEVELOPMENT, seed: int = 6
) -> dict[float, Likeness]:
    """For every length of TALK: all pairs of a voice sample and another recording, of held-out voices."""
    from speechbrain.inference.speaker import EncoderClassifier

    encoder = EncoderClassifier.from_hparams(source=str(ecapa))
    rng, said = random.Random(seed), np.random.default_rng(seed)
    people = [(variant, random_voice(variant, rng)) for variant in variants for _ in range(SPEAKERS_A_VARIANT)]

    def embed(voice, seconds: float) -> np.ndarray:
        import torch

        parts: list[np.ndarray] = []
        while sum(map(len, parts)) < seconds * RATE:
            utterance = espeak.say(sentence(rng, held_out=True), voice)
            if utterance is not None:
                parts.append(utterance.audio)
        audio = np.concatenate(parts)[: int(seconds * RATE)]
        audio = audio + said.standard_normal(len(audio), np.float32) * audio.std() * 10 ** (-25 / 20)
        vector = encoder.encode_batch(torch.from_numpy(audio)[None]).squeeze().numpy()
        return vector / np.linalg.norm(vector)

    samples = np.stack([embed(voice, ENROLMENT) for _, voice in people])
    same = np.eye(len(people), dtype=bool)
    names = np.array([variant for variant, _ in people])
    kin = (names[:, None] == names[None]) & ~same
    result = {}
    for seconds in TALK:
        cosines = samples @ np.stack([embed(voice, seconds) for _, voice in people]).T
        result[seconds] = Likeness(cosines[same], cosines[~same & ~kin], cosines[kin])
    return result
