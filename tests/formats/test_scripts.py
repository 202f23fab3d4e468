"""Writing systems: from right to left, without spaces, with wide characters and stacked marks, through every format."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
from support.demo import configured, excerpt, models, predicted, recording

from scribe.alignment.text import UNSPACED, character_words, word_numbers
from scribe.diarization.assignment import assign_speakers
from scribe.engines.base import Abilities, TranscriptionRequest
from scribe.engines.batched import BatchedEngine
from scribe.formats import FORMATS, TextOptions, inline_text, render_all
from scribe.formats.cues import cues
from scribe.formats.text import clusters, columns, directed, direction, inseparable, join
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.predictor import Predictor
from scribe.schema.languages import LANGUAGES
from scribe.transcript import Segment, Speaker, Transcript, Turn, Word

RLM, LRM = "\u200f", "\u200e"
SAID = {
    "ar": "OpenAI شركة كبيرة. سنناقش اليوم 3 مواضيع مهمة مع فريق التسويق والمبيعات! هل نبدأ بميزانية 2024؟",
    "he": "שלום לכולם, ברוכים הבאים לישיבה. היום נדבר על WhatsApp ועל התקציב של 2024 (בערך 3.5 מיליון).",
    "ja": "皆さん、こんにちは。今日は「予算」とマーケティング、それからiPhone 15の売り上げについてちょっと話しましょう。いいですか？",
    "th": "สวัสดีครับทุกคน ยินดีต้อนรับสู่การประชุมวันนี้ เราจะคุยกันเรื่องงบประมาณปี 2024 การตลาดและวันศุกร์",
    "zh": "大家好，欢迎参加今天的会议。我们今天要讨论三个重要的问题：预算、市场营销，以及iPhone 15的销售情况（增长了3.5%）。好吗？",
}
SENTENCES = {"ar": 3, "he": 2, "ja": 3, "th": 1, "zh": 3}
# No line begins with what belongs to the character before it, or ends with what belongs to the one behind.
NEVER_FIRST, NEVER_LAST = set("、。，！？」）っょーะาำ่้์ัิีุู็"), set("「（เแโใไ")


@functools.cache
def predictor() -> Predictor:
    """The demo models with their aligner for every language: letters that it does not know take the wildcard."""
    found = Models(ModelSet(configured(align_model=models().model_set.aligner("en").source)), "cpu")
    found._cache = models()._cache
    return Predictor(found)


@pytest.mark.parametrize("language", SAID)
def test_a_job_keeps_its_script_s_ways_in_every_format(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SAID[language]

    def transcribe(self: BatchedEngine, request: TranscriptionRequest, emit: Any, *_: Any) -> int:
        """In place of the speech model, which knows English."""
        for chunk in request.chunks[:1]:
            emit(Segment(chunk.start, chunk.end, f" {text}", avg_logprob=-0.1))
        return 1

    monkeypatch.setattr(BatchedEngine, "transcribe", transcribe)
    monkeypatch.setattr(BatchedEngine, "abilities", Abilities("this model", LANGUAGES, doubts=False))
    clip = excerpt("predict-clip", recording("conversation.mp3")[0], 0.0, 8.5)
    found = predicted([clip], {"language": language, "align_output": True, "strict": True}, by=predictor()).transcript
    assert len(found.segments) == SENTENCES[language]
    assert "".join(w.text for s in found.segments for w in s.words) == "".join(text.split())
    shown = {name: data.decode() for name, data in render_all(found, FORMATS, TextOptions()).items()}
    bare = {name: data.replace(RLM, "") for name, data in shown.items()}
    assert inline_text("plain_text", found, TextOptions()) == text
    assert text in bare["txt"]
    assert f'<section dir="{"rtl" if language in ("ar", "he") else "ltr"}">' in shown["html"]
    assert f'<main lang="{language}"' in shown["html"]
    assert (RLM in shown["srt"]) == (RLM in shown["vtt"]) == (language in ("ar", "he"))
    assert RLM not in shown["json"] + shown["tsv"]
    lines = [line for cue in cues(found, TextOptions(), labelled=True) for line in cue.lines]
    written = ["".join(" " * (n and p.space) + p.text for n, p in enumerate(line)) for line in lines]
    assert all(columns(line) <= 42 for line in written)
    assert not any(line[0] in NEVER_FIRST or line[-1] in NEVER_LAST for line in written)
    assert "".join("".join(written).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "way"), [("Hello", "ltr"), ("مرحبا OpenAI بكم", "rtl"), ("שלום", "rtl"), ("3.5", "auto"), ("", "auto")]
)
def test_a_text_runs_as_most_of_its_letters(text: str, way: str) -> None:
    assert direction(text) == way


@pytest.mark.parametrize(
    ("line", "way", "expected"),
    [
        ("Sara: شكرا!", "rtl", f"{RLM}Sara: شكرا!{RLM}"),
        ("شكرا", "rtl", "شكرا"),
        ("[00:00:01] شكرا.", "rtl", f"[00:00:01] شكرا.{RLM}"),
        ("أحمد: Hello.", "ltr", f"{LRM}أحمد: Hello."),
        ("Sara: Hello.", "ltr", "Sara: Hello."),
        ("3.5", "auto", "3.5"),
        ("", "rtl", RLM),
    ],
)
def test_marks_of_direction_stand_only_where_a_reader_would_be_wrong(line: str, way: str, expected: str) -> None:
    assert directed(line, way) == expected


def test_a_latin_name_before_arabic_changes_no_side_in_subtitles_text_and_page() -> None:
    spoken = (Segment(0.0, 2.0, "شكرا جزيلا!", (), "SPEAKER_00"),)
    found = Transcript("ar", 2.0, spoken, (Speaker("SPEAKER_00", "Sara"),))
    assert f"\n{RLM}Sara: شكرا جزيلا!{RLM}\n" in FORMATS["srt"].render(found, TextOptions())
    assert f"<v Sara>شكرا جزيلا!{RLM}\n" in FORMATS["vtt"].render(found, TextOptions())
    assert FORMATS["txt"].render(found, TextOptions()).startswith(f"[00:00:00] {RLM}Sara: ")
    assert "<bdi>Sara</bdi>" in FORMATS["html"].render(found, TextOptions())


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["他说：“你好。”", "然后走了。"], "他说：“你好。”然后走了。"),
        (["そうです。", "「はい」"], "そうです。「はい」"),
        (["สวัสดีครับ", "ขอบคุณครับ"], "สวัสดีครับ ขอบคุณครับ"),
        (["នេះ។", "បាទ។"], "នេះ។ បាទ។"),
        (["我用iPhone", "很好"], "我用iPhone 很好"),
        (["שלום.", "כן."], "שלום. כן."),
    ],
)
def test_sentences_are_joined_as_their_script_is_written(parts: list[str], joined: str) -> None:
    assert join(parts) == joined


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("วันศุกร์", ["วั", "น", "ศุ", "กร์"]),
        ("น้ำมา", ["น้ำ", "มา"]),
        ("เก่า", ["เก่า"]),
        ("ခင်ဗျာ", ["ခင်", "ဗျာ"]),
        ("ស្រី", ["ស្រី"]),
        ("２０２４年", ["２０２４", "年"]),
        ("きって", ["きっ", "て"]),
        ("「はい」", ["「は", "い」"]),
        ("👩‍👩‍👧👍🏽", ["👩‍👩‍👧", "👍🏽"]),
    ],
)
def test_what_belongs_together_is_never_parted(text: str, parts: list[str]) -> None:
    assert clusters(text) == parts
    assert all(not inseparable(a, b) for a, b in itertools.pairwise(parts))


def test_an_aligner_s_single_characters_are_broken_where_text_may_be() -> None:
    """Its words are characters; a small kana or a silent consonant is a word of its own there."""
    said = {"ja": ("あ", "きっとちょっと待ってください" * 3), "th": ("ก", "วันศุกร์จันทร์อาทิตย์" * 4)}
    # Shifted, so that some even cut would fall on each of them.
    for language, text in [(code, first * n + rest) for code, (first, rest) in said.items() for n in range(6)]:
        numbers = character_words(text) if language in UNSPACED else word_numbers(text, True)
        parts = [
            "".join(c for _, c in group)
            for _, group in itertools.groupby(zip(numbers, text, strict=True), lambda p: p[0])
        ]
        words = tuple(Word(part, n * 0.1, n * 0.1 + 0.1) for n, part in enumerate(parts))
        found = Transcript(language, 20.0, (Segment(0.0, len(parts) * 0.1, text, words),))
        for width in range(10, 43, 4):
            lines = [
                "".join(p.text for p in line)
                for c in cues(found, TextOptions(max_line_width=width), False)
                for line in c.lines
            ]
            assert "".join(lines) == text
            assert not any(line[0] in "っょ" or line[1:2] == "์" for line in lines)


def test_a_japanese_line_ends_behind_a_particle() -> None:
    text = "昨日友達と新宿の映画館で新しい映画を見てから晩ご飯"
    found = Transcript("ja", 5.0, (Segment(0.0, 5.0, text),))
    (cue,) = cues(found, TextOptions(), labelled=False)
    assert "".join(p.text for p in cue.lines[0])[-1] in "とので"


def test_a_turn_in_the_middle_of_a_chinese_segment_cuts_it_without_spaces() -> None:
    text = "你好吗？我很好。"
    words = tuple(Word(part, n, n + 1) for n, part in enumerate(["你", "好", "吗？", "我", "很", "好。"]))
    cut = assign_speakers([Segment(0, 6, text, words)], [Turn(0, 3, "A"), Turn(3, 6, "B")], language="zh")
    assert [(s.text, s.label) for s in cut] == [("你好吗？", "A"), ("我很好。", "B")]
    bare = assign_speakers([Segment(0, 6, text)], [Turn(0, 3, "A"), Turn(3, 6, "B")], language="zh")
    assert [(s.text, s.label) for s in bare] == [("你好吗？", "A"), ("我很好。", "B")]
