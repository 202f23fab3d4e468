"""Every format is read back by somebody else's parser, whatever a speaker says or is called."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import math
import re
import time
from dataclasses import replace
from html import unescape
from itertools import zip_longest

import pytest
import srt as srt_library
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.engines.hallucination import Decoded, Limits, doubts
from scribe.errors import InvalidInput
from scribe.formats import FORMATS, TextOptions, render_all
from scribe.formats import html as page
from scribe.formats import json as whisperx_json
from scribe.formats.cues import CHAIN_MS, MAX_MS, MIN_MS, cues, parts
from scribe.formats.doubts import in_words
from scribe.formats.names import reader_names
from scribe.formats.srt import JOINER
from scribe.formats.text import LEFT_TO_RIGHT_MARK, RIGHT_TO_LEFT_MARK, clusters, columns, join, one_line, well_formed
from scribe.formats.times import percentages, short_clock
from scribe.transcript import Segment, Speaker, Transcript, Word

ODD = [
    "-->",
    "a\tb",
    "a\nb",
    "\r\n\r\n",
    "مرحبا بالعالم",
    "שלום",
    "👩‍👩‍👧",
    "\ud800",
    "",
    " ",
    "<b>",
    "</script>",
    "{\\an8}",
    "&amp;",
    '"',
    "'",
    "今日は、世界。",
    "สวัสดีชาวโลก",
    "\x00",
    "\u2028",
    "[[title]]",
    "<!--",
    "1",
    "00:00:01,000 --> 00:00:02,000",
]
TEXTS = st.one_of(
    st.sampled_from(ODD), st.text(st.characters(), max_size=60), st.lists(st.sampled_from(ODD)).map(" ".join)
)
TIMES = st.floats(0, 5000).map(lambda t: round(t, 3))
LABELS = st.sampled_from([None, "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"])


@st.composite
def segments(draw) -> Segment:
    start = draw(TIMES)
    end = start + draw(st.floats(0, 40).map(lambda t: round(t, 3)))
    label = draw(LABELS)
    words = []
    for text in draw(st.lists(TEXTS, max_size=12)):
        at = round(start + (end - start) * len(words) / 12, 3)
        score = draw(st.one_of(st.none(), st.floats(0, 1).map(lambda s: round(s, 3))))
        length = round(draw(st.floats(0, 3)), 3)
        flags = {"interpolated": draw(st.booleans()), "overlap": draw(st.booleans())}
        words.append(Word(text, at, round(at + length, 3), score, draw(LABELS), **flags))
    text = " ".join(w.text for w in words) if words else draw(TEXTS)
    suspect = draw(st.sampled_from([(), (), ("cut",), ("unlikely", "too_fast")]))
    return Segment(start, round(end, 3), text, tuple(words), label, suspect=suspect, overlap=draw(st.booleans()))


TRANSCRIPTS = st.builds(
    Transcript,
    language=st.sampled_from(["en", "ja", "ar", "th"]),
    duration=TIMES,
    segments=st.lists(segments(), max_size=6).map(tuple),
    speakers=st.one_of(st.just(()), TEXTS.map(lambda name: (Speaker("SPEAKER_00", name or None, 0.7, 3.0),))),
    language_probability=st.one_of(st.none(), st.just(0.5)),
)
STYLES = st.sampled_from([None, "name", "dash", "every", "none"])
OPTIONS = st.builds(
    TextOptions,
    st.integers(10, 200),
    st.integers(1, 4),
    st.booleans(),
    TEXTS,
    STYLES,
    st.integers(5, 60),
    st.booleans(),
    st.booleans(),
    st.lists(TEXTS, max_size=2).map(tuple),
)


def spoken(*lines: str, seconds: float = 2.0, gap: float = 0.0, label: str | None = None) -> Transcript:
    """A transcript of aligned lines, each `seconds` long, `gap` seconds between them."""
    found = []
    for n, line in enumerate(lines):
        start, tokens = n * (seconds + gap), line.split()
        step = seconds / len(tokens)
        words = tuple(Word(t, start + i * step, start + (i + 1) * step, 0.9, label) for i, t in enumerate(tokens))
        found.append(Segment(start, start + seconds, line, words, label))
    return Transcript("en", len(lines) * (seconds + gap), tuple(found))


def said(transcript: Transcript) -> str:
    """Everything that is shown, without any white space: what a format must not lose."""
    shown = (s.words and "".join(one_line(w.text) for w in s.words) or one_line(s.text) for s in in_order(transcript))
    return "".join("".join(shown).split())


def in_order(transcript: Transcript) -> list[Segment]:
    return sorted(transcript.segments, key=lambda s: (round(s.start * 1000), round(s.end * 1000)))


@given(TRANSCRIPTS, OPTIONS)
@settings(max_examples=150, deadline=None)
def test_cues_keep_their_limits_and_never_overlap_whatever_is_said(transcript, options):
    found = cues(transcript, options, labelled=True)
    for cue in found:
        assert 0 <= cue.start < cue.end
        assert len(cue.lines) <= options.max_line_count
        for line in cue.lines:
            width = sum(p.width for p in line) + sum(p.space for p in line[1:])
            assert width <= options.max_line_width
        covered = list(parts(cue))
        assert covered[0][0] == cue.start
        assert covered[-1][1] == cue.end
        assert all(a[1] == b[0] for a, b in zip(covered, covered[1:], strict=False))
    assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))
    assert all(cue.end - cue.start <= MAX_MS for cue in found)


@given(TRANSCRIPTS, OPTIONS, st.sampled_from([0.0, 0.3, 60.0]))
@settings(max_examples=150, deadline=None)
def test_cues_lose_no_word_whether_merged_or_not(transcript, options, gap):
    alone = one_after_the_other(transcript, gap, 1.0)
    shown = "".join(p.text for c in cues(alone, options, labelled=False) for p in c.pieces if p.spoken)
    assert "".join(shown.split()) == said(alone)


@given(TRANSCRIPTS, OPTIONS, st.floats(0, 3), st.floats(0.05, 12))
@settings(max_examples=150, deadline=None)
def test_a_cue_begins_with_its_first_word_and_outlasts_its_last_only_to_be_read(transcript, options, gap, seconds):
    found = cues(one_after_the_other(transcript, gap, seconds), options, labelled=True)
    for cue, following in zip_longest(found, found[1:]):
        spoken = [p for p in cue.pieces if p.spoken]
        width = sum(p.width + p.space for p in cue.pieces)
        reading = max(MIN_MS, width * 1000 // options.max_chars_per_second)
        last = max(p.end for p in spoken)
        # Words that take no time at all still need a millisecond each.
        assert spoken[0].start <= cue.start <= spoken[0].start + len(found)
        assert cue.end >= min(last, cue.start + MAX_MS) or cue.end == following.start
        assert cue.end <= max(last, cue.start + min(reading, MAX_MS), cue.start + 1) + CHAIN_MS
        if following and cue.end < following.start:
            assert following.start - cue.end >= CHAIN_MS or following.start - cue.start > MAX_MS


def one_after_the_other(transcript: Transcript, gap: float, seconds: float) -> Transcript:
    """The same texts without words, each `seconds` long, `gap` seconds between them."""
    step = gap + seconds
    apart = [replace(s, start=step * n, end=step * n + seconds, words=()) for n, s in enumerate(transcript.segments)]
    return replace(transcript, segments=tuple(apart), duration=step * len(apart))


@given(TRANSCRIPTS, OPTIONS)
@settings(max_examples=150, deadline=None)
def test_srt_is_read_back_by_the_srt_library(transcript, options):
    text = FORMATS["srt"].render(transcript, options)
    read = list(srt_library.parse(text))
    assert [cue.index for cue in read] == list(range(1, len(read) + 1))
    if not options.highlight_words:
        expected = cues(transcript, options, labelled=True)
        assert [round(c.start.total_seconds() * 1000) for c in read] == [c.start for c in expected]
        assert [squeezed(c.content.replace(JOINER, "")) for c in read] == [
            squeezed("".join(p.text for p in c.pieces).replace(JOINER, "")) for c in expected
        ]
    assert text.count("-->") == len(read)


@given(TRANSCRIPTS, OPTIONS)
@settings(max_examples=150, deadline=None)
def test_vtt_is_read_back_by_the_webvtt_library(transcript, options):
    text = FORMATS["vtt"].render(transcript, options)
    read = webvtt.from_string(text)
    expected = cues(transcript, options, labelled=False)
    assert text.startswith("WEBVTT\n")
    if not options.highlight_words:
        assert [squeezed(unescape_vtt(c.text)) for c in read] == [
            squeezed("".join(p.text for p in c.pieces)) for c in expected
        ]
        voices = [None if options.subtitle_speakers == "none" else c.speaker for c in expected]
        assert [unescape_vtt(c.voice).strip(" ") if c.voice else None for c in read] == voices
    assert text.count("-->") == len(list(read))


def squeezed(text: str) -> str:
    """Without white space and marks of direction."""
    return re.sub(f"[{LEFT_TO_RIGHT_MARK}{RIGHT_TO_LEFT_MARK}]", "", "".join(text.split()))


def unescape_vtt(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@given(TRANSCRIPTS, OPTIONS)
@settings(max_examples=100, deadline=None)
def test_tsv_is_read_back_by_csv_and_by_splitting_at_tabs(transcript, options):
    text = FORMATS["tsv"].render(transcript, options)
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    texts = [one_line(s.text) for s in transcript.segments]
    assert [row["text"] for row in rows] == [f"'{t}" if t.startswith(tuple("=+-@＝＋－＠")) else t for t in texts]
    assert [int(row["start"]) for row in rows] == [round(s.start * 1000) for s in transcript.segments]
    assert all(line.count("\t") == 3 for line in text.split("\n")[:-1])


@pytest.mark.parametrize(
    "formula", ['=HYPERLINK("http://x.example")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "＝1"]
)
def test_a_spreadsheet_runs_no_name_and_no_text_of_a_tsv(formula):
    segments = (Segment(0.0, 1.0, f" {formula}", (), "A"), Segment(1.0, 2.0, "Two = two.", (), "A"))
    text = FORMATS["tsv"].render(Transcript("en", 2.0, segments, (Speaker("A", formula),)), TextOptions())
    rows = list(csv.reader(io.StringIO(text), delimiter="\t"))[1:]
    assert [row[2:] for row in rows] == [["'" + formula, "'" + formula], ["'" + formula, "Two = two."]]


@given(TRANSCRIPTS, OPTIONS)
@settings(max_examples=100, deadline=None)
def test_txt_has_a_line_a_paragraph_and_every_text(transcript, options):
    text = FORMATS["txt"].render(transcript, options)
    lines = text.split("\n")
    assert all(re.match(r"\[\d\d:\d\d:\d\d\] ", line) for line in lines[::2] if line) or not options.txt_times
    assert all(
        one_line(s.text) in text for s in transcript.segments if not re.search("[\u3000-\u9fff\u0e00-\u0e7f]", s.text)
    )


@given(TRANSCRIPTS)
@settings(max_examples=150, deadline=None)
def test_json_gives_the_same_transcript_back(transcript):
    read = whisperx_json.from_dict(json.loads(FORMATS["json"].render(transcript, TextOptions())))
    assert read == expressible(transcript)


def expressible(transcript: Transcript) -> Transcript:
    """The transcript without what no JSON can hold: lone surrogates."""
    return replace(
        transcript,
        segments=tuple(
            replace(s, text=well_formed(s.text), words=tuple(replace(w, text=well_formed(w.text)) for w in s.words))
            for s in transcript.segments
        ),
        speakers=tuple(replace(s, name=s.name and well_formed(s.name)) for s in transcript.speakers),
    )


def test_json_has_whisperx_s_shape_with_names_and_labels():
    word = Word("Hi", 0.12345, 0.5, 0.98765, "SPEAKER_00", chars=({"char": "H", "start": 0.12345, "score": math.nan},))
    filled = Word("you", 0.5, 0.9, None, "SPEAKER_00", interpolated=True, overlap=True)
    transcript = Transcript(
        "en",
        2.0,
        (Segment(0.12345, 0.9, "Hi you", (word, filled), "SPEAKER_00", overlap=True),),
        (Speaker("SPEAKER_00", "Anna", 0.8123, 0.7),),
        0.99,
    )
    shape = whisperx_json.to_dict(transcript)
    assert shape == {
        "language": "en",
        "language_probability": 0.99,
        "duration": 2.0,
        "speakers": [{"label": "SPEAKER_00", "name": "Anna", "score": 0.812, "seconds": 0.7}],
        "segments": [
            {
                "start": 0.123,
                "end": 0.9,
                "text": "Hi you",
                "speaker": "Anna",
                "speaker_label": "SPEAKER_00",
                "overlap": True,
                "words": shape["word_segments"],
            }
        ],
        "word_segments": [
            {
                "word": "Hi",
                "start": 0.123,
                "end": 0.5,
                "score": 0.988,
                "speaker": "Anna",
                "chars": [{"char": "H", "start": 0.123, "score": None}],
            },
            {
                "word": "you",
                "start": 0.5,
                "end": 0.9,
                "score": None,
                "speaker": "Anna",
                "overlap": True,
                "interpolated": True,
            },
        ],
    }
    short = whisperx_json.to_dict(transcript, words=False)
    assert "word_segments" not in short
    assert "words" not in short["segments"][0]


def test_json_is_strict_when_a_number_is_not_a_number():
    transcript = Transcript(
        "en",
        math.inf,
        (Segment(0.0, 1.0, "a", (Word("a", math.nan, math.nan, math.nan),), None, -math.inf),),
        (Speaker("S", None, math.nan, math.nan),),
        math.nan,
    )
    text = FORMATS["json"].render(transcript, TextOptions())
    shape = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert shape["duration"] is None
    assert shape["word_segments"][0]["start"] is None
    assert whisperx_json.from_dict(shape).segments[0].words[0].start == 0.0


def test_a_file_of_whisperx_itself_is_read_and_its_missing_times_are_filled_in():
    shape = {
        "language": "en",
        "segments": [
            {
                "start": 1.0,
                "end": 3.0,
                "text": " In 1984",
                "speaker": "SPEAKER_01",
                "words": [
                    {"word": "In", "start": 1.0, "end": 1.5, "score": 0.9, "speaker": "SPEAKER_01"},
                    {"word": "1984"},
                ],
            }
        ],
    }
    transcript = whisperx_json.from_dict(shape)
    assert transcript.duration == 3.0
    first, second = transcript.segments[0].words
    assert first.label == transcript.segments[0].label == "SPEAKER_01"
    assert (second.start, second.end, second.interpolated) == (1.5, 3.0, True)


def test_two_speakers_of_one_name_stay_two():
    transcript = Transcript(
        "en",
        4.0,
        (
            Segment(0, 1, "a", (), "SPEAKER_00"),
            Segment(1, 2, "b", (Word("b", 1, 2, label="SPEAKER_00"),), "SPEAKER_01"),
        ),
        (Speaker("SPEAKER_00", "Sam"), Speaker("SPEAKER_01", "Sam")),
    )
    assert whisperx_json.from_dict(whisperx_json.to_dict(transcript)) == transcript


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"segments": 3},
        {"segments": [{"start": "x", "end": 1}]},
        [],
        None,
        {"segments": [{"start": math.nan, "end": 1}]},
    ],
)
def test_json_of_another_shape_is_refused_by_a_sentence(shape):
    with pytest.raises(InvalidInput, match="whisperX's JSON shape"):
        whisperx_json.from_dict(shape)


def test_an_empty_transcript_gives_valid_empty_files():
    empty = render_all(Transcript("en", 30.0), FORMATS, TextOptions())
    assert empty["srt"] == b""
    assert list(srt_library.parse("")) == []
    assert empty["vtt"] == b"WEBVTT\n"
    assert list(webvtt.from_string(empty["vtt"].decode())) == []
    assert empty["tsv"] == b"start\tend\tspeaker\ttext\n"
    assert empty["txt"] == b""
    assert json.loads(empty["json"])["segments"] == []
    assert b"No speech was found." in empty["html"]


def test_a_long_sentence_is_cut_evenly_and_after_its_clauses():
    text = "When the winter came early that year, the whole village gathered in the hall, and nobody wanted to leave."
    found = cues(spoken(text, seconds=9.0), TextOptions(), labelled=False)
    assert ["\n".join(" ".join(p.text for p in line) for line in c.lines) for c in found] == [
        "When the winter came early that year,",
        "the whole village gathered in the hall,\nand nobody wanted to leave.",
    ]


def test_short_cues_stand_until_they_can_be_read_where_the_gap_allows():
    transcript = Transcript(
        "en",
        10.0,
        (
            Segment(1.0, 1.2, "Yes.", (Word("Yes.", 1.0, 1.2),)),
            Segment(5.0, 5.3, "No.", (Word("No.", 5.0, 5.3),), "A"),
            Segment(
                5.5,
                6.0,
                "A sentence of forty characters in all, ok",
                (Word("A sentence of forty characters in all, ok", 5.5, 6.0),),
                "B",
            ),
        ),
    )
    found = [(c.start, c.end) for c in cues(transcript, TextOptions(), labelled=False)]
    assert found[0] == (1000, 1000 + MIN_MS)
    assert found[1] == (5000, 5500)
    assert found[2][1] - found[2][0] >= 2000


def lines_of(found) -> list[str]:
    return ["\n".join(" ".join(p.text for p in line) for line in c.lines) for c in found]


def test_short_sentences_of_one_speaker_share_a_cue_and_those_of_two_do_not():
    quick = spoken("Yes.", "I know.", "We will see.", seconds=0.4, gap=0.1, label="A")
    assert lines_of(cues(quick, TextOptions(), labelled=False)) == ["Yes. I know. We will see."]
    first, *others = quick.segments
    answer = replace(first, words=tuple(replace(w, label="B") for w in first.words), label="B")
    of_two = replace(quick, segments=(answer, *others))
    assert lines_of(cues(of_two, TextOptions(), labelled=False)) == ["Yes.", "I know. We will see."]


def test_sentences_that_can_be_read_in_their_time_are_not_merged():
    calm = spoken("We went home early.", "Nobody was there.", seconds=2.0)
    assert len(cues(calm, TextOptions(), labelled=False)) == 2
    assert len(cues(calm, TextOptions(max_chars_per_second=5), labelled=False)) == 1


def test_japanese_sentences_are_merged_without_a_space():
    quick = Transcript("ja", 3.0, (Segment(0.0, 0.4, "はい。"), Segment(0.5, 0.9, "そう。")))
    assert "はい。そう。" in FORMATS["srt"].render(quick, TextOptions())


def test_a_gap_too_short_to_be_seen_as_one_is_closed():
    found = cues(
        spoken("One moment please.", "Thank you so much.", seconds=2.0, gap=0.3), TextOptions(), labelled=False
    )
    assert [(c.start, c.end) for c in found] == [(0, 2300), (2300, 4300)]
    found = cues(
        spoken("One moment please.", "Thank you so much.", seconds=2.0, gap=0.6), TextOptions(), labelled=False
    )
    assert found[0].end == 2000


def test_a_lower_reading_speed_lets_a_cue_stand_longer():
    text = Transcript("en", 9.0, (Segment(0.0, 1.0, "A sentence of thirty columns."),))
    ends = [cues(text, TextOptions(max_chars_per_second=n), labelled=False)[0].end for n in (30, 15, 10)]
    assert ends == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("style", "srt", "vtt"),
    [
        (None, ["Speaker 1: One.", "Two.", "Anna: Three."], ["One.", "Two.", "Three."]),
        ("name", ["Speaker 1: One.", "Two.", "Anna: Three."], ["Speaker 1: One.", "Two.", "Anna: Three."]),
        ("every", ["Speaker 1: One.", "Speaker 1: Two.", "Anna: Three."], ["Speaker 1: One.", "Speaker 1: Two.", "Anna: Three."]),
        ("dash", ["One.", "Two.", "- Three."], ["One.", "Two.", "- Three."]),
        ("none", ["One.", "Two.", "Three."], ["One.", "Two.", "Three."]),
    ],
)  # fmt: skip
def test_speakers_are_shown_as_the_job_asks(style, srt, vtt):
    three = spoken("One.", "Two.", "Three.", gap=2.0, label="SPEAKER_07")
    last = three.segments[2]
    anna = replace(last, words=tuple(replace(w, label="SPEAKER_00") for w in last.words), label="SPEAKER_00")
    transcript = replace(three, segments=(*three.segments[:2], anna), speakers=(Speaker("SPEAKER_00", "Anna"),))
    options = TextOptions(subtitle_speakers=style)
    assert [c.content for c in srt_library.parse(FORMATS["srt"].render(transcript, options))] == srt
    read = list(webvtt.from_string(FORMATS["vtt"].render(transcript, options)))
    assert [c.text for c in read] == vtt
    assert [c.voice for c in read] == [None] * 3 if style == "none" else ["Speaker 1", "Speaker 1", "Anna"]


def test_who_interrupts_is_named_and_so_is_who_goes_on():
    long = Segment(0.0, 12.0, "I think that we should all go home now, " * 3, (), "A")
    transcript = Transcript("en", 12.0, (long, Segment(2.0, 4.0, "No, stay here with us!", (), "B")))
    named = [c.pieces[0].text for c in cues(transcript, TextOptions(), labelled=True) if not c.pieces[0].spoken]
    assert named == ["A:", "B:", "A:"]


def test_doubtful_text_is_marked_in_every_format_that_is_read_unless_the_job_says_no():
    sure, unsure = spoken("We went home early.", "Thanks for watching everybody.", seconds=3.0).segments
    doubted = replace(unsure, suspect=("unlikely",))
    transcript = Transcript("en", 6.0, (sure, doubted, replace(doubted, start=6.0, end=8.0, words=())))
    for name in ("srt", "vtt"):
        assert FORMATS[name].render(transcript, TextOptions()).count("[?] Thanks for watching") == 2
    assert FORMATS["txt"].render(transcript, TextOptions()).count("[?] Thanks") == 1
    for name in ("srt", "vtt", "txt"):
        assert "[?]" not in FORMATS[name].render(transcript, TextOptions(mark_suspect=False))
        assert "[?]" not in FORMATS[name].render(Transcript("en", 3.0, (sure,)), TextOptions())


def test_every_cue_that_a_doubtful_segment_is_cut_into_is_marked():
    text = "When the winter came early that year the whole village gathered in the hall and nobody wanted to leave"
    found = cues(Transcript("en", 9.0, (Segment(0.0, 9.0, text, suspect=("cut",)),)), TextOptions(), labelled=False)
    assert len(found) > 1
    assert [c.pieces[0].text for c in found] == ["[?]"] * len(found)


def test_plain_text_without_times_has_names_and_paragraphs():
    transcript = spoken("Hello there.", label="SPEAKER_03")
    assert FORMATS["txt"].render(transcript, TextOptions(txt_times=False)) == "Speaker 1: Hello there.\n"


def test_readers_see_numbers_in_the_order_of_the_first_words_and_programs_see_labels():
    transcript = Transcript(
        "en",
        9.0,
        (
            Segment(0, 1, "one", (), "SPEAKER_04"),
            Segment(1, 2, "two", (), "SPEAKER_02"),
            Segment(2, 3, "three", (), "SPEAKER_00"),
            Segment(3, 4, "four", (), "CHANNEL_2"),
            Segment(4, 5, "five", (), "Grace"),
        ),
        (Speaker("SPEAKER_00"), Speaker("SPEAKER_02", "Anna"), Speaker("SPEAKER_04"), Speaker("SPEAKER_05")),
    )
    assert list(reader_names(transcript).items()) == [
        ("SPEAKER_04", "Speaker 1"),
        ("SPEAKER_02", "Anna"),
        ("SPEAKER_00", "Speaker 3"),
        ("CHANNEL_2", "Channel 2"),
        ("Grace", "Grace"),
        ("SPEAKER_05", "Speaker 6"),
    ]
    for name in ("srt", "vtt", "txt", "html"):
        assert "SPEAKER_0" not in FORMATS[name].render(transcript, TextOptions())
    for name in ("json", "tsv"):
        assert "SPEAKER_04" in FORMATS[name].render(transcript, TextOptions())


def test_nobody_is_numbered_like_somebody_who_was_enrolled_under_that_name():
    transcript = Transcript(
        "en",
        2.0,
        (Segment(0, 1, "one", (), "SPEAKER_00"), Segment(1, 2, "two", (), "SPEAKER_01")),
        (Speaker("SPEAKER_00"), Speaker("SPEAKER_01", "Speaker 1")),
    )
    assert list(reader_names(transcript).values()) == ["Speaker 2", "Speaker 1"]


def test_every_reason_to_doubt_a_text_has_plain_words():
    everything = Decoded("so " * 200, -9.0, 0.0, cut=True)
    for reason in (*doubts(everything, 1.0, Limits()), "repeated"):
        assert in_words([reason]) != reason
    assert in_words(["cut", "not_yet_known"]) == "it breaks off; not yet known"


def test_a_pause_ends_a_cue():
    words = (Word("Wait", 0.0, 0.4), Word("for", 0.4, 0.6), Word("it.", 4.0, 4.3))
    found = cues(Transcript("en", 5.0, (Segment(0.0, 4.3, "Wait for it.", words),)), TextOptions(), labelled=False)
    assert [[p.text for p in c.pieces] for c in found] == [["Wait", "for"], ["it."]]


def test_of_two_who_speak_at_once_the_second_waits_until_the_first_can_be_read():
    transcript = Transcript(
        "en",
        9.0,
        (
            Segment(0.0, 6.0, "I think that we should all go home now", (), "A"),
            Segment(0.5, 1.5, "No, stay!", (), "B"),
        ),
    )
    first, second = cues(transcript, TextOptions(), labelled=True)
    assert first.end == second.start == 2100  # 42 columns, the name counted, at 20 a second
    assert second.end - second.start >= MIN_MS


def test_segments_without_words_share_their_time_by_characters():
    transcript = Transcript("en", 20.0, (Segment(0.0, 12.0, "one two three four five six. " * 5),))
    found = cues(transcript, TextOptions(), labelled=False)
    assert found[0].start == 0
    assert found[-1].end == 12_000
    assert max(c.end - c.start for c in found) <= MAX_MS


@pytest.mark.parametrize(
    "text",
    [
        "今日は天気がいいので、散歩に行きましょう。それから、友達と一緒に昼ご飯を食べます。",
        "今天天气很好，我们去公园散步吧。" * 3,
        "วันนี้อากาศดีมากเราไปเดินเล่นในสวนสาธารณะกันเถอะ" * 3,
    ],
)
def test_scripts_without_spaces_break_where_their_typography_allows(text):
    for transcript in (
        Transcript("ja", 9.0, (Segment(0.0, 9.0, text),)),
        Transcript("ja", 9.0, (Segment(0.0, 9.0, text, (Word(text, 0.0, 9.0),)),)),
    ):
        found = cues(transcript, TextOptions(), labelled=False)
        lines = ["".join(p.text for p in line) for c in found for line in c.lines]
        assert "".join(lines) == text
        assert all(columns(line) <= 42 for line in lines)
        assert len(lines) > 1
        assert not any(line[0] in "、。，่้็์ั" or line[-1] in "เแโใไ" for line in lines)
        assert not any(p.space for c in found for p in c.pieces[1:])


def test_japanese_words_of_one_character_are_joined_without_spaces():
    text = "私はPython が好き"
    words = tuple(Word(w, n * 0.2, n * 0.2 + 0.2) for n, w in enumerate(["私", "は", "Python", "が", "好", "き"]))
    transcript = Transcript("ja", 2.0, (Segment(0.0, 1.2, text, words),))
    assert text in FORMATS["srt"].render(transcript, TextOptions())
    assert text in unescape(re.sub("<[^>]+>", "", FORMATS["html"].render(transcript, TextOptions())))


def test_srt_names_a_speaker_once_and_vtt_in_every_cue():
    transcript = replace(
        spoken("Hello there.", "How are you?", label="SPEAKER_00"), speakers=(Speaker("SPEAKER_00", "Anna <i>\n& Co"),)
    )
    assert FORMATS["srt"].render(transcript, TextOptions()).count("Anna <\u2060i> & Co: ") == 1
    assert FORMATS["vtt"].render(transcript, TextOptions()).count("<v Anna &lt;i&gt; &amp; Co>") == 2


def test_highlighting_underlines_each_word_while_it_is_said():
    transcript = spoken("one two", seconds=2.0)
    read = list(srt_library.parse(FORMATS["srt"].render(transcript, TextOptions(highlight_words=True))))
    assert [(c.content, c.start.total_seconds(), c.end.total_seconds()) for c in read] == [
        ("<u>one</u> two", 0.0, 1.0),
        ("one <u>two</u>", 1.0, 2.0),
    ]
    assert "<u>two</u>" in FORMATS["vtt"].render(transcript, TextOptions(highlight_words=True))


def test_a_name_that_ends_in_dashes_makes_no_arrow_with_its_tag():
    transcript = replace(spoken("Hello.", label="S"), speakers=(Speaker("S", "<!--"),))
    (cue,) = webvtt.from_string(FORMATS["vtt"].render(transcript, TextOptions()))
    assert cue.text == "Hello."
    assert unescape_vtt(cue.voice).strip() == "<!--"


def test_an_arrow_made_of_several_words_is_still_parted():
    words = tuple(Word(c, n, n + 0.5) for n, c in enumerate("-->"))
    transcript = Transcript("ja", 3.0, (Segment(0.0, 2.5, "-->", words),))
    for highlight in (False, True):
        text = FORMATS["srt"].render(transcript, TextOptions(highlight_words=highlight))
        assert all(" --> " in line for line in text.split("\n") if "-->" in line)


def test_right_to_left_text_survives_every_format():
    transcript = spoken("مرحبا بكم في الاجتماع", label="SPEAKER_00")
    for name, data in render_all(transcript, FORMATS, TextOptions()).items():
        assert "مرحبا" in data.decode(), name
    assert '<section dir="rtl">' in FORMATS["html"].render(transcript, TextOptions())


@pytest.mark.parametrize("aligned", [True, False])
def test_the_page_shows_where_two_speak_at_once(aligned):
    words = (Word("Yes", 0.0, 0.5), Word("no.", 0.5, 1.0, overlap=True)) if aligned else ()
    shown = page.render(Transcript("en", 1.0, (Segment(0.0, 1.0, "Yes no.", words, overlap=True),)), TextOptions())
    marked = [attrs["title"] for tag, attrs in Tags(shown).tags if "both" in (attrs.get("class") or "")]
    assert marked == ["two speak at once"]


def test_the_page_says_in_plain_words_what_is_doubtful_and_what_the_job_warned_of():
    sure, unsure = spoken("We went home.", "Thanks for watching.", seconds=3.0).segments
    hardly = replace(sure, words=(*sure.words[:2], replace(sure.words[2], score=0.1)))
    transcript = Transcript("en", 6.0, (hardly, replace(unsure, suspect=("unlikely", "<new>"))))
    tags = Tags(page.render(transcript, TextOptions(warnings=("2 s have <no> text",))))
    doubted = [attrs["data-why"] for _, attrs in tags.tags if "data-why" in attrs]
    assert doubted == ["the recognizer itself was not sure; <new>"]
    assert [attrs["title"] for _, attrs in tags.tags if attrs.get("class") == "low"] == [
        "hardly heard: it may be another word"
    ]
    assert "2 s have <no> text" in tags.text
    assert not [1 for _, attrs in Tags(page.render(spoken("Hello."), TextOptions())).tags if "data-why" in attrs]


def test_shares_of_the_talk_sum_to_a_hundred_and_hours_are_shown_where_there_are_any():
    thirds = [Segment(n, n + 1, "so", (), f"SPEAKER_0{n}") for n in range(3)]
    text = page.render(Transcript("en", 3.0, tuple(thirds)), TextOptions())
    assert re.findall(r"(\d+) %", text) == ["34", "33", "33"]
    assert percentages([0, 0]) == [0, 0]
    assert [short_clock(s) for s in (8.9, 83, 3600, 36061)] == ["0:08", "1:23", "1:00:00", "10:01:01"]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50).filter(any))
def test_percentages_are_at_most_one_off_and_sum_to_a_hundred(parts):
    shares = percentages(parts)
    assert sum(shares) == 100
    assert all(abs(share - 100 * part / sum(parts)) < 1 for share, part in zip(shares, parts, strict=True))


@given(st.text(st.characters(), max_size=80))
def test_one_line_is_one_line_and_clusters_lose_nothing(text):
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert "\t" not in line
    assert one_line(line) == line
    assert "".join(clusters(line)) == line


def test_joining_puts_no_space_between_scripts_that_have_none():
    assert join(["Hello", "", "world."]) == "Hello world."
    assert join(["今日。", "明日"]) == "今日。明日"


class Tags(html.parser.HTMLParser):
    """What a browser would make of a page: its tags with their attributes, and the visible text of <main>."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


