"""The laboratory's scores: what counts as an error, and how recordings are pooled."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.forms import FORMS, HURRIED, score_forms, segments
from lab.modes import MODES, SHOWN, modes_markdown, modes_table
from lab.scores import Score, best_pairs, match_words, plain, pool, score
from lab.table import FORMS as WRITTEN
from lab.table import NOBODY, NOISY, PAUSES, ROWS, TALK, cell, markdown, table

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "one", "two"]), max_size=8)
TURNS = [{"start": 0.0, "end": 4.0, "speaker": "Ada"}, {"start": 4.0, "end": 6.0, "speaker": "Ben"}]


def words(text: str, first: float = 0.0, speakers: str = "") -> list[dict]:
    """A word a second, half a second long; `speakers` holds a letter a word."""
    told = [{"word": word, "start": first + i, "end": first + i + 0.5} for i, word in enumerate(text.split())]
    return [word | ({"speaker": speakers[i]} if speakers else {}) for i, word in enumerate(told)]


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


def test_inserted_words_are_invented_where_nobody_speaks_and_only_there() -> None:
    quiet = {"words": words("we found two"), "turns": [{"start": 0.0, "end": 3.0, "speaker": "Ada"}]}
    result = score(quiet, answer("we found two big cars"))
    assert (result.invented, result.unflagged, result.written) == (2, 2, 5)
    assert score(TRUTH, answer("we found two big red cars")).invented == 0


def test_where_nobody_speaks_every_word_is_invented_also_one_without_a_time() -> None:
    nothing = {"words": [], "turns": [], "duration": 9.0}
    result = score(
        nothing, {"segments": [{"start": 1.0, "end": 2.0, "text": "thank you", "suspect": "x"}], "turns": []}
    )
    assert (result.invented, result.unflagged, result.untimed) == (2, 0, 2)


def test_speech_counts_as_heard_where_a_word_stands_for_it_right_or_wrong() -> None:
    result = score(TRUTH, answer("we lost two"))
    assert (result.heard, result.spoken) == pytest.approx((1.5, 2.5))


def test_a_word_over_half_a_second_of_silence_is_stretched() -> None:
    long = answer("we found two red cars")
    long["segments"][0]["words"][4]["end"] = 6.4
    assert score(TRUTH, long).stretched == 0
    long["segments"][0]["words"][4]["end"] = 6.6
    assert score(TRUTH, long).stretched == 1


def test_a_word_before_its_predecessor_or_that_ends_before_it_begins_is_out_of_order() -> None:
    wrong = answer("we found two red cars")
    wrong["segments"][0]["words"][2] |= {"start": 0.9, "end": 0.8}
    assert score(TRUTH, wrong).disordered == 2


SPOKEN = {"words": words("we found two red cars", speakers="AAABB"), "turns": TURNS}


def said(text: str, speakers: str) -> dict:
    return {"segments": [{"text": text, "words": words(text, speakers=speakers)}], "turns": TURNS}


def test_a_change_of_speaker_that_the_reference_has_is_no_flicker() -> None:
    result = score(SPOKEN, said("we found two red cars", "XXXYY"))
    assert (result.flicker, result.neighbours, result.misattributed, result.speakerless) == (0, 3, 0, 0)


def test_each_change_within_what_one_person_said_is_flicker() -> None:
    result = score(SPOKEN, said("we found two red cars", "XYXYY"))
    assert (result.flicker, result.neighbours, result.misattributed) == (2, 3, 1)


def test_a_change_at_the_wrong_word_is_one_flicker_and_one_wrong_speaker() -> None:
    result = score(SPOKEN, said("we found two red cars", "XXYYY"))
    assert (result.flicker, result.misattributed) == (1, 1)


def test_pairs_with_a_word_that_nobody_said_are_not_counted_for_flicker() -> None:
    assert score(SPOKEN, said("we found big two red cars", "XXYXYY")).neighbours == 2


def test_a_word_without_a_speaker_takes_its_segments_and_is_counted() -> None:
    told = said("we found two red cars", "XXXYY")
    del told["segments"][0]["words"][1]["speaker"]
    told["segments"][0]["speaker"] = "X"
    result = score(SPOKEN, told)
    assert (result.speakerless, result.misattributed, result.flicker) == (1, 0, 0)


@pytest.mark.parametrize(
    ("names", "right", "wrong", "unknown"),
    [
        ({"X": "Ada", "Y": None}, 2, 0, 0),
        ({"X": "Ada", "Y": "Ada"}, 1, 1, 0),
        ({"X": "Cleo", "Y": None}, 1, 1, 0),
        ({"X": None, "Y": None}, 1, 0, 1),
        ({"X": None, "Y": "Cleo"}, 0, 1, 1),
        ({}, 1, 0, 1),
    ],
)
def test_names_are_right_wrong_or_unknown_and_a_stranger_is_right_without_one(
    names: dict, right: int, wrong: int, unknown: int
) -> None:
    """Ada and Cleo are enrolled, Ada and Ben speak."""
    turns = [{**turn, "speaker": label} for turn, label in zip(TURNS, "XY", strict=True)]
    result = score(TRUTH, answer("", turns) | {"names": names}, {"Ada", "Cleo"})
    assert (result.named_right, result.named_wrong, result.unknown, result.people) == (right, wrong, unknown, 2)


def test_a_person_whose_speech_was_given_to_another_label_has_no_name() -> None:
    together = [{"start": 0.0, "end": 6.0, "speaker": "X"}]
    result = score(TRUTH, answer("", together) | {"names": {"X": "Ada"}}, {"Ada", "Ben"})
    assert (result.named_right, result.named_wrong, result.unknown) == (1, 0, 1)


def test_labels_are_paired_for_the_greatest_sum_and_not_one_by_one() -> None:
    weights = [("Ada", "X", 5.0), ("Ada", "Y", 4.0), ("Ben", "X", 4.0)]
    assert best_pairs(weights) == {"Ada": "Y", "Ben": "X"}


def test_where_nobody_was_to_be_named_nobody_is_counted() -> None:
    assert score(TRUTH, answer("")).people == 0


SENTENCES = {
    "words": [word | {"speaker": "Ada"} for word in words("Peter found two red cars.")],
    "turns": [{"start": 0.0, "end": 5.0, "speaker": "Ada", "text": "Peter found two red cars."}],
    "duration": 9.0,
}


def test_other_ways_to_write_a_word_keep_its_place_and_its_time() -> None:
    asked = segments(SENTENCES)
    assert [s["text"] for s in asked] == [f"{FORMS['Peter']} found 2 red cars.", HURRIED]
    answered = [{"words": words(s["text"])} for s in asked]
    found = score_forms(SENTENCES, answered)
    assert (found.words, found.untimed, found.start_errors) == (2 + len(HURRIED.split()), 0, (0.0, 0.0))


def test_a_word_that_the_aligner_left_out_or_gave_no_time_is_without_a_time() -> None:
    told = words("Peter found two red cars.")
    del told[2]["start"]
    assert score_forms(SENTENCES, [{"words": told}, {"words": []}]).untimed == 1 + len(HURRIED.split())


def everywhere(one: Score) -> dict:
    return {material: [one, one] for material in (TALK, PAUSES, NOISY, NOBODY, WRITTEN)}


def test_the_table_tells_better_from_worse_and_both_from_the_same() -> None:
    good = Score(words=100, word_errors=5, written=100, named_right=9, people=9, seconds=60)
    bad = Score(words=100, word_errors=9, written=100, named_right=4, people=9, seconds=60)
    found = table({"stock": everywhere(bad), "worker": everywhere(good), "parity": everywhere(bad)})
    verdicts = {(row["material"], row["what"]): row["verdict"] for row in found}
    assert len(found) == len(ROWS)
    assert verdicts[TALK, "word error rate"] == verdicts[TALK, ROWS[13].what] == "better"
    assert verdicts[TALK, "words without a time"] == "same"
    worse = table({"stock": everywhere(good), "worker": everywhere(bad), "parity": everywhere(bad)})
    assert worse[0]["verdict"] == "worse"


def test_what_two_recordings_disagree_on_lies_within_the_spread() -> None:
    one, other = (Score(words=100, word_errors=errors) for errors in (5, 9))
    mixed = {material: [other, one] for material in (TALK, PAUSES, NOISY, NOBODY, WRITTEN)}
    swapped = {material: [one, Score(words=100, word_errors=8)] for material in mixed}
    found = table({"stock": mixed, "worker": swapped, "parity": mixed})
    assert found[0]["verdict"] == "better, within the spread"
    assert (found[0]["stock"]["value"], found[0]["worker"]["value"]) == (7.0, 6.5)


def test_a_figure_is_told_with_its_spread_and_a_count_with_its_total() -> None:
    figure = {"value": 5.13, "low": 3.9, "high": 6.4, "sum": 120.0, "of": 2339.0}
    assert cell(figure, "%") == "5.1 % (3.9 to 6.4)"
    assert cell(figure, "") == "120 of 2339"


def test_every_row_stands_in_the_table_under_its_material() -> None:
    text = markdown(table(dict.fromkeys(("stock", "worker", "parity"), everywhere(Score(words=1, written=1)))))
    assert [text.count(f"| **{name}** |") for name in (TALK, PAUSES, NOISY, NOBODY, WRITTEN)] == [1, 1, 1, 1, 1]
    assert len(text.splitlines()) == 2 + 5 + len(ROWS)


def test_every_mode_of_the_worker_stands_beside_its_default_with_the_time_that_it_took() -> None:
    scores = {"worker": everywhere(Score(words=100, word_errors=5))}
    scores |= dict.fromkeys(MODES, everywhere(Score(words=100, word_errors=6)))
    rows = modes_table(scores, {"worker": 10.0} | dict.fromkeys(MODES, 5.0))
    assert [row["what"] for row in rows] == [*SHOWN, "time"]
    told = modes_markdown(rows).splitlines()
    assert all(asked in told[0] for asked, _, _ in MODES.values())
    assert told[2].startswith("| word error rate | 5.0 % (5.0 to 5.0) | 6.0 %")
    assert told[-1] == "| time | 1.00 |" + " 0.50 |" * len(MODES)


def test_the_number_of_speakers_is_right_or_it_is_not() -> None:
    alone = [{"start": 0.0, "end": 6.0, "speaker": "A"}]
    assert score(TRUTH, answer("", alone)).right_counts == 0


def test_pooling_adds_counts_so_that_long_recordings_weigh_more() -> None:
    long = {"words": words("one two three four five six seven eight nine"), "turns": TURNS}
    pooled = pool([score(TRUTH, answer("")), score(long, answer("one two three four five six seven eight nine"))])
    assert pooled.word_error_rate == pytest.approx(5 / 14)
    assert (pooled.clips, pooled.right_counts) == (2, 2)


def test_a_speaker_whom_nobody_is_counts_with_all_the_talk_it_was_given() -> None:
    """A and B swap nothing, C is a noise: two seconds of it, and B's time is told one second short."""
    truth = {"words": [], "turns": [turn(0, 4, "Ada"), turn(4, 8, "Ben")]}
    turns = [turn(0, 4, "A"), turn(4, 7, "B"), turn(8, 10, "C")]
    found = score(truth, {"segments": [], "turns": turns})
    assert (found.listed, found.nobody, found.talk_error) == (3, 1, pytest.approx(3.0))
    listed = [{"label": "A", "seconds": 4.0}, {"label": "B", "seconds": 4.0}]
    found = score(truth, {"segments": [], "turns": turns, "speakers": listed})
    assert (found.listed, found.nobody, found.talk_error) == (2, 0, pytest.approx(0.0))


def turn(start: float, end: float, speaker: str) -> dict:
    return {"start": start, "end": end, "speaker": speaker}


def test_material_that_was_not_listened_to_has_no_rows() -> None:
    part = {NOISY: [Score(listed=2, speech=1.0)] * 2}
    found = table(dict.fromkeys(("stock", "worker", "parity"), part))
    assert {row["material"] for row in found} == {NOISY}


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
