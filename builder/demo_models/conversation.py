"""Several synthetic speakers taking turns, with the truth about who said what and when."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from demo_models.espeak import RATE, Espeak, Voice
from demo_models.grammar import sentence


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence of one speaker; times in seconds from the start of the recording."""

    speaker: str
    text: str
    start: float
    end: float
    words: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    names: tuple[str, ...]
    tracks: np.ndarray = field(repr=False)
    """float32 [speaker, sample], 16 kHz: one track a speaker, so that a mix or a stereo call can be made of it."""
    said: tuple[Said, ...]

    @property
    def seconds(self) -> float:
        return self.tracks.shape[1] / RATE

    def truth(self) -> dict:
        """duration, turns and words in time order, as the ground truth files hold them."""
        turns = sorted(self.said, key=lambda said: said.start)
        words = [
            {"word": word, "start": round(start, 3), "end": round(end, 3), "speaker": said.speaker}
            for said in turns
            for word, start, end in said.words
        ]
        return {
            "duration": round(self.seconds, 3),
            "turns": [
                {"start": round(said.start, 3), "end": round(said.end, 3), "speaker": said.speaker, "text": said.text}
                for said in turns
            ],
            "words": sorted(words, key=lambda word: word["start"]),
        }


def converse(
    espeak: Espeak,
    voices: dict[str, Voice],
    seconds: float,
    rng: random.Random,
    overlap: float = 0.0,
    said_before: set[str] | None = None,
) -> Conversation:
    """Speakers take turns of one to three sentences until `seconds` are reached (the last sentence ends a little later).

    With probability `overlap` a turn begins 0.2 to 0.6 s before the other's has ended. Sentences in `said_before` are not said
    again, and what is said is added to it. Everybody speaks within the first turns.
    """
    names = tuple(voices)
    gains = {name: rng.uniform(0.65, 0.9) for name in names}
    waiting = list(names)
    rng.shuffle(waiting)
    said: list[Said] = []
    pieces: list[tuple[int, int, np.ndarray]] = []
    at, speaker = 0.6, ""
    while at < seconds:
        others = [name for name in names if name != speaker]
        speaker = waiting.pop() if waiting else rng.choice(others or list(names))
        for _ in range(rng.choice((1, 1, 2, 3))):
            utterance = _utter(espeak, voices[speaker], rng, said_before)
            first = round(at * RATE)
            at = first / RATE
            pieces.append((names.index(speaker), first, utterance.audio * gains[speaker]))
            words = tuple((word, at + start, at + end) for word, start, end in utterance.words)
            said.append(Said(speaker, utterance.text, at, at + utterance.seconds, words))
            at += utterance.seconds + rng.uniform(0.1, 0.35)
            if at >= seconds:
                break
        at = said[-1].end + (-rng.uniform(0.2, 0.6) if rng.random() < overlap else rng.uniform(0.3, 1.0))
    tracks = np.zeros((len(names), round((max(one.end for one in said) + 0.5) * RATE)), np.float32)
    for row, first, audio in pieces:
        tracks[row, first : first + len(audio)] += audio
    return Conversation(names, tracks, tuple(said))


def _utter(espeak: Espeak, voice: Voice, rng: random.Random, said_before: set[str] | None):
    for _ in range(200):
        text = sentence(rng, held_out=True)
        if said_before is not None and text in said_before:
            continue
        utterance = espeak.say(text, voice)
        if utterance is not None:
            if said_before is not None:
                said_before.add(text)
            return utterance
    raise ValueError(f"{voice.voice} could not be made to speak in 200 tries")
