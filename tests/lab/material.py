"""What the laboratory listens to: conversations, some with long or noisy pauses, and sounds in which nobody speaks.

All of it from fixed seeds and the voices and sentences that no training saw. `Recording.truth` is what was said, by whom
and when; `enrolled` are voice samples of four people, of whom some speak in the recording; who speaks and is not
enrolled is the stranger.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from demo_models.augment import decibels
from demo_models.clips import NAMES, SPLITS, make_clips
from demo_models.espeak import RATE, Espeak, Voice
from demo_models.grammar import sentence
from demo_models.voices import random_voice, random_voices

ENROLLED = 4
SAMPLE_S = 12.0
PAUSED, PAUSED_TURNS, PAUSES_S = 8, 9, (2.0, 9.0)
NOISY, NOISY_TURNS, NOISES_S = 6, 12, (4.0, 12.0)
PAUSE_NOISES = ("typing", "hum", "white noise", "music")
SOUND_S = 60.0
SEED = 31


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    audio: np.ndarray = field(repr=False)
    """float32 mono, 16 kHz."""
    truth: dict = field(repr=False)
    """duration, turns, words: see Conversation.truth."""
    enrolled: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """Voice samples by name, float32 mono."""


def conversations(split: str, espeak: Espeak) -> list[Recording]:
    """The clips of a split, each with four enrolled voices. The last to have a name in a clip is a stranger: in a clip
    of two one of them is known, in a clip of three two are. `espeak` must be new."""
    clips = make_clips(split, espeak)
    return [_with_samples(clip, espeak, SPLITS[split][0], number) for number, clip in enumerate(clips)]


def _with_samples(clip, espeak: Espeak, variants: tuple[str, ...], number: int) -> Recording:
    rng = random.Random(SEED * 1000 + number)
    known = dict(zip(NAMES, clip.people[:-1], strict=False))
    free = [v for v in variants if v not in {person.voice.partition("+")[2] for person in clip.people}]
    # There are not always variants enough: a second voice of one that is enrolled already is a look-alike, as in life.
    while len(known) < ENROLLED:
        known[f"Guest {len(known)}"] = random_voice(free.pop() if free else rng.choice(variants), rng)
    samples = {name: sample(voice, SAMPLE_S, espeak, rng) for name, voice in known.items()}
    return Recording(clip.name, clip.audio, clip.truth, samples)


def sample(voice: Voice, seconds: float, espeak: Espeak, rng: random.Random) -> np.ndarray:
    """float32 mono: so many seconds of one voice at least, with a little noise."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * RATE:
        utterance = espeak.say(sentence(rng, held_out=True), voice)
        if utterance is not None:
            parts += [utterance.audio, np.zeros(RATE // 5, np.float32)]
    audio = np.concatenate(parts)
    noise = np.random.default_rng(rng.randrange(1 << 30)).standard_normal(len(audio), np.float32)
    return (audio + noise * audio.std() * decibels(-25)).astype(np.float32)


def with_pauses(split: str, espeak: Espeak) -> list[Recording]:
    """Two people, a sentence each in turn, and two to nine seconds between in which one of SOUNDS goes on alone."""
    rng = random.Random(SEED)
    return [_paused(number, espeak, SPLITS[split][0], rng) for number in range(PAUSED)]


def _paused(number: int, espeak: Espeak, variants: tuple[str, ...], rng: random.Random) -> Recording:
    people = dict(zip(NAMES, random_voices(2, variants, rng), strict=False))
    turns, words, pieces, at = [], [], [], rng.uniform(*PAUSES_S)
    for turn in range(PAUSED_TURNS):
        name = list(people)[turn % len(people)]
        utterance = None
        while utterance is None:
            utterance = espeak.say(sentence(rng, held_out=True), people[name])
        at = round(at * RATE) / RATE
        pieces.append((round(at * RATE), utterance.audio))
        turns.append({"start": at, "end": at + utterance.seconds, "speaker": name, "text": utterance.text})
        words += [{"word": w, "start": at + a, "end": at + b, "speaker": name} for w, a, b in utterance.words]
        at += utterance.seconds + rng.uniform(*PAUSES_S)
    speech = np.zeros(round(at * RATE), np.float32)
    for first, audio in pieces:
        speech[first : first + len(audio)] += audio
    kind = list(SOUNDS)[number % len(SOUNDS)]
    level = np.concatenate([audio for _, audio in pieces]).std() * decibels(-rng.uniform(15, 25))
    background = SOUNDS[kind](len(speech), np.random.default_rng((SEED, number)))
    mixed = np.clip(speech + background / max(background.std(), 1e-9) * level * background.any(), -1, 1)
    truth = {"duration": len(speech) / RATE, "turns": turns, "words": words}
    return Recording(f"pauses-{number:02d}-{kind}", mixed.astype(np.float32), truth)


def with_noises(split: str, espeak: Espeak) -> list[Recording]:
    """Two people, a sentence each in turn, and in the pauses, of four to twelve seconds, one of PAUSE_NOISES after the other."""
    return [_noisy(number, espeak, SPLITS[split][0]) for number in range(NOISY)]


def _noisy(number: int, espeak: Espeak, variants: tuple[str, ...]) -> Recording:
    rng = random.Random(SEED * 2000 + number)
    people = dict(zip(NAMES, random_voices(2, variants, rng), strict=False))
    turns, pieces, loudness = [], [], 0.0
    for turn in range(NOISY_TURNS):
        name = list(people)[turn % len(people)]
        utterance = None
        while utterance is None:
            utterance = espeak.say(sentence(rng, held_out=True), people[name])
        loudness = float(utterance.audio.std())
        kind = PAUSE_NOISES[turn % len(PAUSE_NOISES)]
        dice = np.random.default_rng((SEED, number, turn))
        noise = SOUNDS[kind](round(rng.uniform(*NOISES_S) * RATE), dice)
        noise *= loudness * decibels(-rng.uniform(0, 10)) / max(float(noise.std()), 1e-9)
        at = sum(map(len, pieces)) / RATE
        told = [{"word": w, "start": at + a, "end": at + b, "speaker": name} for w, a, b in utterance.words]
        turns.append(({"start": at, "end": at + utterance.seconds, "speaker": name, "text": utterance.text}, told))
        quiet = np.zeros(RATE // 2, np.float32)
        pieces += [utterance.audio, quiet, np.clip(noise, -1, 1).astype(np.float32), quiet]
    audio = np.concatenate(pieces)
    hiss = np.random.default_rng((SEED, number)).standard_normal(len(audio)) * loudness * decibels(-35)
    words = [word for _, told in turns for word in told]
    truth = {"duration": len(audio) / RATE, "turns": [turn for turn, _ in turns], "words": words}
    return Recording(f"noises-{number:02d}", (audio + hiss).astype(np.float32), truth)


def nobody_speaks() -> list[Recording]:
    """A minute of each of SOUNDS, at -30 dB of full scale."""
    found = []
    for number, (kind, make) in enumerate(SOUNDS.items()):
        audio = make(round(SOUND_S * RATE), np.random.default_rng((SEED, 100 + number)))
        audio = audio / max(float(audio.std()), 1e-9) * decibels(-30)
        truth = {"duration": SOUND_S, "turns": [], "words": []}
        found.append(Recording(kind, np.clip(audio, -1, 1).astype(np.float32), truth))
    return found


def _silence(length: int, rng: np.random.Generator) -> np.ndarray:
    return np.zeros(length)


def _white(length: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(length)


def _coloured(length: int, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose amplitude falls with frequency to the power of `slope`, from 20 Hz on."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hertz = np.fft.rfftfreq(length, 1 / RATE)
    return np.fft.irfft(spectrum * np.where(hertz < 20, 0, np.maximum(hertz, 20) ** -slope), length)


def _pink(length: int, rng: np.random.Generator) -> np.ndarray:
    return _coloured(length, rng, 0.5)


def _ventilation(length: int, rng: np.random.Generator) -> np.ndarray:
    """Low noise that swells and fades every few seconds."""
    clock = np.arange(length) / RATE
    return _coloured(length, rng, 1.0) * (1 + 0.6 * np.sin(2 * np.pi * 0.3 * clock))


def _hum(length: int, rng: np.random.Generator) -> np.ndarray:
    """A mains hum of 50 Hz and its odd harmonics."""
    clock = np.arange(length) / RATE
    return sum(np.sin(2 * np.pi * 50 * n * clock + rng.uniform(0, 6)) / n for n in (1, 3, 5, 7, 9))


def _hum_and_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    return _hum(length, rng) + 0.3 * rng.standard_normal(length)


def _keys(length: int, rng: np.random.Generator) -> np.ndarray:
    """Typing: five clicks a second on the average, each a burst of some milliseconds."""
    audio = 0.002 * rng.standard_normal(length)
    for first in rng.integers(0, length - 400, 5 * length // RATE):
        audio[first : first + 400] += rng.standard_normal(400) * np.exp(-np.arange(400) / 60) * rng.uniform(0.3, 1)
    return audio


def _ringing(length: int, rng: np.random.Generator) -> np.ndarray:
    """A telephone: 425 Hz, a second on and four off."""
    clock = np.arange(length) / RATE
    return np.sin(2 * np.pi * 425 * clock) * (clock % 5 < 1) + 0.003 * rng.standard_normal(length)


def _chords(length: int, rng: np.random.Generator) -> np.ndarray:
    """Music: three plucked notes of a scale, anew every half second."""
    audio, step = np.zeros(length), RATE // 2
    clock = np.arange(step) / RATE
    for first in range(0, length - step, step):
        for note in rng.choice([0, 2, 4, 5, 7, 9, 11, 12], 3, replace=False):
            hertz = 220 * 2 ** (note / 12)
            tone = sum(np.sin(2 * np.pi * n * hertz * clock) / n for n in (1, 2, 3, 4))
            audio[first : first + step] += tone * np.exp(-3 * clock)
    return audio


def _murmur(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with the spectrum and the rhythm of speech, four syllables a second: a crowd behind a wall."""
    clock = np.arange(length) / RATE
    syllables = np.clip(np.sin(2 * np.pi * 4 * clock + 2 * np.sin(2 * np.pi * 0.7 * clock)), 0, None)
    phrases = np.sin(2 * np.pi * 0.25 * clock) > -0.3
    return _coloured(length, rng, 0.8) * syllables * phrases + 0.02 * _pink(length, rng)


SOUNDS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "silence": _silence,
    "white noise": _white,
    "hum": _hum,
    "murmur": _murmur,
    "music": _chords,
    "typing": _keys,
    "ventilation": _ventilation,
    "ringing": _ringing,
    "pink noise": _pink,
    "hum and noise": _hum_and_noise,
}
