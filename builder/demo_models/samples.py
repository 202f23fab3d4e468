"""The recordings in `samples/`, each with its ground truth beside it: python builder/demo_models/samples.py [folder].

The voices are test variants and the sentences are said nowhere else, so no model of the set was trained or tuned on them.
"""

from __future__ import annotations

import json
import random
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo_models.conversation import Conversation, converse
from demo_models.espeak import RATE, Espeak, Voice
from demo_models.grammar import sentence

SPEAKERS = {
    "Anna": Voice("en-us+f3", pitch=60, rate=150),
    "Mark": Voice("gmw/en+m4", pitch=40, rate=155),
    "Nina": Voice("en-us+belinda", pitch=55, rate=160),
    "Oscar": Voice("en-gb-scotland+Lee", pitch=30, rate=145, range=45),
}
SEED = 2026
NOISE_DB = -35.0
"""Of the background noise, below the level of the recording: a recording with digital silence is like no recording."""


def encode(path: Path, audio: np.ndarray, codec: str, bit_rate: int = 0) -> None:
    """float32 [channel, sample] at 16 kHz -> a file of the kind that its suffix names, with PyAV (no ffmpeg command)."""
    import av

    pcm = np.ascontiguousarray((np.clip(audio, -1, 1) * 32767).astype(np.int16).T.reshape(1, -1))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="stereo" if len(audio) == 2 else "mono")
        if bit_rate:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout=stream.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        fifo, resampler = av.AudioFifo(), av.AudioResampler(format=stream.format, layout=stream.layout, rate=RATE)
        for part in resampler.resample(frame) + resampler.resample(None):
            fifo.write(part)
        while (part := fifo.read(stream.codec_context.frame_size or 4096, partial=True)) is not None:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def with_noise(audio: np.ndarray, seed: int) -> np.ndarray:
    """float32 [channel, sample] plus white noise NOISE_DB below its own level."""
    noise = np.random.default_rng(seed).standard_normal(audio.shape).astype(np.float32)
    return audio + noise * audio.std() * 10 ** (NOISE_DB / 20)


def _write_truth(path: Path, truth: dict, names: list[str], channels: bool = False) -> None:
    speakers = [{"name": name, "sample": f"voices/{name.lower()}.flac"} for name in names]
    if channels:
        speakers = [{**speaker, "channel": channel} for channel, speaker in enumerate(speakers)]
    content = {"audio": path.name, "duration": truth["duration"], "language": "en", "speakers": speakers}
    content |= {"turns": truth["turns"], "words": truth["words"]}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def make(folder: Path) -> None:
    """Everything in `samples/` but the job files. The same call gives the same files."""
    espeak, rng, said = Espeak(), random.Random(SEED), set()
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    for seed, (name, voice) in enumerate(SPEAKERS.items()):
        _enrolment(espeak, name, voice, rng, said, folder / "voices", seed)

    def record(stem: str, names: list[str], seconds: float, overlap: float = 0.0) -> Conversation:
        return converse(espeak, {name: SPEAKERS[name] for name in names}, seconds, rng, overlap, said)

    conversation = record("conversation", ["Anna", "Mark"], 57)
    encode(folder / "conversation.mp3", with_noise(conversation.tracks.sum(0, keepdims=True), 11), "libmp3lame", 64000)
    _write_truth(folder / "conversation.mp3", conversation.truth(), ["Anna", "Mark"])
    meeting = record("meeting", ["Mark", "Nina", "Oscar"], 177)
    encode(folder / "meeting.mp3", with_noise(meeting.tracks.sum(0, keepdims=True), 12), "libmp3lame", 64000)
    _write_truth(folder / "meeting.mp3", meeting.truth(), ["Mark", "Nina", "Oscar"])
    call = record("call", ["Anna", "Oscar"], 43, overlap=0.3)
    encode(folder / "call.flac", with_noise(call.tracks, 13), "flac")
    _write_truth(folder / "call.flac", call.truth(), ["Anna", "Oscar"], channels=True)
    encode(folder / "silence.flac", np.zeros((1, 10 * RATE), np.float32), "flac")
    _write_truth(folder / "silence.flac", {"duration": 10.0, "turns": [], "words": []}, [])


def _enrolment(espeak, name: str, voice: Voice, rng, said: set[str], folder: Path, seed: int) -> None:
    """10 to 15 s of one speaker, in sentences that are said in no recording."""
    pieces, turns, words, at = [], [], [], 0.0
    while at < 11.0:
        text = sentence(rng, held_out=True)
        utterance = None if text in said else espeak.say(text, voice)
        if utterance is None:
            continue
        said.add(text)
        turns.append({"start": round(at, 3), "end": round(at + utterance.seconds, 3), "speaker": name, "text": text})
        words += [
            {"word": word, "start": round(at + start, 3), "end": round(at + end, 3), "speaker": name}
            for word, start, end in utterance.words
        ]
        pieces += [utterance.audio * 0.8, np.zeros(RATE // 4, np.float32)]
        at = sum(map(len, pieces)) / RATE
    path = folder / f"{name.lower()}.flac"
    encode(path, with_noise(np.concatenate(pieces)[None], seed), "flac")
    truth = {"audio": path.name, "duration": round(at, 3), "language": "en", "speakers": [{"name": name}]}
    truth |= {"turns": turns, "words": words}
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "samples")