KNOWN = {
    name
    for name, _ in Tags(
        page.render(Transcript("en", 1.0, (Segment(0, 1, "a", (), "S"),)), TextOptions(warnings=("a",)))
    ).tags
}


@given(TRANSCRIPTS, OPTIONS)
@settings(max_examples=100, deadline=None)
def test_nothing_said_or_named_becomes_a_tag_of_the_page(transcript, options):
    found = Tags(page.render(transcript, options))
    assert {name for name, _ in found.tags} <= KNOWN
    assert [name for name, _ in found.tags].count("script") == 1
    allowed = {"class", "data-t", "data-why", "dir", "max", "title", "value"}
    names = [name for name, _ in found.tags]
    inside = found.tags[names.index("main") + 1 : names.index("dialog")]
    assert all(set(attrs) <= allowed for _, attrs in inside)
    assert all(squeezed(one_line(s.text)) in squeezed("".join(found.text)) for s in transcript.segments)


def test_the_page_loads_nothing_from_elsewhere_and_allows_only_its_own_script():
    text = page.render(spoken("Hello."), TextOptions(audio_name="talk.mp3"))
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    assert "default-src 'none'" in text
    assert "unsafe" not in text
    assert 'data-audio="talk.mp3"' in text
    assert len(page.render(Transcript("en", 1.0), TextOptions()).encode()) < 17_000


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://user:pass@host/a/b%20c.mp3?X-Amz-Signature=abc#x", "b c.mp3"),
        ("/tmp/a.wav", "a.wav"),
        ("..\\a.wav", "a.wav"),
        ("https://host", ""),
        ("", ""),
        ("https://[broken/a.mp3", ""),
        ("a/..%2f..%2fx.mp3", "x.mp3"),
    ],
)
def test_the_page_names_the_recording_without_folder_user_or_query(address, name):
    assert page.file_name(address) == name


@pytest.mark.long
def test_ten_times_the_words_take_nowhere_near_a_hundred_times_the_work():
    def seconds_for(count: int) -> float:
        transcript = spoken(*["the quick brown fox jumps over the lazy dog again"] * (count // 10), label="SPEAKER_00")
        one = Transcript(
            "en",
            1e5,
            (
                Segment(
                    0,
                    1e5,
                    " ".join(s.text for s in transcript.segments),
                    tuple(w for s in transcript.segments for w in s.words),
                ),
            ),
        )
        begin = time.process_time()
        render_all(transcript, FORMATS, TextOptions())
        render_all(one, FORMATS, TextOptions())
        return time.process_time() - begin

    small = seconds_for(2_000)
    assert seconds_for(20_000) < 30 * small
