"""Words whose times hold: all have some, none lies over a pause or over another, figures and foreign scripts included."""

from __future__ import annotations

import copy
import itertools
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.aligners import ALIGNERS, ODD, TEXTS, prepared
from support.demo import models, recording, sound, truth

from scribe.alignment.aligner import Aligner
from scribe.alignment.text import character_words, open_letters, word_numbers
from scribe.alignment.viterbi import LetterSpan, letter_spans
from scribe.alignment.word_times import EDGE_S, LETTER_S, PAUSE_S, STRAYS, Letter, bounded, in_order, pauses
from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.diarization.assignment import assign_speakers
from scribe.formats import TextOptions, render_all
from scribe.formats.cues import cues
from scribe.formats.text import columns
from scribe.transcript import Segment, Span, Transcript, Turn, Word

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
often = settings(max_examples=300, deadline=None, derandomize=True)
FIGURES = dict(zip("one two three four five six seven eight nine ten eleven twelve".split(), range(1, 13), strict=True))
MS = 0.001 + 1e-9


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return models().aligner("en")


def without_rules(aligner: Aligner) -> Aligner:
    """The same path as whisperX's (test_alignment_parity), and nothing of ours behind it."""
    bare = copy.copy(aligner)
    bare._rules = False
    return bare


def words_of(aligner: Aligner, segments: list[Segment], audio: Audio) -> list[Word]:
    found = aligner.align(segments, audio, "nearest", False)
    return [w for s in found for w in s.words]


def turns(stem: str) -> list[Segment]:
    return [Segment(t["start"], t["end"], f" {t['text']}") for t in truth(stem)["turns"]]


def in_figures(segment: Segment) -> Segment:
    """The segment as Whisper writes it: 7 for seven."""
    written = [
        f"{FIGURES.get(core.lower(), core)}{w[len(core) :]}"
        for w in segment.text.split()
        for core in [w.rstrip(".?!,")]
    ]
    return Segment(segment.start, segment.end, " " + " ".join(written))


def test_figures_lie_where_they_are_spoken_four_times_as_near_as_whisperx_has_them(aligner: Aligner) -> None:
    audio, spoken = recording("conversation.mp3")[0], truth("conversation")["words"]
    segments = [in_figures(s) for s in turns("conversation")]
    errors = []
    for one in (without_rules(aligner), aligner):
        words = words_of(one, segments, audio)
        pairs = [(w, s) for w, s in zip(words, spoken, strict=True) if w.text[0].isdigit()]
        assert len(pairs) >= 15
        errors.append(sum(abs(w.start - s["start"]) + abs(w.end - s["end"]) for w, s in pairs) / len(pairs))
    assert errors[1] <= 0.12
    assert errors[1] <= errors[0] / 4


def test_words_in_letters_have_whisperxs_own_times_where_nobody_pauses(aligner: Aligner) -> None:
    audio, segments = recording("conversation.mp3")[0], turns("conversation")
    ours, theirs = words_of(aligner, segments, audio), words_of(without_rules(aligner), segments, audio)
    assert [(w.text, w.start, w.end, w.interpolated) for w in ours] == [
        (w.text, w.start, w.end, w.interpolated) for w in theirs
    ]


