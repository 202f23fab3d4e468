"""The pure parts of how the demo models are made: word times, labels, the held-out split, the truth of a conversation."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "builder"))

from demo_models.conversation import Conversation, Said
from demo_models.espeak import word_spans
from demo_models.grammar import is_held_out, plain_words, sentence, vocabulary
from demo_models.voices import DEVELOPMENT, NOT_SPEECH, TEST, random_voices, training_variants


def test_a_word_ends_where_the_next_one_begins_or_at_a_pause() -> None:
    spans = word_spans("Red cars. Blue", {0: 100, 4: 300, 10: 900}, pauses=[600, 1200], total=1500)
    assert spans == [("Red", 100, 300), ("cars.", 300, 600), ("Blue", 900, 1200)]


def test_words_spoken_as_one_share_its_time_by_their_letters() -> None:
    assert word_spans("in the", {0: 0}, pauses=[], total=500) == [("in", 0, 200), ("the", 200, 500)]


def test_a_sentence_without_a_first_time_is_refused() -> None:
    assert word_spans("in the", {3: 100}, pauses=[], total=500) is None


def test_training_and_measuring_share_no_sentence() -> None:
    rng = random.Random(0)
    assert all(is_held_out(sentence(rng, held_out=True)) for _ in range(50))
    assert not any(is_held_out(sentence(rng, held_out=False)) for _ in range(50))


def test_the_language_is_closed() -> None:
    rng = random.Random(1)
    said = {word for _ in range(3000) for word in plain_words(sentence(rng, held_out=False))}
    assert len(vocabulary()) == 152
    assert said <= set(vocabulary())


def test_no_held_out_voice_is_trained_on() -> None:
    assert not set(DEVELOPMENT) & set(TEST)
    assert training_variants([*DEVELOPMENT, *TEST, *NOT_SPEECH, "zoe", "adam"]) == ["adam", "zoe"]


def test_speakers_of_one_clip_differ_in_variant() -> None:
    voices = random_voices(3, TEST, random.Random(2))
    assert len({voice.voice.split("+")[1] for voice in voices}) == 3


def test_the_truth_is_in_time_order() -> None:
    late = Said("Ada", "No.", 2.0, 2.5, (("No.", 2.0, 2.5),))
    early = Said("Ben", "Yes.", 0.5, 1.0, (("Yes.", 0.5, 1.0),))
    truth = Conversation(("Ada", "Ben"), np.zeros((2, 48000), np.float32), (late, early)).truth()
    assert truth["duration"] == 3.0
    assert [turn["speaker"] for turn in truth["turns"]] == ["Ben", "Ada"]
    assert [word["word"] for word in truth["words"]] == ["Yes.", "No."]


def test_the_aligner_is_taught_one_frame_a_letter_and_blank_between() -> None:
    pytest.importorskip("torch")
    from demo_models.aligner import BLANK, LETTERS, labels

    taught = labels([("on", 0.2, 0.4), ("a", 0.4, 0.42)], frames=40)
    spoken = [letter for frame in taught for letter, number in LETTERS.items() if number == frame != BLANK]
    assert "".join(spoken) == "on|a|"
    assert taught[round(0.2 / 0.02 - 1.4)] == LETTERS["o"]
    assert len(taught) == 40


def test_the_segmentation_is_taught_by_frame_centres() -> None:
    pytest.importorskip("torch")
    from demo_models.segmentation import activity

    active = activity([(0.0, 1.0, 0), (0.5, 1.5, 2)], np.array([0.25, 0.75, 1.25, 1.75]))
    assert active.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 0, 0]]
