"""Naming: one name for one speaker, the best pairing of all, and `unknown` with its reason; by ECAPA for real."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.demo import excerpt, models, recording, sound, truth

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.errors import Cancelled
from scribe.models.model_set import UNCALIBRATED_MARGIN, UNCALIBRATED_THRESHOLD
from scribe.runtime.monitor import Monitor
from scribe.speakers.ecapa import (
    CACHED_VOICES,
    PIECE_SECONDS,
    SHORTEST_SECONDS,
    SPEECH_PER_SPEAKER,
    SpeakerEncoder,
    Voice,
    _pieces,
    centroid,
    cosine,
    match,
    unit,
)

often = settings(max_examples=200, deadline=None, derandomize=True)
NAMES = ["Anna", "Mark", "Nina", "Oscar"]
vectors = st.lists(st.integers(-9, 9), min_size=4, max_size=4).filter(any).map(unit)


@given(st.lists(vectors, min_size=1, max_size=4), st.lists(vectors, min_size=1, max_size=4))
@often
def test_the_pairing_is_the_best_of_all(heard: list[tuple[float, ...]], enrolled: list[tuple[float, ...]]) -> None:
    speakers = {f"SPEAKER_{n:02}": Voice(v, 9.0) for n, v in enumerate(heard)}
    names = {f"N{n}": v for n, v in enumerate(enrolled)}
    found = match(speakers, names, -1.0, -10.0, 1.0)
    given_names = [m.name for m in found.values() if m.name]
    assert len(given_names) == len(set(given_names)) == min(len(heard), len(enrolled))
    total = sum(m.scores[m.name] for m in found.values() if m.name)
    few, many = sorted((heard, enrolled), key=len)
    best = max(
        sum(cosine(a, b) for a, b in zip(few, order, strict=True)) for order in itertools.permutations(many, len(few))
    )
    assert total == pytest.approx(best, abs=0.005)


@given(st.lists(vectors, min_size=1, max_size=4), st.lists(vectors, max_size=4), st.floats(-1, 1), st.floats(0, 1))
@often
def test_nobody_is_named_below_the_threshold_or_within_the_margin(
    heard: list[tuple[float, ...]], enrolled: list[tuple[float, ...]], threshold: float, margin: float
) -> None:
    found = match(
        {f"S{n}": Voice(v, 9.0) for n, v in enumerate(heard)},
        {f"N{n}": v for n, v in enumerate(enrolled)},
        threshold,
        margin,
        1.0,
    )
    assert set(found) == {f"S{n}" for n in range(len(heard))}
    for m in found.values():
        assert (m.name is None) is (m.reason is not None)
        if m.name is not None:
            second = max((s for n, s in m.scores.items() if n != m.name), default=-1.0)
            assert m.score == m.scores[m.name]
            assert m.score >= threshold - 0.001
            assert m.score - second >= margin - 0.002


UP, RIGHT = (0.0, 1.0), (1.0, 0.0)


@pytest.mark.parametrize(
    ("speakers", "enrolled", "reason"),
    [
        ({"S": Voice(UP, 9.0)}, {"Anna": RIGHT}, "no enrolled voice is close enough"),
        ({"S": Voice(UP, 9.0)}, {"Anna": UP, "Anne": unit((0.05, 1.0))}, "two enrolled voices are equally close"),
        ({"S": Voice(UP, 0.5)}, {"Anna": UP}, "too little speech without overlap"),
        ({"S": None}, {"Anna": UP}, "too little speech without overlap"),
        ({"S": Voice((0.0, 0.0), 9.0)}, {"Anna": UP}, "no enrolled voice is close enough"),
    ],
)
def test_unknown_is_an_answer_with_its_reason(
    speakers: dict[str, Voice | None], enrolled: dict[str, tuple[float, ...]], reason: str
) -> None:
    (found,) = match(speakers, enrolled, 0.5, 0.1, 1.0).values()
    assert (found.name, found.reason) == (None, reason)


def test_the_same_voice_diarized_twice_gets_its_name_once() -> None:
    found = match({"S0": Voice(unit((0.2, 1.0)), 9.0), "S1": Voice(UP, 9.0)}, {"Anna": UP}, 0.5, 0.1, 1.0)
    assert {label: m.name for label, m in found.items()} == {"S0": None, "S1": "Anna"}
    assert "fits better" in (found["S0"].reason or "")
    assert found["S0"].score == pytest.approx(0.981, abs=0.001)


STRANGERS = [(0.05, 0.09), (0.12, 0.10), (0.20, 0.10)]
"""Mean and deviation of a stranger's cosines: anybody, the same room or codec, the same sex on one telephone line."""


