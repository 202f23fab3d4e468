"""Text that can mean only one thing is taken for it; problems are told in the contract's words, without pydantic's."""

from __future__ import annotations

from typing import Any

import pytest

from scribe.errors import InvalidInput
from scribe.schema.job import JobInput
from scribe.schema.languages import LANGUAGES, language_code
from scribe.schema.parsing import parse

URL = "https://example.com/a.mp3"


def taken(key: str, value: Any) -> Any:
    return getattr(parse({"audio_file": URL, key: value}).options, key)


def problems(**raw: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        parse({"audio_file": URL, **raw})
    return {p["key"]: p["problem"] for p in refused.value.details["problems"]}


@pytest.mark.parametrize(
    ("key", "text", "meant"),
    [
        ("diarization", "true", True),
        ("diarization", " False ", False),
        ("align_output", "yes", True),
        ("debug", "off", False),
        ("num_speakers", "2", 2),
        ("num_speakers", "", None),
        ("deadline_s", "90", 90.0),
        ("temperature", "0.4", 0.4),
        ("formats", "srt", ["srt"]),
        ("formats", "SRT, .vtt", ["srt", "vtt"]),
        ("formats", ["SRT"], ["srt"]),
        ("quality", "Best", "best"),
        ("quality", "", "balanced"),
        ("model", "", None),
        ("initial_prompt", "", ""),
        ("initial_prompt", "true", "true"),
        ("hotwords", "2", "2"),
    ],
)
def test_a_text_that_can_mean_one_thing_is_taken_for_it(key: str, text: Any, meant: Any) -> None:
    assert taken(key, text) == meant


def test_an_empty_address_beside_another_source_is_absent_and_alone_it_is_missing() -> None:
    assert parse({"audio_file": "", "audio_base64": "UklGRg=="}).options.audio_file is None
    assert "required" in problems(audio_file="")["audio_file"]


def test_combinations_are_checked_by_what_the_texts_mean() -> None:
    assert "min_speakers" in problems(min_speakers="4", max_speakers="2")
    assert "speaker_samples" in problems(speaker_verification="true")


@pytest.mark.parametrize(
    ("text", "code", "lost"),
    [
        ("english", "en", ""),
        ("German", "de", ""),
        ("EN", "en", ""),
        ("auto", None, ""),
        ("", None, ""),
        ("iw", "he", ""),
        ("fil-PH", "tl", "fil-PH acts as tl"),
        ("haitian creole", "ht", ""),
        ("en-US", "en", "en-US acts as en"),
        ("pt_BR", "pt", "pt_BR acts as pt"),
        ("zh-CN", "zh", "script"),
        ("zh-Hant", "zh", "script"),
    ],
)
def test_a_language_is_known_by_its_name_and_its_region_is_told_as_lost(text: str, code: str, lost: str) -> None:
    job = parse({"audio_file": URL, "language": text})
    assert job.options.language == code
    assert [n.code for n in job.warnings] == (["option_reduced"] if lost else [])
    assert all(lost in n.message for n in job.warnings)


@pytest.mark.parametrize(
    "text", ["no-preference", "in_english", "de-and-en", "it-does-not-matter", "as-is", "as is", "As_Is"]
)
def test_a_phrase_that_begins_with_a_code_is_no_language(text: str) -> None:
    assert "language" in problems(language=text)


def test_the_names_are_whispers_own() -> None:
    from whisperx.utils import TO_LANGUAGE_CODE

    assert set(TO_LANGUAGE_CODE.values()) == LANGUAGES
    assert {name: language_code(name) for name in TO_LANGUAGE_CODE} == {n: (c, "") for n, c in TO_LANGUAGE_CODE.items()}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"diarization": 1}, {"diarization": "must be true or false, without quotes"}),
        ({"num_speakers": "two"}, {"num_speakers": "must be a whole number"}),
        ({"num_speakers": 500}, {"num_speakers": "must be at most 50"}),
        ({"num_speakers": 2.5}, {"num_speakers": "must be a whole number"}),
        ({"patience": 0}, {"patience": "must be above 0"}),
        ({"patience": float("nan")}, {"patience": "must be a finite number"}),
        ({"formats": 3}, {"formats": 'must be a list: ["srt", "html"]'}),
        ({"formats": ["pdf"]}, {"formats.0": "must be 'json', 'srt', 'vtt', 'tsv', 'txt' or 'html'"}),
        (
            {"speaker_samples": ["a.wav"]},
            {"speaker_samples.0": 'must be an object: {"url": "https://…", "name": "Anna"}'},
        ),
        ({"channel_names": "Anna"}, {"channel_names": 'must be a list: ["Anna", "Mark"]'}),
        (
            {"audio_file": None, "source": "https://h/t.json"},
            {"source": 'must be an object: {"transcript_url": "https://…"}'},
        ),
        ({"result_urls": {"pdf": URL}}, {"result_urls.pdf": "must be 'json', 'srt', 'vtt', 'tsv', 'txt' or 'html'"}),
        ({"initial_prompt": "x" * 1001}, {"initial_prompt": "must have at most 1000 characters"}),
    ],
)
def test_a_problem_is_told_in_the_words_of_the_contract(raw: dict[str, Any], told: dict[str, str]) -> None:
    assert problems(**raw) == told


@pytest.mark.parametrize("key", sorted(JobInput.model_fields.keys() - {"metadata"}))  # which takes any object
def test_no_problem_speaks_pydantics_words(key: str) -> None:
    for value in ([[[]]], {"a": [1]}, "?" * 5000):
        told = " ".join(problems(**{key: value}).values())
        assert not any(word in told for word in ("nput should", "valid ", "instance", "null")), told
