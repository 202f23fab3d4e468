"""Words, segments, turns: assignment against whisperX's own, cuts at changes, times that never run backwards."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scribe.diarization.assignment import SpeakerTimeline, assign_speakers, assigned_as_by_whisperx, crowded
from scribe.transcript import Segment, Speaker, Transcript, Turn, Word, alone, talk_seconds, words_with_times

often = settings(max_examples=300, deadline=None, derandomize=True)
labels = st.sampled_from(["A", "B", "C"])


@st.composite
def spans(draw: st.DrawFn, longest: int = 40) -> tuple[float, float]:
    """Start and end in tenths of a second, so that sums of overlaps are compared without rounding doubts."""
    start = draw(st.integers(0, 300))
    return start / 10, (start + draw(st.integers(1, longest))) / 10


turns_lists = st.lists(st.builds(lambda span, label: Turn(*span, label), spans(), labels), min_size=1, max_size=12)


def overlaps(start: float, end: float, turns: list[Turn]) -> dict[str, int]:
    """Hundredths of a second that each label speaks within the span."""
    heard: dict[str, int] = {}
    for turn in turns:
        shared = round(100 * min(turn.end, end)) - round(100 * max(turn.start, start))
        if shared > 0:
            heard[turn.label] = heard.get(turn.label, 0) + shared
    return heard


def is_tied(start: float, end: float, turns: list[Turn]) -> bool:
    """Whether two labels have an equal claim: then any answer is right."""
    heard = sorted(overlaps(start, end, turns).values(), reverse=True)
    return bool(heard) and heard[1:2] == heard[:1]


@given(turns_lists, st.lists(spans(20), min_size=1, max_size=8))
@often
def test_in_parity_words_and_segments_get_the_labels_that_whisperx_gives_and_nothing_is_cut(
    turns: list[Turn], words: list[tuple[float, float]]
) -> None:
    import pandas as pd
    from whisperx.diarize import assign_word_speakers

    asked = [w for w in sorted(words) if not is_tied(*w, turns)]
    assume(asked)
    frame = pd.DataFrame([{"start": t.start, "end": t.end, "speaker": t.label} for t in turns])
    start, end = min(s for s, _ in asked), max(e for _, e in asked)
    assume(not is_tied(start, end, turns))
    shape: dict[str, Any] = {
        "segments": [{"start": start, "end": end, "words": [{"word": "x", "start": s, "end": e} for s, e in asked]}]
    }
    (theirs,) = assign_word_speakers(frame, shape)["segments"]
    words = tuple(Word("x", s, e) for s, e in asked)
    (ours,) = assigned_as_by_whisperx([Segment(start, end, "x " * len(words), words)], turns)
    assert [w.label for w in ours.words] == [w.get("speaker") for w in theirs["words"]]
    assert ours.label == theirs.get("speaker")


def test_without_turns_nobody_is_named() -> None:
    assert SpeakerTimeline([]).label(0.0, 1.0) is None
    assert assign_speakers([Segment(0, 1, "x", (Word("x", 0, 1),))], []) == [Segment(0, 1, "x", (Word("x", 0, 1),))]


def test_a_short_turn_inside_a_very_long_one_of_another_is_found() -> None:
    find = SpeakerTimeline([Turn(0, 1000, "A"), Turn(500, 501, "B"), Turn(500.2, 501, "B")]).label
    assert find(500.2, 501) == "B"
    assert find(499, 500) == "A"


@given(turns_lists, st.lists(spans(8), min_size=1, max_size=15))
@often
def test_segments_are_cut_exactly_where_the_speaker_changes(
    turns: list[Turn], words: list[tuple[float, float]]
) -> None:
    ordered = [Word(f"w{n}", s, e) for n, (s, e) in enumerate(sorted(words))]
    segment = Segment(
        ordered[0].start, ordered[-1].end, " " + " ".join(w.text for w in ordered), tuple(ordered), avg_logprob=-0.2
    )
    found = assign_speakers([segment], turns)
    assert [w.text for s in found for w in s.words] == [w.text for w in ordered]
    assert all(w.label == s.label for s in found for w in s.words)
    assert all(a.label != b.label for a, b in itertools.pairwise(found))
    assert all(s.text.split() == [w.text for w in s.words] for s in found)
    assert {s.avg_logprob for s in found} == {-0.2}
    if len(found) > 1:
        assert all((s.start, s.end) == (s.words[0].start, s.words[-1].end) for s in found)


@given(turns_lists, spans(20))
@often
def test_where_nobody_speaks_the_turn_with_the_nearest_edge_decides(
    turns: list[Turn], word: tuple[float, float]
) -> None:
    start, end = word
    assume(not overlaps(start, end, turns))
    distances = {t: min(abs(t.start - end), abs(start - t.end)) for t in turns}
    nearest = {t.label for t in turns if distances[t] <= min(distances.values()) + 1e-9}
    assert SpeakerTimeline(turns).label(start, end) in nearest


def said(*labels_and_times: tuple[float, float]) -> Segment:
    words = tuple(Word("x", start, end) for start, end in labels_and_times)
    return Segment(words[0].start, words[-1].end, "x " * len(words), words)


@pytest.mark.parametrize(
    ("turns", "labels", "why"),
    [
        ([Turn(0, 1.2, "A"), Turn(1.2, 1.6, "B"), Turn(1.6, 9, "A")], "AAA", "its turn begins in the word"),
        ([Turn(0, 0.9, "A"), Turn(0.95, 1.65, "B"), Turn(1.7, 9, "A")], "ABA", "a turn covers the word"),
        ([Turn(0, 1.2, "A"), Turn(1.2, 1.6, "B"), Turn(1.6, 9, "C")], "ABC", "the others are two"),
    ],
)
def test_a_single_word_amid_another_s_speech_is_that_other_s_unless_its_own_turn_covers_it(
    turns: list[Turn], labels: str, why: str
) -> None:
    segment = said((0.2, 0.8), (1.0, 1.6), (1.8, 2.4))
    found = "".join(w.label or "?" for s in assign_speakers([segment], turns) for w in s.words)
    assert found == labels, why
    assert "".join(w.label or "?" for w in assigned_as_by_whisperx([segment], turns)[0].words)[1] == "B"


def test_a_word_after_a_pause_is_not_taken_for_flicker() -> None:
    segment = said((0.2, 0.8), (3.0, 3.6), (3.8, 4.4))
    turns = [Turn(0, 0.9, "A"), Turn(3.2, 3.6, "B"), Turn(3.7, 9, "A")]
    assert [w.label for s in assign_speakers([segment], turns) for w in s.words] == ["A", "B", "A"]


@pytest.mark.parametrize(
    ("turns", "labels", "why"),
    [
        ([Turn(0, 1.9, "A"), Turn(2.1, 9, "B")], "AAA", "the change is where the sentence ends, not a word before it"),
        ([Turn(0, 1.7, "A"), Turn(1.75, 9, "B")], "AAB", "a turn covers the last word"),
        (
            [Turn(0, 0.5, "B"), Turn(0.5, 9, "A")],
            "AAA",
            "the change is where the sentence begins, not a word behind it",
        ),
    ],
)
def test_the_first_or_last_word_of_a_sentence_is_whoever_s_the_sentence_is(
    turns: list[Turn], labels: str, why: str
) -> None:
    segment = said((0.2, 0.8), (1.0, 1.6), (1.8, 2.4))
    assert "".join(w.label or "?" for s in assign_speakers([segment], turns) for w in s.words) == labels, why


def test_a_single_word_through_which_the_other_speaks_on_is_the_other_s() -> None:
    segment, spoken = said((0.2, 0.8), (1.0, 1.6), (1.8, 2.4)), [Turn(0, 2.2, "A"), Turn(1.7, 9, "B")]
    exclusive = [Turn(0, 1.7, "A"), Turn(1.7, 9, "B")]
    assert [w.label for s in assign_speakers([segment], exclusive) for w in s.words] == ["A", "A", "B"]
    (whole,) = assign_speakers([segment], exclusive, spoken)
    assert [(w.label, w.overlap) for w in whole.words] == [("A", False), ("A", False), ("A", True)]


def test_a_sentence_of_one_word_or_two_keeps_the_speakers_it_was_heard_from() -> None:
    turns = [Turn(0, 1.2, "A"), Turn(1.2, 1.6, "B"), Turn(1.6, 9, "A")]
    assert [s.label for s in assign_speakers([said((0.2, 0.8)), said((1.1, 1.7)), said((1.8, 2.4))], turns)] == list(
        "ABA"
    )


def test_a_segment_without_words_is_cut_at_the_ends_of_its_sentences() -> None:
    segment = Segment(0, 8, " Who is there? It is 3.5 me. Come in!", avg_logprob=-0.1)
    turns = [Turn(0, 3.4, "A"), Turn(3.4, 6, "B"), Turn(6, 8, "A")]
    cut = assign_speakers([segment], turns)
    assert [(s.text, s.label, s.words, s.avg_logprob) for s in cut] == [
        ("Who is there?", "A", (), -0.1),
        ("It is 3.5 me.", "B", (), -0.1),
        ("Come in!", "A", (), -0.1),
    ]
    assert [a.end == b.start for a, b in itertools.pairwise(cut)] == [True, True]
    assert (cut[0].start, cut[-1].end) == (0, 8)
    assert [s.text for s in assign_speakers([Segment(0, 4, "谁？是我。")], [Turn(0, 2, "A"), Turn(2, 4, "B")])] == [
        "谁？",
        "是我。",
    ]
    assert [s.text for s in assign_speakers([segment], [Turn(0, 9, "A")])] == [segment.text]
    assert [s.label for s in assigned_as_by_whisperx([segment], turns)] == ["A"]


def test_a_word_during_which_two_speak_is_marked_and_so_is_its_segment() -> None:
    turns = [Turn(0, 4, "A"), Turn(3, 5, "B")]
    words = tuple(Word("x", n, n + 0.9) for n in range(5))
    cut = assign_speakers([Segment(0, 5, "x x x x x", words)], [Turn(0, 4, "A"), Turn(4, 5, "B")], turns)
    assert [w.overlap for s in cut for w in s.words] == [False, False, False, True, False]
    assert [(s.label, s.overlap) for s in cut] == [("A", True), ("B", False)]
    (whole,) = assign_speakers(
        [Segment(0, 5, "x", (Word("x", 2.8, 3.3), Word("x", 3.9, 4.5)))], [Turn(0, 9, "A")], turns
    )
    assert [w.overlap for w in whole.words] == [True, False], "half of it, not a sixth"
    (whole,) = assign_speakers(
        [Segment(0, 5, "x", (Word("x", 2.2, 3.2), Word("x", 3.9, 5.0)))], [Turn(0, 9, "A")], turns
    )
    assert [w.overlap for w in whole.words] == [True, False], "or a fifth of a second"
    assert [s.overlap for s in assign_speakers([Segment(3, 4, "x.")], [Turn(0, 9, "A")], turns)] == [True]
    assert not any(s.overlap for s in assign_speakers([Segment(0, 5, "x", words)], [Turn(0, 9, "A")]))


@given(turns_lists)
@often
def test_two_speak_exactly_where_it_is_neither_silent_nor_one_alone(turns: list[Turn]) -> None:
    found = crowded(turns)
    assert all(a < b for a, b in found)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))
    for tenth in range(350):
        middle = tenth / 10 + 0.05
        speak = {t.label for t in turns if t.start < middle < t.end}
        assert any(a < middle < b for a, b in found) == (len(speak) > 1)


def test_a_segment_is_cut_as_it_was_written() -> None:
    text = "  你好 ，iPhone。 谁？ "
    words = tuple(Word(w, n, n + 1) for n, w in enumerate(["你", "好", "，", "iPhone。", "谁？"]))
    cut = assign_speakers([Segment(0, 5, text, words)], [Turn(0, 2, "A"), Turn(2, 9, "B")])
    assert [s.text for s in cut] == ["你好", "，iPhone。 谁？"]


def test_an_uncut_segment_keeps_its_text_and_times() -> None:
    segment = Segment(0.0, 9.0, "  Two  words ", (Word("Two", 1, 2), Word("words", 2, 3)))
    cut = assign_speakers([segment], [Turn(0, 9, "A")])
    assert [(s.start, s.end, s.text, s.label) for s in cut] == [(0.0, 9.0, "  Two  words ", "A")]


def test_a_script_without_spaces_gets_none_when_it_is_cut() -> None:
    segment = Segment(0, 4, "你好再见", tuple(Word(c, n, n + 1) for n, c in enumerate("你好再见")))
    cut = assign_speakers([segment], [Turn(0, 2, "A"), Turn(2, 4, "B")])
    assert [s.text for s in cut] == ["你好", "再见"]


@st.composite
def partly_timed(draw: st.DrawFn) -> tuple[list[dict[str, Any]], float, float]:
    """Words as an aligner leaves them: in order, inside the segment, some without times."""
    count = draw(st.integers(1, 12))
    marks = sorted(draw(st.lists(st.integers(0, 60_000), min_size=2 * count + 2, max_size=2 * count + 2)))
    start, *inner, end = [m / 1000 for m in marks]
    words: list[dict[str, Any]] = []
    for n in range(count):
        word: dict[str, Any] = {"word": draw(st.text("abcd,", max_size=6))}
        kind = draw(st.sampled_from(["timed", "bare", "half"]))
        if kind != "bare":
            word["start"] = inner[2 * n]
        if kind == "timed":
            word |= {"end": inner[2 * n + 1], "score": 0.5}
        words.append(word)
    return words, start, end


@given(partly_timed())
@often
def test_every_word_gets_times_that_never_run_backwards(case: tuple[list[dict[str, Any]], float, float]) -> None:
    words, start, end = case
    timed = words_with_times(words, start, end)
    edges = [edge for w in timed for edge in (w["start"], w["end"])]
    assert edges == sorted(edges)
    assert start <= edges[0]
    assert edges[-1] <= end
    for before, after in zip(words, timed, strict=True):
        assert after["word"] == before["word"]
        known = "start" in before and "end" in before
        assert after.get("interpolated", False) is not known
        assert not known or (after["start"], after["end"]) == (before["start"], before["end"])


def test_a_gap_is_shared_by_length_of_the_words() -> None:
    words = [
        {"word": "a", "start": 0.0, "end": 1.0},
        {"word": "xxx"},
        {"word": "y"},
        {"word": "b", "start": 5.0, "end": 6.0},
    ]
    timed = words_with_times(words, 0.0, 6.0)
    assert [(w["start"], w["end"]) for w in timed] == [(0.0, 1.0), (1.0, 4.0), (4.0, 5.0), (5.0, 6.0)]


def test_the_aligners_own_words_are_not_changed_in_place() -> None:
    words = [{"word": "x"}]
    words_with_times(words, 0.0, 1.0)
    assert words == [{"word": "x"}]


@given(
    st.lists(
        st.builds(
            lambda s, n, label: Turn(float(s), float(s + n), label), st.integers(0, 40), st.integers(0, 10), labels
        ),
        max_size=12,
    )
)
@often
def test_alone_are_exactly_the_seconds_in_which_one_speaks(turns: list[Turn]) -> None:
    found = alone(turns)
    assert set(found) == {t.label for t in turns}
    for label, stretches in found.items():
        counted = {second for s, e in stretches for second in range(int(s), int(e))}
        speaking = [{t.label for t in turns if t.start <= second < t.end} for second in range(60)]
        assert counted == {second for second, who in enumerate(speaking) if who == {label}}
        assert all(s < e for s, e in stretches)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(stretches))


def test_talk_of_two_at_once_counts_for_both() -> None:
    assert talk_seconds([Turn(0, 4, "A"), Turn(3, 5, "B"), Turn(6, 7, "A")]) == {"A": 5, "B": 2}


@pytest.mark.parametrize(
    ("label", "shown"),
    [("SPEAKER_00", "Anna"), ("SPEAKER_01", "SPEAKER_01"), ("SPEAKER_09", "SPEAKER_09"), (None, None)],
)
def test_a_label_is_shown_by_its_name_where_it_has_one(label: str | None, shown: str | None) -> None:
    transcript = Transcript("en", 1.0, speakers=(Speaker("SPEAKER_00", "Anna"), Speaker("SPEAKER_01")))
    assert transcript.display(label) == shown
