"""Other workers' keys: each acts, or is answered by a sentence that it does nothing."""

from __future__ import annotations

from typing import Any

import pytest

from scribe.formats import TextOptions, inline_text
from scribe.schema.aliases import ALIASES, TEXTS, WITHOUT_EFFECT, translate
from scribe.schema.parsing import parse
from scribe.transcript import Segment, Transcript

URL = "https://example.com/a.mp3"


@pytest.mark.parametrize(("alias", "key"), ALIASES.items())
def test_an_alias_is_the_key_that_it_stands_for(alias: str, key: str) -> None:
    assert translate({alias: "x"}) == ({key: "x"}, [], None)


def test_a_key_beside_its_alias_stays_so_that_the_alias_is_refused() -> None:
    assert translate({"audio_file": "a", "audio": "b"})[0] == {"audio_file": "a", "audio": "b"}
    assert translate({"audio": "a", "audio_url": "b"})[0] == {"audio_file": "a", "audio_url": "b"}


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_a_key_without_effect_is_accepted_with_any_value_and_named_in_a_warning(key: str) -> None:
    for value in (None, True, 0.5, "text", [1], {"a": 1}):
        job = parse({"audio": URL, key: value})
        assert [n.code for n in job.warnings] == ["option_ignored"]
        assert key in job.warnings[0].message


def test_a_token_in_the_job_is_neither_kept_nor_shown() -> None:
    secret = "hf_AbCdEfGhIjKlMnOpQrSt"
    job = parse({"audio": URL, "huggingface_access_token": secret})
    assert secret not in repr(job) + job.options.model_dump_json() + str([n.to_dict() for n in job.warnings])
    assert "HF_TOKEN" in job.warnings[0].message


@pytest.mark.parametrize("name", TEXTS)
def test_transcription_asks_for_one_more_inline_text(name: str) -> None:
    assert parse({"audio": URL, "transcription": name}).inline_text == name


def test_plain_text_is_its_sentences_in_a_row_and_formatted_text_one_a_line() -> None:
    told = Transcript("en", 9.0, (Segment(0.0, 2.0, " One. "), Segment(2.0, 4.0, " Two. ")))
    assert [inline_text(name, told, TextOptions()) for name in TEXTS[:2]] == ["One. Two.", "One.\nTwo."]


@pytest.mark.parametrize("keys", [{"translate": True}, {"task": "translate"}, {"translate": True, "task": "translate"}])
def test_translate_acts_as_the_task(keys: dict[str, Any]) -> None:
    assert parse({"audio": URL, **keys}).options.task == "translate"


def test_our_own_key_wins_over_theirs_in_any_order() -> None:
    for raw in ({"task": "transcribe", "translate": True}, {"translate": True, "task": "transcribe"}):
        job = parse({"audio": URL, **raw})
        assert job.options.task == "transcribe"
        assert [n.message for n in job.warnings] == ["translate does nothing beside task"]
    for raw in ({"align_output": False, "word_timestamps": True}, {"word_timestamps": True, "align_output": False}):
        job = parse({"audio": URL, **raw})
        assert job.options.align_output is False
        assert [n.message for n in job.warnings] == ["word_timestamps does nothing beside align_output"]


@pytest.mark.parametrize(
    ("key", "value"), [("transcription", "html5"), ("transcription", 3), ("translate", "yes"), ("word_timestamps", 1)]
)
def test_a_value_that_their_worker_would_not_take_is_refused(key: str, value: object) -> None:
    from scribe.errors import InvalidInput

    with pytest.raises(InvalidInput) as refused:
        parse({"audio": URL, key: value})
    assert [p["key"] for p in refused.value.details["problems"]] == [key]


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("key", ["audio", "audio_url", "transcription", "translate", "word_timestamps"])
def test_another_workers_key_that_is_empty_is_absent(key: str, value: object) -> None:
    assert translate({"audio_file": "https://h/a.mp3", key: value}) == ({"audio_file": "https://h/a.mp3"}, [], None)


def test_another_workers_switch_that_comes_as_text_acts() -> None:
    assert translate({"word_timestamps": "true", "translate": "False"})[0] == {"align_output": True}
