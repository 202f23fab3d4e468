"""Making clean synthetic speech less clean: rooms, noise, channels, loudness. Without it a model learns the synthesiser, not the speech."""

from __future__ import annotations

import numpy as np

from demo_models.espeak import RATE


def augment(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 mono [sample] at 16 kHz -> the same length.

    Sometimes a small room, noise at 14 to 40 dB, a tilted spectrum; always another level.
    """
    if rng.random() < 0.15:
        audio = reverberate(audio, rng)
    if rng.random() < 0.7:
        ratio = 10 ** (-rng.uniform(14, 40) / 20)
        audio = audio + noise(len(audio), rng) * (audio.std() + 1e-4) * ratio
    if rng.random() < 0.3:
        audio = np.convolve(audio, np.array([1, rng.uniform(-0.5, 0.5)], np.float32), "same")
    return np.clip(audio * decibels(rng.uniform(-14, 4)), -1, 1).astype(np.float32)


def decibels(level: float) -> float:
    """The factor that changes a signal by `level` dB."""
    return 10 ** (level / 20)


def reverberate(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A direct path and an exponentially fading tail of 50 to 350 ms; the peak stays what it was."""
    from scipy.signal import fftconvolve

    length = int(rng.uniform(0.05, 0.35) * RATE)
    response = rng.standard_normal(length, np.float32) * np.exp(-6.0 * np.arange(length) / length)
    response *= rng.uniform(0.02, 0.12)
    response[0] = 1.0
    wet = fftconvolve(audio, response)[: len(audio)]
    return (wet / (np.abs(wet).max() + 1e-6) * np.abs(audio).max()).astype(np.float32)


def noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """White, dull or sharp noise of standard deviation 1."""
    white = rng.standard_normal(length, np.float32)
    shape = ([1.0], [1 / 6] * 6, [1.0, -0.9])[rng.integers(3)]
    coloured = np.convolve(white, np.array(shape, np.float32), "same")
    return coloured / (coloured.std() + 1e-6)


def change_speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Played `factor` times as fast, pitch included; times in it divide by `factor`."""
    at = np.arange(0, len(audio) - 1, factor)
    return np.interp(at, np.arange(len(audio)), audio).astype(np.float32)
