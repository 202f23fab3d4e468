"""More text than 224 tokens: Georgian, Burmese or Telugu take 10 to 25 tokens for a second of speech."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from scribe.audio.decode import SAMPLE_RATE
from scribe.engines.base import SpeechOptions, TranscriptionRequest
from scribe.engines.batched import BatchedEngine
from scribe.engines.decoding_passes import halves
from scribe.engines.faster_whisper import WhisperEngine
from scribe.transcript import Chunk, Segment

WINDOW = 448
PROMPT = 4
PAUSES = ((7.3, 7.7), (14.7, 15.3), (22.3, 22.7))


class Talk:
    """In place of a recording: each sample is its own number, so that whoever gets a stretch knows which."""

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.arange(part.start, part.stop, dtype=np.float64)


class Whisper:
    """In place of faster-whisper's model, and of CTranslate2's: writes `rate` words of one token for each second.

    The tokens are numbered from the start of the recording. Like CTranslate2 it ends at half of max_length, and refuses
    a place behind its window.
    """

    max_length = WINDOW
    is_multilingual = True
    n_mels = 80

    feat_kwargs: ClassVar[dict[str, int]] = {}

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.model = self
        self.calls: list[tuple[int, int]] = []
        self.hf_tokenizer = SimpleNamespace(token_to_id=lambda text: 10**9)

    def feature_extractor(self, samples: np.ndarray, padding: int) -> np.ndarray:
        return np.array([samples[0], len(samples)]) / SAMPLE_RATE

    def encode(self, features: np.ndarray) -> np.ndarray:
        return features

    def get_prompt(self, *_: Any, **__: Any) -> list[int]:
        return [0] * PROMPT

    def generate(self, features: np.ndarray, prompts: list[list[int]], max_length: int, **_: Any) -> list[Any]:
        most = min(max_length // 2, max_length - PROMPT)
        assert PROMPT + most <= WINDOW, "no position behind the window"
        self.calls.append((len(prompts), most))
        return [self._heard(round(start * self.rate), round(seconds * self.rate), most) for start, seconds in features]

    def _heard(self, first: int, count: int, most: int) -> Any:
        return SimpleNamespace(
            sequences_ids=[list(range(first, first + min(count, most)))], scores=[-0.3], no_speech_prob=0.0
        )


class Tokenizer:
    """A word for each token, no two alike."""

    eot = 10**9
    tokenizer = SimpleNamespace(decode=lambda tokens: "".join(f" {n:05d}" for n in tokens))


def heard(rate: float, *chunks: Chunk, **options: Any) -> tuple[list[Segment], Whisper]:
    model, segments = Whisper(rate), []
    engine = BatchedEngine.__new__(BatchedEngine)
    WhisperEngine.__init__(engine, model, "cpu")
    engine._tokenizer = lambda language, task: Tokenizer()  # type: ignore[method-assign, assignment, return-value]
    # As dense as this text is, it compresses and is fast: other gates' matter.
    chosen = SpeechOptions(compression_ratio_threshold=10, **options)
    request = TranscriptionRequest(Talk(), chunks, "ka", chosen)  # type: ignore[arg-type]
    engine.transcribe(request, segments.append)
    return segments, model


def numbers(segments: list[Segment]) -> list[int]:
    return [int(word) for segment in segments for word in segment.text.split()]


@pytest.fixture(autouse=True)
def any_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six characters a token are a fiction of the stand-in's."""
    monkeypatch.setattr("scribe.engines.hallucination.FASTEST", 1e6)


def whole(end: float, *pauses: tuple[float, float]) -> Chunk:
    edges = [0.0, *(edge for pause in pauses for edge in pause), end]
    return Chunk(0.0, end, tuple(zip(edges[::2], edges[1::2], strict=True)))


def test_four_tokens_a_second_are_decoded_once() -> None:
    segments, model = heard(4, whole(30))
    assert numbers(segments) == list(range(120))
    assert model.calls == [(1, 224)]


@pytest.mark.parametrize(("rate", "parts"), [(7, 1), (10, 1), (14.7, 1), (15, 2), (25, 2), (29, 2), (44, 4), (56, 4)])
def test_no_token_of_a_fast_language_is_lost(rate: float, parts: int) -> None:
    segments, model = heard(rate, whole(30, *PAUSES))
    assert numbers(segments) == list(range(round(30 * rate)))
    assert [s.suspect for s in segments] == [()] * parts
    assert segments[0].start == 0.0
    assert segments[-1].end == 30.0
    assert all(before.end == after.start for before, after in zip(segments, segments[1:], strict=False))


def test_what_fits_into_all_tokens_keeps_its_chunk_and_only_that_is_decoded_again() -> None:
    slow, fast = Chunk(0.0, 8.0, ((0.0, 8.0),)), Chunk(40.0, 70.0, ((40.0, 70.0),))
    segments, model = heard(12, slow, fast, beam_size=5)
    assert [(s.start, s.end) for s in segments] == [(0.0, 8.0), (40.0, 70.0)]
    assert numbers(segments) == [*range(96), *range(480, 840)]
    assert model.calls == [(2, 224), (1, WINDOW - PROMPT)]


def test_halving_ends_and_what_is_still_cut_is_marked() -> None:
    segments, model = heard(200, whole(30, *PAUSES))
    assert len(segments) == 4
    assert {s.suspect for s in segments} == {("cut",)}
    assert [rows for rows, _ in model.calls] == [1, 1, 2, 2, 2]


def test_a_loop_that_fills_all_tokens_is_not_halved() -> None:
    segments, model = heard(200, whole(3.0))
    assert [s.suspect for s in segments] == [("cut",)]
    assert {most for _, most in model.calls} <= {54, 224}


def nowhere(start: float, end: float) -> float:
    raise AssertionError("there is a pause")


@pytest.mark.parametrize(
    ("chunk", "quietest", "cut"),
    [
        (whole(30, (9.0, 9.5), (16.0, 17.0)), nowhere, 16.5),
        (whole(30, (1.0, 3.0), (14.0, 14.2)), nowhere, 14.1),
        (whole(30, (1.0, 3.0)), lambda start, end: (start + end) / 2, 15.0),
        (Chunk(10.0, 30.0, ((11.0, 29.0),)), lambda start, end: end, 25.0),
    ],
    ids=["longest", "not at an edge", "no pause within", "quietest"],
)
def test_a_chunk_is_halved_in_its_longest_inner_pause(
    chunk: Chunk, quietest: Callable[[float, float], float], cut: float
) -> None:
    before, after = halves(chunk, quietest)
    assert (before.start, before.end, after.start, after.end) == (chunk.start, cut, cut, chunk.end)
    assert all(start < end <= cut for start, end in before.speech)
    assert all(cut <= start < end for start, end in after.speech)
    spoken = sum(end - start for start, end in (*before.speech, *after.speech))
    assert spoken == pytest.approx(sum(end - start for start, end in chunk.speech))


def test_without_a_pause_the_quietest_moment_is_taken() -> None:
    from scribe.engines.batched import _quietest

    sound = np.ones(10 * SAMPLE_RATE)
    sound[int(6.2 * SAMPLE_RATE) : int(6.3 * SAMPLE_RATE)] = 0.01
    assert 6.19 <= _quietest(sound, 2.5, 7.5) <= 6.31  # type: ignore[arg-type]
