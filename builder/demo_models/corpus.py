"""The speech that models are trained on: sentences of many synthetic speakers in one memory-mapped file."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from demo_models.espeak import RATE, Espeak, Voice
from demo_models.grammar import sentence
from demo_models.voices import ACCENTS

PITCH_BANDS = ((20, 30), (34, 44), (48, 58), (62, 72), (76, 86))
"""Speakers of one variant and accent lie in different bands: two that differ by a hair would be one voice with two labels."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One sentence in the file: its place in samples, who says it, and its words with times in seconds from its start."""

    offset: int
    length: int
    speaker: int
    text: str
    words: tuple[tuple[str, float, float], ...]


class Corpus:
    """`<path>.raw` (int16, 16 kHz) and `<path>.json`, read as sentences or as speakers."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        self._samples = np.memmap(path.with_suffix(".raw"), np.int16, "r")
        self.voices = [Voice(**voice) for voice in content["voices"]]
        self.pieces = [Piece(*piece[:4], tuple(map(tuple, piece[4]))) for piece in content["pieces"]]
        self.by_speaker: list[list[Piece]] = [[] for _ in self.voices]
        for piece in self.pieces:
            self.by_speaker[piece.speaker].append(piece)

    def audio(self, piece: Piece) -> np.ndarray:
        """float32 mono at 16 kHz, in -1..1."""
        return self._samples[piece.offset : piece.offset + piece.length].astype(np.float32) / 32768

    def stretch(self, speaker: int, samples: int, rng: np.random.Generator) -> np.ndarray:
        """`samples` of one speaker without pauses, cut from sentences drawn at random."""
        pieces = self.by_speaker[speaker]
        parts = [self.audio(pieces[rng.integers(len(pieces))])]
        first = rng.integers(len(parts[0]))
        have = len(parts[0]) - first
        while have < samples:
            parts.append(self.audio(pieces[rng.integers(len(pieces))]))
            have += len(parts[-1])
        return np.concatenate(parts)[first : first + samples]


def distinct_voices(count: int, variants: list[str], rng: random.Random) -> list[Voice]:
    """`count` speakers dealt evenly over the variants; those of one variant differ in accent or in pitch band.

    Look-alikes on purpose: speakers who share a variant are what teaches an encoder to hear small differences.
    """
    decks = {variant: [(accent, band) for accent in ACCENTS for band in PITCH_BANDS] for variant in variants}
    for deck in decks.values():
        rng.shuffle(deck)
    voices = []
    for index in range(count):
        variant = variants[index % len(variants)]
        accent, band = decks[variant][index // len(variants)]
        voices.append(
            Voice(
                f"{accent}+{variant}",
                rng.randint(*band),
                rng.randint(125, 190),
                rng.randint(30, 75),
                rng.choice((0, 0, 0, 1, 2)),
            )
        )
    return voices


def make_corpus(path: Path, voices: list[Voice], sentences: int, seed: int, espeak: Espeak | None = None) -> float:
    """Writes the corpus: `sentences` of every voice. Returns its length in seconds. Voices that espeak-ng lacks are left out."""
    espeak, rng = espeak or Espeak(), random.Random(seed)
    kept: list[Voice] = []
    pieces: list[tuple] = []
    offset = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".raw").open("wb") as file:
        for voice in voices:
            try:
                spoken = [espeak.say(sentence(rng, held_out=False), voice) for _ in range(sentences)]
            except ValueError:
                continue
            for utterance in filter(None, spoken):
                samples = (utterance.audio * 32767).astype(np.int16)
                file.write(samples.tobytes())
                words = [(word, round(start, 4), round(end, 4)) for word, start, end in utterance.words]
                pieces.append((offset, len(samples), len(kept), utterance.text, words))
                offset += len(samples)
            kept.append(voice)
    content = {"voices": [asdict(voice) for voice in kept], "pieces": pieces}
    path.with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")
    return offset / RATE
