"""The recordings that the set is tuned on (development) and measured on (test): fixed seeds, held-out voices and sentences."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from demo_models.augment import decibels, noise
from demo_models.conversation import converse
from demo_models.espeak import RATE, Espeak, Voice
from demo_models.voices import DEVELOPMENT, TEST, random_voices

SPLITS = {"development": (DEVELOPMENT, 16, 8101), "test": (TEST, 24, 9202)}
"""Variants, number of clips, seed. Half the clips have two speakers, half three."""
SECONDS = 40.0
OVERLAP = 0.05
"""Of the turns begin while the other still speaks."""
NAMES = ("Ada", "Ben", "Cleo")


@dataclass(frozen=True, slots=True)
class Clip:
    name: str
    audio: np.ndarray = field(repr=False)
    """float32 mono, 16 kHz."""
    truth: dict = field(repr=False)
    """duration, turns, words: see Conversation.truth."""
    people: tuple[Voice, ...]
    """In the order of NAMES."""


def make_clips(split: str, espeak: Espeak) -> list[Clip]:
    """All clips of a split, in a fixed order. `espeak` must be new: the voices' flutter runs on from whatever it said before."""
    variants, count, seed = SPLITS[split]
    rng, said = random.Random(seed), set()
    clips = []
    for number in range(count):
        voices = random_voices(2 + number % 2, variants, rng)
        conversation = converse(espeak, dict(zip(NAMES, voices, strict=False)), SECONDS, rng, OVERLAP, said)
        audio = conversation.tracks.sum(0)
        hiss = noise(len(audio), np.random.default_rng((seed, number)))
        audio = audio + hiss * audio.std() * decibels(-rng.uniform(20, 35))
        clips.append(
            Clip(
                f"{split}-{number:02d}",
                np.clip(audio, -1, 1),
                conversation.truth(),
                tuple(voices),
            )
        )
    return clips


def pooled_seconds(clips: list[Clip]) -> float:
    return sum(len(clip.audio) for clip in clips) / RATE
