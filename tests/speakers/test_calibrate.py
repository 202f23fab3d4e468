"""builder/calibrate.py: threshold and margin from voices of one's own, by the rules that the worker names by."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.demo import SAMPLES, excerpt, models, recording

import calibrate
from calibration import Talks, certain_below, rates, recommended
from scribe.speakers.ecapa import Voice, cosine, match, unit

ROOT = SAMPLES.parent
vectors = st.lists(st.integers(-9, 9), min_size=3, max_size=3).filter(any).map(unit)
NAMES = ("Anna", "Mark", "Nina", "Oscar")


@given(vectors, st.lists(vectors, min_size=2, max_size=5), st.floats(-0.9, 0.9), st.floats(0, 0.9))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_talk_is_named_as_the_worker_would_name_it(
    talk: tuple[float, ...], people: list[tuple[float, ...]], threshold: float, margin: float
) -> None:
    enrolled = {str(n): vector for n, vector in enumerate(people)}
    scores = [cosine(talk, vector) for vector in people]
    if any(abs(a - b) < 1e-9 for n, a in enumerate(scores) for b in scores[:n]):
        return  # of two equal voices either may be the best
    found = rates(Talks.of([(scores[0], scores[1:])]), threshold, margin)

    def name(voices: dict) -> str | None:
        return match({"S": Voice(talk, 9.0)}, voices, threshold, margin, 0.0)["S"].name

    known = name(enrolled)
    assert (known is None, known not in (None, "0")) == (bool(found.unnamed), bool(found.misnamed))
    del enrolled["0"]
    assert (name(enrolled) is not None) == bool(found.stranger_named)


def talks(*trials: tuple[float, list[float]]) -> Talks:
    return Talks.of(trials)


def test_between_voices_that_never_meet_the_threshold_is_the_middle() -> None:
    threshold, margin = recommended(talks((0.8, [0.2, 0.1]), (0.9, [0.4, 0.0])))
    assert threshold == pytest.approx(0.6, abs=0.011)
    assert margin == pytest.approx(0.25, abs=0.011)


def test_a_wrong_name_weighs_more_than_a_missing_one() -> None:
    """One talk of two must be lost: better the known voice at 0.6 than a stranger's at 0.7."""
    threshold, _ = recommended(talks((0.6, [0.5, 0.1]), (0.9, [0.7, 0.1])))
    assert threshold > 0.7


def test_the_margin_keeps_out_a_stranger_between_two_voices() -> None:
    between = talks((0.9, [0.2, 0.1]), (0.9, [0.85, 0.84]))
    assert rates(between, 0.5, 0.0).stranger_named == 0.5
    assert rates(between, 0.5, 0.02).stranger_named == 0.0


def test_nothing_seen_in_three_hundred_talks_is_below_one_in_a_hundred() -> None:
    assert certain_below(300) == pytest.approx(0.01)
    assert certain_below(2) == 1.0


def test_talks_are_full_and_in_order_and_hold_only_speech() -> None:
    found = calibrate.cut([(0.0, 3.0), (4.0, 4.5), (6.0, 16.0)], 5.0)
    assert found == [[(0.0, 3.0), (4.0, 4.5), (6.0, 7.5)], [(7.5, 12.5)]]


def test_no_talk_is_compared_with_a_voice_that_holds_it() -> None:
    """Anna's two recordings are unlike: a voice made of both would be like each."""
    east, north, up = unit((1, 0, 0)), unit((0, 1, 0)), unit((0, 0, 1))
    people = {
        "Anna": [(Voice(east, 9.0), [Voice(east, 5.0)]), (Voice(north, 9.0), [Voice(north, 5.0)])],
        "Mark": [(Voice(up, 9.0), [Voice(up, 5.0)]), (Voice(up, 9.0), [])],
    }
    assert calibrate.trials(people) == [(0.0, [0.0]), (0.0, [0.0]), (1.0, [pytest.approx(0.0)])]


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "voices" / name).mkdir(parents=True)
        shutil.copy(SAMPLES / "voices" / f"{name.lower()}.flac", tmp_path / "voices" / name)
        shutil.copy(SAMPLES / "voices" / f"{name.lower()}.json", tmp_path / "voices" / name)
    (tmp_path / "voices" / "Anna" / "broken.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    return tmp_path / "voices"


def test_voices_of_ones_own_give_a_threshold_a_margin_and_a_curve(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SET", "demo")
    assert "python3 builder/calibrate.py" in (ROOT / "docs" / "speakers.md").read_text("utf-8")
    assert calibrate.main([str(voices), "--talk", "3", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "left out" in told.err
    assert "broken.wav" in told.err
    found = json.loads((tmp_path / "out" / "calibration.json").read_text("utf-8"))
    assert (found["people"], found["model"]) == (4, models().model_set.speaker.location.identity)
    assert found["talks"] >= 8
    assert 0.4 < found["threshold"] < 0.95
    assert found["at_recommended"]["misnamed"] == found["at_recommended"]["stranger_named"] == 0
    assert re.search(rf"SPEAKER_THRESHOLD={found['threshold']:g}\nSPEAKER_MARGIN={found['margin']:g}", told.out)
    rising = [row["unnamed"] for row in found["by_threshold"]]
    falling = [row["stranger_named"] for row in found["by_threshold"]]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert "<svg" in (tmp_path / "out" / "calibration.svg").read_text("utf-8")


def test_a_folder_without_two_people_is_refused_with_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SET", "demo")
    (tmp_path / "Anna").mkdir()
    (tmp_path / "Anna" / "a.wav").write_bytes(b"x")
    assert calibrate.main([str(tmp_path)]) == 2
    assert "recordings of 1 people" in capsys.readouterr().err
    assert calibrate.main([str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_the_demo_sets_threshold_and_margin_are_those_of_its_calibration() -> None:
    found = json.loads((ROOT / "models" / "demo" / "calibration.json").read_text("utf-8"))
    speaker = models().model_set.speaker
    assert (speaker.threshold, speaker.margin, speaker.calibrated) == (found["threshold"], found["margin"], True)
    assert found["model"] == speaker.location.identity


def test_a_stranger_stays_a_stranger_where_the_nearest_voice_would_name_him() -> None:
    """Four are enrolled by the first half of their samples; what people do without a threshold names everybody."""
    encoder, speaker = models().encoder(), models().model_set.speaker

    def half(name: str, start: float, end: float) -> Voice:
        audio = recording(f"voices/{name.lower()}.flac")[0]
        part = excerpt(f"{name}-{start}", audio, start * audio.seconds, end * audio.seconds)
        return encoder.voice(part, [(0.0, part.seconds)])  # type: ignore[return-value]

    enrolled = {name: half(name, 0.0, 0.5).vector for name in NAMES if name != "Oscar"}
    talk = {name: half(name, 0.5, 1.0) for name in NAMES}
    found = match(talk, enrolled, speaker.threshold, speaker.margin, speaker.min_seconds)
    assert {name: m.name for name, m in found.items()} == {
        "Anna": "Anna",
        "Mark": "Mark",
        "Nina": "Nina",
        "Oscar": None,
    }
    nearest = max(enrolled, key=lambda name: cosine(talk["Oscar"].vector, enrolled[name]))
    assert nearest in enrolled
    assert found["Oscar"].scores[nearest] < speaker.threshold
    assert np.mean([m.name == name for name, m in found.items() if name != "Oscar"]) == 1