def share_named(cosines: np.ndarray) -> float:
    """How many are given the first name: (people, names) cosines, by the pair of an encoder that was not calibrated."""
    names = {f"N{n}": tuple(axis) for n, axis in enumerate(np.eye(cosines.shape[1]))}
    threshold, margin = UNCALIBRATED_THRESHOLD, UNCALIBRATED_MARGIN
    found = [match({"S": Voice(tuple(row), 9.0)}, names, threshold, margin, 1.0)["S"].name for row in cosines]
    return sum(name is not None for name in found) / len(found)


@pytest.mark.parametrize("names", [2, 5, 10])
@pytest.mark.parametrize(("mean", "deviation"), STRANGERS)
def test_uncalibrated_less_than_one_stranger_in_twenty_is_named(names: int, mean: float, deviation: float) -> None:
    drawn = np.random.default_rng(0).normal(mean, deviation, (4000, names))
    assert share_named(drawn) < 0.05


@pytest.mark.parametrize("names", [2, 5, 10])
@pytest.mark.parametrize(("mean", "deviation"), STRANGERS)
def test_uncalibrated_who_is_known_is_named(names: int, mean: float, deviation: float) -> None:
    dice = np.random.default_rng(0)
    drawn = dice.normal(mean, deviation, (2000, names))
    drawn[:, 0] = dice.uniform(0.60, 0.85, 2000)
    assert share_named(drawn) > 0.99


def test_a_single_name_needs_no_margin() -> None:
    assert match({"S": Voice(UP, 9.0)}, {"Anna": UP}, 0.5, 0.9, 1.0)["S"].name == "Anna"


def test_without_names_or_speakers_nothing_is_matched() -> None:
    assert match({}, {"Anna": UP}, 0.5, 0.1, 1.0) == {}
    assert match({"S": Voice(UP, 9.0)}, {}, 0.5, 0.1, 1.0)["S"].name is None


@given(st.lists(st.tuples(vectors, st.floats(0.1, 100)), min_size=1, max_size=5))
@often
def test_a_centroid_is_a_direction_of_length_1_or_0(pieces: list[tuple[tuple[float, ...], float]]) -> None:
    length = math.sqrt(sum(v * v for v in centroid([v for v, _ in pieces], [w for _, w in pieces])))
    assert length == pytest.approx(1.0, abs=1e-6) or length == 0.0


def test_more_speech_weighs_more() -> None:
    assert centroid([UP, RIGHT], [3.0, 1.0]) == pytest.approx(unit((1.0, 3.0)))


@pytest.mark.parametrize("vector", [(0.0, 0.0), (math.nan, 1.0), (math.inf, 1.0)])
def test_a_vector_without_direction_matches_nobody(vector: tuple[float, ...]) -> None:
    assert unit(vector) == (0.0, 0.0)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 40)).map(lambda p: (p[0], p[0] + p[1])), max_size=8))
@often
def test_pieces_come_from_the_longest_spans_first_and_are_neither_long_nor_tiny(
    spans: list[tuple[float, float]],
) -> None:
    pieces = _pieces(spans)
    assert all(SHORTEST_SECONDS - 1e-6 <= e - s <= PIECE_SECONDS + 1e-6 for s, e in pieces)
    usable = sum(e - s for s, e in spans if e - s >= SHORTEST_SECONDS)
    assert sum(e - s for s, e in pieces) == pytest.approx(usable, abs=1e-3)


