"""Where a sentence ends: by Punkt as whisperX asks it, by rules everywhere else, in every language that can be aligned."""

from __future__ import annotations

import itertools
import string
from pathlib import Path

import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sentences import SAID, UNSPACED
from support.stock_punkt import tables
from whisperx.alignment import DEFAULT_ALIGN_MODELS_HF, DEFAULT_ALIGN_MODELS_TORCH
from whisperx.utils import PUNKT_LANGUAGES

from scribe.alignment.sentences import Sentences, punkt_tables
from scribe.schema.languages import LANGUAGES
from scribe.text.sentences import split_by_rules

ALIGNED = sorted({*DEFAULT_ALIGN_MODELS_TORCH, *DEFAULT_ALIGN_MODELS_HF})


def test_the_table_holds_every_language_that_whisperx_can_align() -> None:
    assert set(ALIGNED) <= set(SAID)


@pytest.mark.parametrize("language", SAID)
def test_rules_split_every_language_at_the_ends_of_its_sentences(language: str) -> None:
    sentences = SAID[language].split("|")
    for before, gap in itertools.product(("", " "), ("", " ") if language in UNSPACED else (" ", "  ", "\n")):
        text = before + gap.join(sentences) + " "
        assert [text[a:b].strip() for a, b in split_by_rules(text, language)] == sentences


MARKS = st.sampled_from(list(".?!。।؟۔…;·။።\n\t \u3000\u2028'\"“”«»()[]{}") + ["Dr.", "z.B. ", "1. ", "\n\n", "\ud800"])
TEXTS = st.lists(st.one_of(st.characters(), MARKS, st.sampled_from(string.ascii_letters + " . ")), max_size=80)


@given(st.sampled_from([*sorted(LANGUAGES), "", "xx"]), TEXTS.map("".join))
@settings(max_examples=300, deadline=None)
def test_the_spans_are_in_order_and_leave_out_nothing_but_white_space(language: str, text: str) -> None:
    spans = split_by_rules(text, language)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(start < end for start, end in spans)
    between = zip([0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)], strict=True)
    assert not "".join(text[a:b] for a, b in between).strip()
    assert all(text[b - 1].strip() and (not a or text[a].strip()) for a, b in spans)


@pytest.mark.parametrize("text", ["", " ", "\n \n"])
def test_nothing_said_is_no_sentence(text: str) -> None:
    assert split_by_rules(text, "en") == []


@pytest.mark.parametrize(
    "text", ["Dr. " * 5000, "." * 20000, '"' * 20000, "(" * 20000, "今天。" * 5000, "A. 1. " * 3000]
)
def test_ten_minutes_of_anything_are_split(text: str) -> None:
    assert split_by_rules(text, "de")[-1][1] == len(text.rstrip())


TEXT = " Dr. Smith met Mr. Jones.  He left?! (Really.) It was No. 5 of 3.50. e.g. this\nand that..."


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Tables in which `jones` is an abbreviation and `dr` is none, so that nothing else splits as they do."""
    tables(tmp_path, "english", ("jones",))
    tables(tmp_path, "german", ("met",))
    return tmp_path


def test_with_its_tables_the_answer_is_punkts_as_whisperx_asks_it(own: Path) -> None:
    found = Sentences("en", own)
    stock = nltk.data.load("tokenizers/punkt_tab/english.pickle")
    assert (found.by, found.lacks_tables) == ("punkt", False)
    assert found.spans(TEXT) == list(stock.span_tokenize(TEXT))
    assert [TEXT[a:b] for a, b in found.spans(TEXT)][:2] == [" Dr.", "Smith met Mr."]
    assert [len(Sentences(language, own).spans("Er met. Smith kam.")) for language in ("en", "de")] == [2, 1]


def test_a_language_without_tables_of_its_own_is_split_by_rules_and_in_parity_by_the_english(own: Path) -> None:
    text = SAID["hi"].replace("|", " ")
    assert (Sentences("hi", own).by, len(Sentences("hi", own).spans(text))) == ("rules", 3)
    stock = Sentences("hi", own, as_whisperx=True)
    assert (stock.by, len(stock.spans(text))) == ("punkt", 2)
    assert not Sentences("hi", None).lacks_tables


@pytest.mark.parametrize("language", ["en", "de"])
def test_without_tables_the_rules_split_and_it_is_known(language: str) -> None:
    found = Sentences(language, None)
    assert (found.by, found.lacks_tables) == ("rules", True)
    text = SAID[language].replace("|", " ")
    assert found.spans(text) == split_by_rules(text, language)


def test_the_tables_are_those_of_whisperx() -> None:
    assert {code: punkt_tables(code, as_whisperx=True) for code in LANGUAGES} == {
        code: PUNKT_LANGUAGES.get(code, "english") for code in LANGUAGES
    }
    assert punkt_tables("ja") is None


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\u3000"])
def test_white_space_of_several_bytes_is_white_space(mark: str) -> None:
    text = f"One.{mark}Two.{mark}{mark}Three."
    assert [text[a:b] for a, b in split_by_rules(text, "en")] == ["One.", "Two.", "Three."]
    assert split_by_rules(f"a{mark}", "en") == [(0, 1)]


def test_a_text_at_which_the_library_breaks_off_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    import sentencex

    class PanicException(BaseException):
        """As pyo3 raises it: no Exception."""

    def panic(*_: object) -> None:
        raise PanicException("not a char boundary")

    monkeypatch.setattr(sentencex, "get_sentence_boundaries", panic)
    assert split_by_rules("Eins. Zwei.", "de") == [(0, 11)]