def with_pauses(seconds: float) -> tuple[Audio, list[Segment], list[Span]]:
    """(the meeting in a noisy room, a pause in the middle of every sentence; the sentences; the pauses)."""
    samples, parts, segments, silences, clock = recording("meeting.mp3")[0][:], [], [], [], 0.0
    for turn in truth("meeting")["turns"][:20]:
        own = [w for w in truth("meeting")["words"] if turn["start"] - 1e-6 <= w["start"] < turn["end"]]
        middle = own[len(own) // 2]["start"]
        a, b, c = (int(t * SAMPLE_RATE) for t in (turn["start"], middle, turn["end"]))
        pause = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
        parts += [samples[a:b], pause, samples[b:c]]
        silence = clock + (b - a) / SAMPLE_RATE
        silences.append((silence, silence + seconds))
        end = clock + sum(map(len, parts[-3:])) / SAMPLE_RATE
        segments.append(Segment(clock, end, f" {turn['text']}"))
        clock = end
    whole = np.concatenate(parts)
    noise = np.random.default_rng(1).standard_normal(len(whole)).astype(np.float32) * 0.01
    return sound("pauses", whole + noise), segments, silences


def covered(word: Word, silence: Span) -> float:
    return min(word.end, silence[1]) - max(word.start, silence[0])


def test_no_word_is_stretched_over_a_pause(aligner: Aligner) -> None:
    audio, segments, silences = with_pauses(2.0)
    longest = []
    for one in (without_rules(aligner), aligner):
        words = words_of(one, segments, audio)
        assert [w.text for w in words] == [w for s in segments for w in s.text.split()]
        longest.append(max(covered(w, s) for w in words for s in silences))
    assert longest[0] > 1.9, "whisperX's path would have to be stretched, or this test shows nothing"
    assert longest[1] <= PAUSE_S + 0.1


@pytest.mark.parametrize("text", [" The orange 7", " 7 oranges"])
def test_a_word_before_music_lasts_no_longer_than_its_letters_can(aligner: Aligner, text: str) -> None:
    """Where nothing is quiet no pause is found, and the figure and the s last five seconds or more."""
    speech = recording("conversation.mp3")[0][int(0.6 * SAMPLE_RATE) : int(1.55 * SAMPLE_RATE)]
    pitch = np.cumsum(np.linspace(100, 3000, 8 * SAMPLE_RATE)) * 2 * np.pi / SAMPLE_RATE
    audio = sound("music", np.concatenate([speech, 0.2 * np.sin(pitch).astype(np.float32)]))
    for word in words_of(aligner, [Segment(0.0, audio.seconds, text)], audio):
        assert word.end - word.start <= min(2.0, LETTER_S * len(word.text))


@pytest.mark.parametrize("language", ALIGNERS)
@given(data=st.data())
@relaxed
def test_every_word_of_every_text_has_a_time_of_its_own_in_order(language: str, data: st.DataObject) -> None:
    aligner = prepared(language, ALIGNERS[language])
    dice = np.random.default_rng(data.draw(st.integers(0, 1000)))
    bursts = np.repeat(dice.choice([0.0, 0.3], 24), SAMPLE_RATE // 2)
    audio = sound("bursts", dice.standard_normal(len(bursts)) * bursts)
    edges = data.draw(st.lists(st.integers(0, 13_000), min_size=2, max_size=6, unique=True).map(sorted))
    texts = TEXTS[language] | st.sampled_from(
        [*ODD, "你好，世界2024年iPhone。", "مرحبا 5", "สวัสดี ครับ", "😀 ♪", "\ufffd", "What?! 7", "好!世?!界"]
    )
    segments = [
        Segment(a / 1000, b / 1000, data.draw(texts), avg_logprob=-0.25)
        for a, b in itertools.pairwise(edges)
        if data.draw(st.booleans())
    ]
    method, characters = data.draw(st.sampled_from(["nearest", "linear", "ignore"])), data.draw(st.booleans())
    found = aligner.align(segments, audio, method, characters)
    words = [w for s in found for w in s.words]
    times = [t for w in words for t in (w.start, w.end)]
    assert times == sorted(times)
    assert [t for s in found for t in (s.start, s.end)] == sorted(t for s in found for t in (s.start, s.end))
    for segment in found:
        assert not segment.words or (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
    assert all(edges[0] / 1000 - MS <= t <= edges[-1] / 1000 + MS for t in times)
    written = [char for s in segments for char in s.text]
    assert sorted(char for w in words for char in w.text if char.strip()) == sorted(c for c in written if c.strip())
    for word in words:
        heard = any(char.lower() in aligner._known for char in word.text)
        assert word.interpolated or heard
        assert word.interpolated == (word.score is None)
        if len(word.text) < 2 * (STRAYS + 1):
            assert word.end - word.start <= LETTER_S * len(word.text) + EDGE_S + 2 * MS
        assert all(word.start <= c["start"] <= c["end"] <= word.end for c in word.chars if "start" in c)


def test_a_letters_time_is_no_earlier_than_its_words_by_the_last_digit_of_a_float() -> None:
    aligner = prepared("zh", ALIGNERS["zh"])
    dice = np.random.default_rng(5)
    bursts = np.repeat(dice.choice([0.0, 0.3], 24), SAMPLE_RATE // 2)
    audio = sound("bursts-5", dice.standard_normal(len(bursts)) * bursts)
    found = aligner.align([Segment(1.001, 1.541, "a|b")], audio, "nearest", True)
    letters = [(w, c) for s in found for w in s.words for c in w.chars if "start" in c]
    assert letters
    assert all(w.start <= c["start"] <= c["end"] <= w.end for w, c in letters)


@st.composite
def letters_and_pauses(draw: st.DrawFn) -> tuple[list[Letter], list[Span]]:
    marks = sorted(draw(st.lists(st.integers(0, 4000), min_size=2, max_size=9, unique=True)))
    scores = st.none() if draw(st.booleans()) else st.floats(0, 1)
    letters = [(a / 1000, b / 1000, draw(scores)) for a, b in itertools.pairwise(marks)]
    edges = sorted(draw(st.lists(st.integers(-500, 4500), max_size=6, unique=True)))
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    return letters, [(a / 1000, b / 1000) for a, b in spans if b - a >= 1000 * PAUSE_S]


@given(letters_and_pauses())
@often
def test_a_word_stays_inside_its_letters_and_holds_a_pause_only_with_letters_on_both_sides(
    case: tuple[list[Letter], list[Span]],
) -> None:
    letters, quiet = case
    start, end = bounded(letters, quiet)
    assert letters[0][0] <= start <= end <= letters[-1][1]
    for a, b in quiet:
        inside = min(b, end) - max(a, start)
        if inside > PAUSE_S + 1e-9:
            before, behind = sum(at < b for at, _, _ in letters), sum(at > a for at, _, _ in letters)
            assert min(before, behind) > STRAYS
    if not any(min(b, letters[-1][1]) - max(a, letters[0][0]) > PAUSE_S for a, b in quiet):
        lasts = [b - a for (a, _, _), b in zip(letters, [x[0] for x in letters[1:]] + [letters[-1][1]], strict=True)]
        assert max(lasts) > LETTER_S or (start, end) == (letters[0][0], letters[-1][1])


def heard(*times: float) -> list[Letter]:
    return [(a, b, 0.9) for a, b in itertools.pairwise(times)]


@pytest.mark.parametrize(
    ("letters", "quiet", "expected", "why"),
    [
        (heard(1.0, 1.1, 1.2, 4.0), [(1.5, 3.9)], (1.0, 1.6), "its last letter lasts over the pause"),
        (heard(1.0, 3.0, 3.1, 3.2, 3.3), [(1.2, 2.9)], (3.0, 3.3), "its first letter strayed before the pause"),
        (heard(1.0, 1.1, 1.2, 1.3, 3.0, 3.1, 3.2, 3.3), [(1.5, 2.9)], (1.0, 3.3), "heard on both sides of the pause"),
        (heard(1.0, 1.1, 1.2), [(1.1, 1.35)], (1.0, 1.2), "no pause, the closure of a stop"),
        ([(1.0, 3.0, None)], [(0.5, 2.4)], (2.4, 3.0), "figures are where it is loud"),
        (heard(1.0, 1.1, 6.0), [], (1.0, 2.2), "no pause to be found, and no letter lasts five seconds"),
    ],
)
def test_a_word_is_where_most_of_its_letters_are(
    letters: list[Letter], quiet: list[Span], expected: Span, why: str
) -> None:
    assert bounded(letters, quiet) == pytest.approx(expected), why


def test_pauses_are_the_quiet_stretches_and_none_are_found_in_steady_noise() -> None:
    dice = np.random.default_rng(0)
    noise = dice.standard_normal(4 * SAMPLE_RATE).astype(np.float32)
    level = np.repeat([0.2, 0.005, 0.2, 0.005], [SAMPLE_RATE, SAMPLE_RATE, SAMPLE_RATE // 8, 15 * SAMPLE_RATE // 8])
    found = pauses(noise * level, SAMPLE_RATE, 10.0)
    assert [t for span in found for t in span] == pytest.approx([11.0, 12.0, 12.125, 14.0], abs=0.03)
    assert pauses(noise * 0.1, SAMPLE_RATE, 0.0) == []
    assert pauses(noise * np.repeat([0.2, 0.1, 0.2, 0.1], SAMPLE_RATE), SAMPLE_RATE, 0.0) == [], "6 dB is no silence"
    assert pauses(noise[:10], SAMPLE_RATE, 0.0) == pauses(noise[:0], SAMPLE_RATE, 0.0) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9), st.integers(0, 4)), max_size=8))
@often
def test_segments_that_come_over_one_another_are_put_in_order(shapes: list[tuple[int, int, int]]) -> None:
    segments = [
        Segment(a, a + n, f"{i}", tuple(Word(f"{i}.{k}", a + k, a + max(k, n)) for k in range(count)))
        for i, (a, n, count) in enumerate(shapes)
    ]
    found = in_order(segments)
    times = [t for s in found for w in (s.words or (s,)) for t in (w.start, w.end)]
    assert times == sorted(times)
    assert sorted(s.text for s in found) == sorted(s.text for s in segments)


def test_an_open_letter_lasts_as_long_as_it_sounds() -> None:
    """a, then three sounds that the text writes as one figure, then b; columns: blank, a, b, c, d, e, any of them."""
    heard = [1, 3, 3, 4, 5, 0, 2]
    emission = np.full((len(heard), 6), -6.0, np.float32)
    emission[range(len(heard)), heard] = -0.01
    emission = np.concatenate([emission, emission[:, 1:].max(axis=1, keepdims=True)], axis=1)
    (closed,), (opened,) = (letter_spans([(emission, [1, 6, 2])], 0, [flags]) for flags in ([0] * 3, [0, 1, 0]))
    assert closed != opened
    assert [(s.start, s.end) for s in opened] == [(0, 1), (1, 6), (6, 7)]
    (last,) = letter_spans([(emission[:5], [1, 6])], 0, [[False, True]])
    assert isinstance(last[1], LetterSpan)
    assert (last[1].start, last[1].end) == (1, 5), "at the end it is not left at once either"


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("abc 7.", "    77"),
        ("abc.", "    "),
        ("3.50 a", "7777  "),
        ("50% b", "777  "),
        ("€5 a-b", "77    "),
        ("- 😀 ♪", "     "),
        ("a4.", " 7 "),
        ("你 a", "7  "),
    ],
)
def test_what_is_spoken_and_unknown_is_open_and_punctuation_is_not(text: str, marked: str) -> None:
    known = {char: n for n, char in enumerate("|abc")}
    found = open_letters(text, range(len(text)), known, word_numbers(text, spaced=True))
    assert "".join("7" if flag else " " for flag in found) == marked.ljust(len(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("你好，世界。", "你 好， 世 界。"),
        ("在2024年用iPhone吗？", "在 2024 年 用 iPhone 吗？"),
        ("「はい」と言う", "「は い」 と 言 う"),
        ("สวัสดีครับ", "ส วั ส ดี ค รั บ"),
        ("เป็นไก่", "เป็ น ไก่"),
        ("你好 hello world", "你 好 hello world"),
        ("", ""),
    ],
)
def test_without_spaces_a_word_is_a_character_with_what_clings_to_it(text: str, words: str) -> None:
    numbers = character_words(text)
    found = [
        "".join(char for _, char in own)
        for _, own in itertools.groupby(zip(numbers, text, strict=True), key=lambda x: x[0])
    ]
    assert [w for w in found if w.strip()] == words.split()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("he", "שלום לכולם, היום נדבר על 5 דברים. מה שלומך?"),
        ("zh", "今天天气好，我们是2024年的中国人。你好吗？" * 3),
        ("th", "สวัสดีครับ วันนี้เราจะไปเที่ยวเกาะ 3 วัน" * 3),
    ],
)
def test_every_script_comes_through_aligner_turns_and_formats_as_it_was_written(language: str, text: str) -> None:
    audio = sound("scripts", np.random.default_rng(0).standard_normal(12 * SAMPLE_RATE) * 0.1)
    words = prepared(language, ALIGNERS[language]).align([Segment(0.0, 12.0, f" {text}")], audio, "nearest", False)
    said = assign_speakers(words, [Turn(0, 5, "A"), Turn(5, 12, "B")])
    assert {s.label for s in said} == {"A", "B"}
    plain = "".join(text.split())
    assert "".join("".join(s.text.split()) for s in said) == plain
    assert all("".join(w.text for w in s.words) == "".join(s.text.split()) for s in said)
    transcript = Transcript(language, 12.0, tuple(said))
    for line in (line for cue in cues(transcript, TextOptions(), labelled=False) for line in cue.lines):
        shown = "".join(" " * (piece.space and n > 0) + piece.text for n, piece in enumerate(line))
        assert shown in text
        assert columns(shown) <= 42
    for name, data in render_all(transcript, ["srt", "vtt", "txt", "html"], TextOptions()).items():
        shown = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]+>", "", data.decode(), flags=re.DOTALL)
        shown = re.sub("[\u200e\u200f\u2066-\u2069]", "", shown)  # marks of the direction, which are not text
        for stamp in (r"[\d:,.]+ --> [\d:,.]+", r"\d+:\d\d(:\d\d)?", r"(?m)^\d+$", r"(?m)^[AB]:", r"\[\] [AB]:"):
            shown = re.sub(stamp, "", shown)
        assert plain in re.sub(r"[\sAB]", "", shown), name