class TestWithTheModel:
    @pytest.fixture(scope="class")
    def encoder(self) -> SpeakerEncoder:
        return models().encoder()

    def spoken(
        self, stem: str, speaker: str | None = None, channel: int | None = None
    ) -> tuple[Audio, list[tuple[float, float]]]:
        channels = recording(truth(stem)["audio"], split=channel is not None)
        turns = truth(stem)["turns"]
        alone = [
            t for t in turns if not any(o is not t and o["start"] < t["end"] and t["start"] < o["end"] for o in turns)
        ]
        return channels[channel or 0], [(t["start"], t["end"]) for t in alone if speaker in (None, t["speaker"])]

    def sample(self, name: str) -> tuple[Audio, list[tuple[float, float]]]:
        turns = truth(f"voices/{name.lower()}")["turns"]
        return recording(f"voices/{name.lower()}.flac")[0], [(t["start"], t["end"]) for t in turns]

    def enrolled(self, encoder: SpeakerEncoder, name: str) -> Voice | None:
        audio, spans = self.sample(name)
        return encoder.enrolled(audio, lambda: spans)

    @pytest.mark.parametrize(
        ("stem", "speaker"),
        [("conversation", "Anna"), ("conversation", "Mark"), ("meeting", "Nina"), ("meeting", "Oscar")],
    )
    def test_the_true_sample_scores_above_every_other(self, encoder: SpeakerEncoder, stem: str, speaker: str) -> None:
        audio, spans = self.spoken(stem, speaker)
        voice = encoder.voice(audio, spans[:6])
        assert voice is not None
        scores = {
            name: cosine(voice.vector, enrolled.vector) for name in NAMES if (enrolled := self.enrolled(encoder, name))
        }
        assert set(scores) == set(NAMES)
        assert max(scores, key=scores.__getitem__) == speaker
        place = models().model_set.speaker
        assert (
            match(
                {"S": voice},
                {n: self.enrolled(encoder, n).vector for n in NAMES},
                place.threshold,
                place.margin,  # type: ignore[union-attr]
                place.min_seconds,
            )["S"].name
            == speaker
        )

    def test_an_embedding_is_a_unit_vector_of_the_network(self, encoder: SpeakerEncoder) -> None:
        voice = encoder.voice(*self.sample("Anna"))
        assert voice is not None
        assert sum(v * v for v in voice.vector) == pytest.approx(1.0, abs=1e-5)
        assert len(voice.vector) >= 64

    def test_loudness_does_not_change_a_voice(self, encoder: SpeakerEncoder) -> None:
        audio, spans = self.sample("Mark")
        quiet = sound("mark-quiet", audio[:] * 0.25)
        a, b = encoder.voice(audio, spans[:2]), encoder.voice(quiet, spans[:2])
        assert a is not None
        assert b is not None
        assert cosine(a.vector, b.vector) > 0.9

    def test_a_sample_is_remembered_by_its_sound_and_not_by_a_name(
        self, encoder: SpeakerEncoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        audio, spans = self.sample("Nina")
        first = encoder.enrolled(audio, lambda: spans)
        again = sound("nina-again", audio[:])
        other = excerpt("nina-other", recording("voices/oscar.flac")[0], 0.0, 4.0)
        calls: list[int] = []
        real = encoder._embed
        monkeypatch.setattr(encoder, "_embed", lambda window: calls.append(1) or real(window))
        copy = Audio(again.path.rename(again.path.with_name("anna.pcm")), audio.samples)

        def nowhere() -> list[tuple[float, float]]:
            raise AssertionError("the speech of a known sample was looked for again")

        if copy.sha256() == audio.sha256():
            assert encoder.enrolled(copy, nowhere) is first
            assert calls == []
        found = encoder.enrolled(other, lambda: [(0.0, 4.0)])
        assert calls
        assert found is not None
        assert first is not None
        assert found.vector != first.vector

    def test_the_memory_of_voices_is_bounded_and_forgets_the_oldest(self) -> None:
        encoder = SpeakerEncoder.__new__(SpeakerEncoder)
        encoder.identity, encoder._voices = "ecapa@1", type(models().encoder()._voices)()
        encoder.voice = lambda audio, spans: Voice((1.0,), 1.0)  # type: ignore[method-assign]
        clips = [sound(f"tone-{n}", np.full(4, n / 2000)) for n in range(CACHED_VOICES + 3)]
        for clip in clips:
            encoder.enrolled(clip, lambda: [(0.0, 1.0)])
        assert len(encoder._voices) == CACHED_VOICES
        assert (clips[0].sha256(), "ecapa@1") not in encoder._voices
        assert (clips[-1].sha256(), "ecapa@1") in encoder._voices

    def test_what_is_too_short_to_tell_a_voice_is_none_and_is_not_remembered(self, encoder: SpeakerEncoder) -> None:
        audio, _ = self.sample("Anna")
        before = len(encoder._voices)
        assert encoder.voice(audio, [(0.0, 0.2), (1.0, 1.3)]) is None
        assert encoder.enrolled(sound("anna-short", audio[:3200]), lambda: [(0.0, 0.2)]) is None
        assert len(encoder._voices) == before

    def test_a_minute_of_speech_is_enough(self, encoder: SpeakerEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        seconds: list[float] = []
        monkeypatch.setattr(encoder, "_embed", lambda window: seconds.append(len(window) / SAMPLE_RATE) or (1.0, 0.0))
        long = sound("long", np.zeros(200 * SAMPLE_RATE, np.float32))
        voice = encoder.voice(long, [(0.0, 200.0)])
        assert SPEECH_PER_SPEAKER <= sum(seconds) <= SPEECH_PER_SPEAKER + PIECE_SECONDS
        assert voice is not None
        assert voice.seconds == pytest.approx(sum(seconds))

    def test_a_stop_comes_through_between_two_pieces(self, encoder: SpeakerEncoder) -> None:
        def stop() -> None:
            raise Cancelled("x")

        with pytest.raises(Cancelled):
            encoder.voice(*self.sample("Anna"), Monitor(stop))
