"""What travels in the answer without a storage: the whole where it was asked for, else a preview that says what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from scribe.jobs.inline import inline_mode, inline_warnings
from scribe.schema.parsing import JobRequest, parse


def asked(**options: Any) -> JobRequest:
    return parse({"audio_file": "https://example.com/a.mp3", **options})


def segments(count: int, words: bool = False) -> list[dict[str, Any]]:
    return [{"text": f"Sentence {n}.", **({"words": [{}]} if words else {})} for n in range(count)]


def told(options: dict[str, Any], count: int = 60, words: bool = False, **place: Any) -> list[tuple[str, str]]:
    """(code, message) of each warning for a job with these options."""
    task = asked(**options)
    stored, homeless = place.get("stored", False), place.get("homeless", [])
    mode = inline_mode(task.options.inline, place.get("default"), stored, homeless)
    return [(n.code, n.message) for n in inline_warnings(task, mode, stored, homeless, segments(count, words))]


@pytest.mark.parametrize(
    ("options", "default", "stored", "homeless", "mode"),
    [
        ({}, None, False, [], "preview"),
        ({}, None, True, [], "none"),
        ({}, "full", False, [], "full"),
        ({}, "preview", False, ["json"], "full"),
        ({}, None, False, ["srt"], "preview"),
        ({"inline": "preview"}, "full", False, ["json"], "preview"),
    ],
)
def test_the_job_decides_then_a_json_without_a_place_then_the_endpoint(
    options: dict[str, Any], default: str | None, stored: bool, homeless: list[str], mode: str
) -> None:
    assert inline_mode(asked(**options).options.inline, default, stored, homeless) == mode


@pytest.mark.parametrize(
    ("count", "words", "sentence"),
    [
        (176, True, "only the first 50 of 176 segments are in this answer, without words, because"),
        (51, False, "only the first 50 of 51 segments are in this answer, because"),
        (22, True, "the segments are in this answer without their words, because"),
    ],
)
def test_a_preview_that_leaves_something_out_says_how_much_and_how_to_get_it(
    count: int, words: bool, sentence: str
) -> None:
    ((code, message),) = told({}, count, words)
    assert code == "preview_only"
    assert message.startswith(sentence)
    assert "`inline: full`" in message
    assert "INLINE_DEFAULT" in message


@pytest.mark.parametrize(
    ("options", "count", "place"),
    [
        ({}, 50, {}),
        ({"inline": "preview"}, 60, {}),
        ({"inline": "full"}, 60, {}),
        ({}, 60, {"stored": True}),
        ({}, 60, {"stored": True, "default": "preview"}),
        ({}, 60, {"default": "full"}),
    ],
)
def test_nothing_is_said_where_nothing_is_missing_or_a_preview_was_asked_for(
    options: dict[str, Any], count: int, place: dict[str, Any]
) -> None:
    assert told(options, count, **place) == []


def test_formats_without_a_storage_are_told_where_they_are() -> None:
    ((code, message),) = told({}, homeless=["json", "srt", "html"])
    assert code == "storage_not_configured"
    assert message.startswith("json, srt, html: ")
    assert "the text files are under `texts`, the transcript is under `segments`" in message
    ((_, message),) = told({"inline": "none"}, homeless=["json"])
    assert "`inline: full`" in message
    assert "texts" not in message
