"""Diarization: pyannote's turns as they are, the exclusive ones too, whole and inside the recording."""

from __future__ import annotations

import itertools

import pytest
from pipeline import excerpt, models, recording, truth

from scribe.assignment import Floor
from scribe.audio import Audio
from scribe.diarizer import Diarization
from scribe.errors import Cancelled

pytestmark = pytest.mark.xdist_group("models")


@pytest.fixture(scope="module")
def clip() -> Audio:
    return excerpt("diarizer-clip", recording("conversation.mp3")[0], 0.0, 30.0)


@pytest.fixture(scope="module")
def ticks() -> list[float | None]:
    return []


@pytest.fixture(scope="module")
def found(clip: Audio, ticks: list[float | None]) -> Diarization:
    return models().diarizer().diarize(clip, ticks.append)


def test_two_who_talk_are_two_labels(found: Diarization) -> None:
    assert {t.label for t in found.turns} == {"SPEAKER_00", "SPEAKER_01"}


def test_turns_are_in_order_and_inside_the_recording(found: Diarization, clip: Audio) -> None:
    for turns in (found.turns, found.exclusive):
        assert list(turns) == sorted(turns, key=lambda t: t.start)
        assert all(0 <= t.start < t.end <= round(clip.seconds, 3) for t in turns)


def test_exclusive_turns_never_overlap(found: Diarization) -> None:
    assert all(a.end <= b.start + 1e-6 for a, b in itertools.pairwise(found.exclusive))


def test_the_turns_are_those_of_the_speakers(found: Diarization) -> None:
    find = Floor(found.exclusive).label
    pairs = [(t["speaker"], find(t["start"], t["end"])) for t in truth("conversation")["turns"] if t["end"] < 30]
    best = max(
        sum(label == who[name] for name, label in pairs)
        for who in ({"Anna": "SPEAKER_00", "Mark": "SPEAKER_01"}, {"Anna": "SPEAKER_01", "Mark": "SPEAKER_00"})
    )
    assert best >= 0.9 * len(pairs)


def test_progress_grows_from_0_to_1(found: Diarization, ticks: list[float | None]) -> None:
    fractions = [t for t in ticks if t is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert all(0 <= f <= 1 for f in fractions)


def test_one_speaker_when_one_is_asked_for(clip: Audio) -> None:
    found = models().diarizer().diarize(clip, lambda fraction: None, num_speakers=1)
    assert len({t.label for t in found.turns}) == 1


def test_silence_has_no_turns() -> None:
    found = models().diarizer().diarize(recording("silence.flac")[0], lambda fraction: None)
    assert (found.turns, found.exclusive) == ((), ())


def test_a_stop_comes_through_and_leaves_the_diarizer_usable(found: Diarization, clip: Audio) -> None:
    def stop(fraction: float | None) -> None:
        if fraction is not None:
            raise Cancelled("x")

    with pytest.raises(Cancelled):
        models().diarizer().diarize(clip, stop)
    assert models().diarizer().diarize(clip, lambda fraction: None).turns == found.turns
