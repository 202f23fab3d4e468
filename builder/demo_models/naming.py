"""Voices to calibrate the speaker names on: development voices, each with recordings of its own, as builder/calibrate.py takes them.

Several people have one variant with another pitch, pace or accent: strangers that sound alike, as in life.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from demo_models.augment import decibels, noise
from demo_models.espeak import RATE, Espeak
from demo_models.grammar import sentence
from demo_models.samples import encode
from demo_models.voices import DEVELOPMENT, random_voice

PEOPLE_A_VARIANT, RECORDINGS, RECORDING_S = 3, 4, 15.0
TALK_S = 3.0
"""Seconds that a speaker is named by, at the least that is worth a name."""
SEED = 6


def make_voices(folder: Path, espeak: Espeak, variants: tuple[str, ...] = DEVELOPMENT, seed: int = SEED) -> None:
    """`folder`/<person>/<number>.flac, with noise at 15 to 35 dB. `espeak` must be new."""
    rng, hiss = random.Random(seed), np.random.default_rng(seed)
    for variant in variants:
        for number in range(PEOPLE_A_VARIANT):
            voice, person = random_voice(variant, rng), folder / f"{variant}-{number + 1}"
            person.mkdir(parents=True, exist_ok=True)
            for recording in range(RECORDINGS):
                audio = _speech(espeak, voice, rng)
                audio = audio + noise(len(audio), hiss) * audio.std() * decibels(-rng.uniform(15, 35))
                encode(person / f"{recording + 1}.flac", audio[None].astype(np.float32), "flac")


def _speech(espeak: Espeak, voice, rng: random.Random) -> np.ndarray:
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < RECORDING_S * RATE:
        utterance = espeak.say(sentence(rng, held_out=True), voice)
        if utterance is not None:
            parts += [utterance.audio, np.zeros(RATE // 4, np.float32)]
    return np.concatenate(parts)
