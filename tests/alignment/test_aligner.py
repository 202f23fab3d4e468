"""Alignment: every word gets its times, in blocks as in one piece, whatever characters it is written with."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
from lab.scores import match_words, plain
from support import stock_punkt
from support.aligners import Prepared
from support.demo import models, recording, truth
from support.sentences import SAID
from support.sentences import UNSPACED as WITHOUT_SPACES
from support.stock_punkt import tables
from whisperx import alignment

from scribe.alignment import stock as room
from scribe.alignment.aligner import Aligner
from scribe.alignment.sentences import Sentences, punkt_tables
from scribe.errors import Cancelled, ModelNotFound
from scribe.runtime.monitor import Monitor
from scribe.transcript import Segment


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return models().aligner("en")


def said(stem: str = "conversation", before: float = 30.0) -> list[Segment]:
    """What is really said, as a recognizer would hand it on: a segment a turn."""
    return [
        Segment(t["start"], t["end"], f" {t['text']}", avg_logprob=-0.1)
        for t in truth(stem)["turns"]
        if t["end"] < before
    ]


def aligned(
    aligner: Aligner, segments: list[Segment], method: str = "nearest", characters: bool = False
) -> list[Segment]:
    return aligner.align(segments, recording("conversation.mp3")[0], method, characters)


def as_stock(aligner: Aligner) -> Aligner:
    """The same model in parity mode."""
    stock = copy.copy(aligner)
    stock._parity, stock.sentences = True, Sentences("en", stock_punkt.folder(), True)
    return stock


def test_every_word_is_where_it_is_spoken(aligner: Aligner) -> None:
    words = [w for s in aligned(aligner, said()) for w in s.words]
    spoken = [w for w in truth("conversation")["words"] if w["end"] < 30]
    _, pairs = match_words([plain(w["word"])[0] for w in spoken], [plain(w.text)[0] for w in words])
    assert len(pairs) >= 0.95 * len(spoken)
    assert sum(abs(spoken[i]["start"] - words[j].start) for i, j in pairs) / len(pairs) <= 0.05


def test_words_stay_in_order_inside_their_segments_and_are_never_lost(aligner: Aligner) -> None:
    segments = aligned(aligner, said())
    assert [w for s in segments for w in s.text.split()] == [w for s in said() for w in s.text.split()]
    for segment in segments:
        edges = [edge for w in segment.words for edge in (w.start, w.end)]
        assert edges == sorted(edges)
        assert [w.text for w in segment.words] == segment.text.split()
        assert all(w.score is None or 0 <= w.score <= 1 for w in segment.words)
    assert all(a.start <= b.start for a, b in itertools.pairwise(segments))
    assert {s.avg_logprob for s in segments} == {-0.1}


@pytest.mark.parametrize("seconds", [3, 11])
def test_blocks_give_the_same_words_as_one_piece(
    aligner: Aligner, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """In parity mode: whisperX takes an array, and only a block of the recording is one at a time."""
    stock = as_stock(aligner)
    whole = aligned(stock, said())
    monkeypatch.setattr(room, "BLOCK_SECONDS", seconds)
    pieces = aligned(stock, said())
    assert [(s.text, [w.text for w in s.words]) for s in pieces] == [(s.text, [w.text for w in s.words]) for s in whole]
    for a, b in zip((w for s in pieces for w in s.words), (w for s in whole for w in s.words), strict=True):
        # A time on another clock may round to the sample beside it, which can move a doubtful edge by a frame or two.
        assert (a.start, a.end) == pytest.approx((b.start, b.end), abs=0.065)


def test_a_block_holds_neighbours_and_reads_no_more_than_its_seconds() -> None:
    segments = [Segment(s, s + 4.0, "x") for s in (0.5, 5.0, 9.9, 700.25, 1400.0)]
    blocks = list(room._blocks(segments))
    assert [s for block, _, _ in blocks for s in block] == segments
    assert [(start, end) for _, start, end in blocks] == [(0, 13.9), (700, 704.25), (1400, 1404.0)]
    assert all(start <= block[0].start and end >= max(s.end for s in block) for block, start, end in blocks)


def test_a_segment_longer_than_a_block_is_a_block_of_its_own() -> None:
    segments = [Segment(0, 5, "x"), Segment(5, 2000, "y"), Segment(2000, 2001, "z")]
    assert [[s.text for s in block] for block, _, _ in room._blocks(segments)] == [["x"], ["y"], ["z"]]


@pytest.mark.parametrize("method", ["nearest", "linear", "ignore"])
@pytest.mark.parametrize(
    "text",
    [
        " The orange garden 42 is € 3.50 near the hotel.",
        " 12 34 56",
        " 你好",
        " Ünïcødé gàrdén",
        " ...",
        " - - -",
        " One. 2. 3! The hotel? 4",
        " \U0001f600 orange \U0001f600",
        " a\u200bb",
    ],
)
def test_unknown_characters_get_times_too(aligner: Aligner, text: str, method: str) -> None:
    segments = aligned(aligner, [Segment(0.6, 2.655, text)], method)
    assert (
        "".join(s.text for s in segments).split() == text.split()
        or [w for s in segments for w in s.text.split()] == text.split()
    )
    for segment in segments:
        edges = [segment.start, *(edge for w in segment.words for edge in (w.start, w.end)), segment.end]
        assert edges == sorted(edges)
        assert all(0.5 <= edge <= 2.7 for edge in edges)


def test_the_words_of_a_segment_too_short_to_align_share_its_time(aligner: Aligner) -> None:
    short = Segment(0.6, 0.68, " The orange garden is near the hotel.")
    unheard, heard = aligned(aligner, [short, Segment(2.932, 5.666, " My number is ten.")])
    assert [w.text for w in unheard.words] == unheard.text.split() == short.text.split()
    assert all(w.interpolated and w.score is None for w in unheard.words)
    assert (unheard.words[0].start, unheard.words[-1].end) == (0.6, 0.68)
    assert [w.text for w in heard.words] == ["My", "number", "is", "ten."]
    assert not any(w.interpolated for w in heard.words)


def test_the_words_of_a_segment_beyond_the_end_share_its_time(aligner: Aligner) -> None:
    (segment,) = aligned(aligner, [Segment(900.0, 902.0, " Nobody says this.")])
    assert (segment.start, segment.end, segment.text.strip()) == (900.0, 902.0, "Nobody says this.")
    assert [(w.text, w.interpolated) for w in segment.words] == [("Nobody", True), ("says", True), ("this.", True)]


def test_in_parity_a_segment_that_cannot_be_aligned_stays_as_it_was(aligner: Aligner) -> None:
    far = Segment(900.0, 902.0, " Nobody says this.")
    (segment,) = aligned(as_stock(aligner), [far])
    assert (segment.start, segment.end, segment.text, segment.words) == (900.0, 902.0, far.text, ())


def test_characters_are_dealt_out_to_their_words(aligner: Aligner) -> None:
    for segment in aligned(aligner, said(before=9.0), characters=True):
        for word in segment.words:
            assert "".join(c["char"] for c in word.chars) == word.text
            assert all(
                word.start - 0.001 <= c["start"] <= c["end"] <= word.end + 0.001 for c in word.chars if "start" in c
            )


def test_without_the_wish_there_are_no_characters(aligner: Aligner) -> None:
    assert all(w.chars == () for s in aligned(aligner, said(before=5.0)) for w in s.words)


def test_a_stop_comes_through_between_two_segments(aligner: Aligner) -> None:
    ticks = []

    def stop_at_the_second(fraction: float) -> None:
        ticks.append(fraction)
        if len(ticks) == 2:
            raise Cancelled("x")

    with pytest.raises(Cancelled):
        aligner.align(said(), recording("conversation.mp3")[0], "nearest", False, Monitor(report=stop_at_the_second))
    assert len(ticks) == 2


def test_nothing_to_align_is_nothing(aligner: Aligner) -> None:
    assert aligned(aligner, []) == []


def built(
    monkeypatch: pytest.MonkeyPatch, language: str, alphabet: str, tables: Path | None, **options: Any
) -> Aligner:
    """An aligner of a language as the worker builds it, with chance in place of its network."""
    letters = ["-", "|", *sorted({char.lower() for char in alphabet if char.isalpha()})]
    known = {letter: number for number, letter in enumerate(letters)}

    def load(code: str, device: str, **_: Any) -> tuple[Prepared, dict[str, Any]]:
        return Prepared(len(letters)), {"language": code, "dictionary": known, "type": "torchaudio"}

    monkeypatch.setattr(alignment, "load_align_model", load)
    return Aligner(language, None, "cpu", tables, **options)


@pytest.mark.parametrize("language", SAID)
def test_every_language_is_aligned_sentence_by_sentence(monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    sentences = SAID[language].split("|")
    gap = "" if language in WITHOUT_SPACES else " "
    text = f" {gap.join(sentences)}"
    found = aligned(built(monkeypatch, language, text, None), [Segment(1.0, 25.0, text)])
    assert [s.text.strip() for s in found] == sentences
    assert ["".join(w.text for w in s.words) for s in found] == ["".join(s.split()) for s in sentences]
    assert all(w.start <= w.end for s in found for w in s.words)


@pytest.mark.parametrize("language", SAID)
def test_in_parity_every_language_is_aligned_by_whisperx_itself_with_its_tables_and_without(
    monkeypatch: pytest.MonkeyPatch, language: str, tmp_path: Path
) -> None:
    name = punkt_tables(language, as_whisperx=True)
    assert name is not None
    tables(tmp_path, name, ("dr",))
    text = f" {SAID[language].replace('|', ' ')}"
    for folder in (tmp_path, None):
        stock = built(monkeypatch, language, text, folder, parity=True)
        found = aligned(stock, [Segment(1.0, 25.0, text)])
        spans = stock.sentences.spans(text)
        assert stock.sentences.by == ("rules" if folder is None else "punkt")
        assert [s.text for s in found] == [text[a:b] for a, b in spans]
        assert all(s.words for s in found)


@pytest.mark.parametrize("language", ["de", "yue"])
def test_a_language_without_a_model_in_the_set_is_named(language: str) -> None:
    with pytest.raises(ModelNotFound) as missing:
        models().aligner(language)
    assert language in missing.value.message
