"""The laboratory's scores: what counts as an error, and how recordings are pooled."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.scores import match_words, plain, pool, row, score

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "one", "two"]), max_size=8)
TURNS = [{"start": 0.0, "end": 4.0, "speaker": "Ada"}, {"start": 4.0, "end": 6.0, "speaker": "Ben"}]


def words(text: str, first: float = 0.0) -> list[dict]:
    return [{"word": word, "start": first + i, "end": first + i + 0.5} for i, word in enumerate(text.split())]


def answer(text: str, turns: list[dict] = TURNS, late: float = 0.0) -> dict:
    return {"segments": [{"text": text, "words": words(text, late)}], "turns": turns}


TRUTH = {"words": words("We found two red cars."), "turns": TURNS}


def test_a_right_answer_has_no_error() -> None:
    result = score(TRUTH, answer("we found two red cars"))
    assert result.word_error_rate == result.diarization_error_rate == result.start_error() == 0
    assert result.right_counts == 1


def test_substitutions_deletions_and_insertions_each_count_once() -> None:
    assert match_words(["a", "b", "c", "d"], ["a", "x", "c", "d", "e"]) == (2, [(0, 0), (2, 2), (3, 3)])
    assert match_words(["a", "b"], [])[0] == 2
    assert score(TRUTH, answer("we found two old cars today")).word_errors == 2


def test_only_words_that_match_are_timed() -> None:
    result = score(TRUTH, answer("we lost two red cars", late=0.02))
    assert len(result.start_errors) == 4
    assert result.start_error() == pytest.approx(0.02)
    assert result.start_error(95) == pytest.approx(0.02)


def test_a_segment_that_was_never_aligned_counts_for_words_and_not_for_times() -> None:
    result = score(TRUTH, {"segments": [{"text": "we found two red cars"}], "turns": TURNS})
    assert result.word_errors == 0
    assert math.isnan(result.start_error())


def test_missed_speech_false_alarms_and_confusion_are_told_apart() -> None:
    wrong = [{"start": 1.0, "end": 5.0, "speaker": "A"}, {"start": 5.0, "end": 7.0, "speaker": "B"}]
    result = score(TRUTH, answer("", wrong))
    assert (result.missed, result.false_alarm, result.confusion) == pytest.approx((1.0, 1.0, 1.0))
    assert result.diarization_error_rate == pytest.approx(3 / 6)


def test_speaker_labels_need_not_be_the_same_words() -> None:
    renamed = [{**turn, "speaker": turn["speaker"].upper() + "_0"} for turn in TURNS]
    assert score(TRUTH, answer("", renamed)).confusion == 0


def test_the_number_of_speakers_is_right_or_it_is_not() -> None:
    alone = [{"start": 0.0, "end": 6.0, "speaker": "A"}]
    assert score(TRUTH, answer("", alone)).right_counts == 0


def test_pooling_adds_counts_so_that_long_recordings_weigh_more() -> None:
    long = {"words": words("one two three four five six seven eight nine"), "turns": TURNS}
    pooled = pool([score(TRUTH, answer("")), score(long, answer("one two three four five six seven eight nine"))])
    assert pooled.word_error_rate == pytest.approx(5 / 14)
    assert (pooled.clips, pooled.right_counts) == (2, 2)
    assert "35.7" in row("pooled", pooled, "2 of 2")


def test_no_recordings_pool_to_no_error() -> None:
    assert pool([]).word_error_rate == pool([]).diarization_error_rate == 0


def test_case_and_punctuation_do_not_count() -> None:
    assert plain("Did Alice find TEN books, today?") == ["did", "alice", "find", "ten", "books", "today"]


@given(WORDS, WORDS)
def test_the_distance_is_that_of_levenshtein(reference: list[str], spoken: list[str]) -> None:
    errors, pairs = match_words(reference, spoken)
    assert abs(len(reference) - len(spoken)) <= errors <= max(len(reference), len(spoken))
    assert errors == match_words(spoken, reference)[0]
    assert all(reference[i] == spoken[j] for i, j in pairs)
    assert pairs == sorted(pairs)
    assert all(before[0] < after[0] and before[1] < after[1] for before, after in zip(pairs, pairs[1:], strict=False))
    assert (errors == 0) == (reference == spoken)
