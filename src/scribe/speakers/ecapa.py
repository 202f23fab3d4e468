"""Name speakers: compute embeddings by SpeechBrain's ECAPA-TDNN, and match speakers to enrolled voices.

An embedding is a unit vector; the score of a pair is their cosine, -1 to 1. Each name is assigned to at most one speaker,
such that the sum of scores is greatest. A speaker stays unknown below the threshold, or when a second name scores almost
as high.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scribe.audio.decode import Audio, Samples
from scribe.runtime.cores import on_all_cores
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.transcript import Span

if TYPE_CHECKING:
    from speechbrain.inference.speaker import EncoderClassifier

Vector = tuple[float, ...]
PIECE_SECONDS = 5.0
SHORTEST_SECONDS = 0.4
SPEECH_PER_SPEAKER = 60.0
CACHED_VOICES = 512


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker's mean embedding and the seconds of speech that it was computed from."""

    vector: Vector
    seconds: float


@dataclass(frozen=True, slots=True)
class VoiceSample:
    """A sample of a voice to recognize: a recording, or an embedding by the encoder `model` from `seconds` of speech."""

    name: str
    audio: Audio | None = None
    vector: Vector = ()
    model: str | None = None
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Match:
    """The result for one speaker: a name, or None with the reason; the best score, and the scores of all names."""

    name: str | None
    score: float | None
    reason: str | None
    scores: Mapping[str, float]


class SpeakerEncoder:
    """ECAPA on one device. `source` is a folder or a repository, `identity` its name@revision."""

    def __init__(self, source: str, identity: str, device: str) -> None:
        self.identity = identity
        self._device = device
        self._encoder = get_ecapa(source, device)
        self._voices: OrderedDict[tuple[str, str], Voice] = OrderedDict()

    def voice(self, audio: Audio, spans: Sequence[Span], monitor: Monitor = UNWATCHED) -> Voice | None:
        """Return the mean embedding of the speech in `spans`; None if all of them are too short.

        Uses the longest spans, up to a minute of speech, because turns are least certain in short ones.
        """
        total, pieces = 0.0, []
        for start, end in _pieces(spans):
            if total >= SPEECH_PER_SPEAKER:
                break
            pieces.append((start, end))
            total += end - start
        if not pieces:
            return None

        def embedded(piece: Span) -> Vector:
            return self._embed(audio.window(*piece))

        vectors = []
        for vector in on_all_cores(embedded, pieces, device=self._device):
            monitor.raise_if_stopped()
            vectors.append(vector)
        return Voice(centroid(vectors, [end - start for start, end in pieces]), total)

    def enrolled(self, audio: Audio, speech: Callable[[], Sequence[Span]]) -> Voice | None:
        """Return the voice of a sample, cached by its audio and the model, not by a name, which another job may reuse.

        `speech` returns the spans of speech; it is called only for a sample that is not cached.
        """
        key = (audio.sha256(), self.identity)
        if key not in self._voices:
            voice = self.voice(audio, speech())
            if voice is None:
                return None
            self._voices[key] = voice
            while len(self._voices) > CACHED_VOICES:
                self._voices.popitem(last=False)
        self._voices.move_to_end(key)
        return self._voices[key]

    def _embed(self, window: Samples) -> Vector:
        import torch

        with torch.inference_mode():
            vector = self._encoder.encode_batch(torch.from_numpy(window).unsqueeze(0)).flatten().cpu()
        return unit(vector.tolist())


def get_ecapa(source: str, device: str) -> EncoderClassifier:
    """Load SpeechBrain's EncoderClassifier. Raises what SpeechBrain and the hub raise."""
    from speechbrain.inference.speaker import EncoderClassifier

    local = Path(source) / "hyperparams.yaml"
    options: dict[str, object] = {}
    # A published hyperparams.yaml names the hub repository as the place of the weights, even if they are in this folder.
    if local.is_file() and "\npretrained_path:" in "\n" + local.read_text("utf-8"):
        options["overrides"] = {"pretrained_path": source}
    return EncoderClassifier.from_hparams(source=source, run_opts={"device": device}, **options)


def _pieces(spans: Sequence[Span]) -> list[Span]:
    """Cut spans, longest first, into pieces of at most PIECE_SECONDS; leave out those below SHORTEST_SECONDS."""
    pieces: list[Span] = []
    for start, end in sorted(spans, key=lambda s: s[0] - s[1]):
        count = max(1, math.ceil((end - start) / PIECE_SECONDS))
        step = (end - start) / count
        if step >= SHORTEST_SECONDS:
            pieces += [(start + i * step, start + (i + 1) * step) for i in range(count)]
    return pieces


def unit(vector: Sequence[float]) -> Vector:
    """Normalize the vector to length 1; a zero or NaN vector becomes zero and matches no voice."""
    length = math.sqrt(sum(v * v for v in vector))
    return tuple(v / length for v in vector) if math.isfinite(length) and length > 0 else (0.0,) * len(vector)


def centroid(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Return the normalized weighted mean of unit vectors."""
    return unit([sum(w * v[i] for v, w in zip(vectors, weights, strict=True)) for i in range(len(vectors[0]))])


def cosine(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def match(
    speakers: Mapping[str, Voice | None],
    enrolled: Mapping[str, Vector],
    threshold: float,
    margin: float,
    min_seconds: float,
) -> dict[str, Match]:
    """Name the speakers: optimal one-to-one assignment, then threshold and margin to the second-best name."""
    from scipy.optimize import linear_sum_assignment

    names = list(enrolled)
    usable = {label: voice for label, voice in speakers.items() if voice is not None and voice.seconds >= min_seconds}
    scores = {label: {n: cosine(voice.vector, enrolled[n]) for n in names} for label, voice in usable.items()}
    labels = list(usable)
    rows, columns = (
        linear_sum_assignment([[-scores[x][n] for n in names] for x in labels]) if labels and names else ((), ())
    )
    given = {labels[r]: names[c] for r, c in zip(rows, columns, strict=True)}
    return {label: _verdict(given.get(label), scores.get(label), threshold, margin) for label in speakers}


def _verdict(name: str | None, scores: Mapping[str, float] | None, threshold: float, margin: float) -> Match:
    if scores is None:
        return Match(None, None, "too little speech without overlap", {})
    rounded = {n: round(s, 3) for n, s in scores.items()}
    best = max(scores.values(), default=None)
    shown = None if best is None else round(best, 3)
    if not scores:
        return Match(None, None, "there is no usable voice sample", {})
    if name is None:
        return Match(None, shown, "every name went to a speaker that fits better", rounded)
    score = scores[name]
    second = max((s for n, s in scores.items() if n != name), default=-1.0)
    if score < threshold:
        return Match(None, shown, "no enrolled voice is close enough", rounded)
    if score - second < margin:
        return Match(None, shown, "two enrolled voices are equally close", rounded)
    return Match(name, round(score, 3), None, rounded)
