"""The answer: its shape, strict JSON, and never more bytes than RunPod delivers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.schema.result import PREVIEW_SEGMENTS, JobResult, preview, size_of, strict
from scribe.schema.warnings import JobWarning

KEYS = {
    "schema_version",
    "job_id",
    "detected_language",
    "language_probability",
    "duration",
    "segments",
    "segments_total",
    "truncated",
    "partial",
    "speakers",
    "artifacts",
    "warnings",
    "timings",
    "models",
}
often = settings(max_examples=200, deadline=None, derandomize=True)
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.just("\ud83d"),
        st.floats(width=32).map(np.float32),
        st.integers(0, 9).map(np.int64),
        st.booleans().map(np.bool_),
        st.binary(max_size=3),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.none()), inner, max_size=4),
    ),
    max_leaves=12,
)


def segments(count: int, text: str = "Some words here.") -> list[dict[str, Any]]:
    return [
        {"start": n, "end": n + 1, "text": text, "words": [{"word": "Some", "start": n, "end": n + 0.5, "score": 0.9}]}
        for n in range(count)
    ]


def result(count: int = 3, **fields: Any) -> JobResult:
    values = {
        "language": "en",
        "language_probability": None,
        "duration": 3.0,
        "segments": segments(count),
        "speakers": [],
        "job_id": "j",
    }
    return JobResult(**{**values, **fields})


@given(anything)
@often
def test_whatever_goes_in_comes_out_as_strict_json(value: Any) -> None:
    clean = strict(value)
    text = json.dumps(clean, allow_nan=False, ensure_ascii=False)
    assert json.loads(text.encode("utf-8")) == clean
    assert strict(clean) == clean


def test_nan_and_infinity_become_null_wherever_they_are() -> None:
    answer = result(
        segments=[{"start": math.nan, "text": "x"}], language_probability=math.inf, timings={"a": 0.5}
    ).to_dict(10**6)
    assert answer["segments"] == [{"start": None, "text": "x"}]
    assert answer["language_probability"] is None


def test_an_answer_has_every_key_of_the_contract_and_no_other() -> None:
    assert set(result().to_dict(10**6)) == KEYS
    assert set(result(text="a", debug={"x": 1}).to_dict(10**6)) == KEYS | {"transcription", "debug"}


@pytest.mark.parametrize(
    ("inline", "count", "shown", "truncated"),
    [
        ("full", 80, 80, False),
        ("preview", 80, PREVIEW_SEGMENTS, True),
        ("preview", 3, 3, False),
        ("none", 3, 0, True),
        ("none", 0, 0, False),
    ],
)
def test_inline_says_how_many_segments_travel(inline: str, count: int, shown: int, truncated: bool) -> None:
    answer = result(count, inline=inline).to_dict(10**7)
    assert (len(answer["segments"]), answer["segments_total"], answer["truncated"]) == (shown, count, truncated)
    assert all(("words" in s) is (inline == "full") for s in answer["segments"])


def test_a_preview_has_neither_words_nor_characters() -> None:
    assert preview([{"text": "x", "words": [1], "chars": [2]}]) == [{"text": "x"}]


def test_an_answer_over_the_limit_shrinks_to_the_preview_and_says_so() -> None:
    full = result(2000, inline="full", artifacts={"json": {"key": "k", "bytes": 1, "url": None, "expires_at": None}})
    answer = full.to_dict(100_000)
    assert size_of(answer) <= 100_000
    assert len(answer["segments"]) == PREVIEW_SEGMENTS
    assert (answer["segments_total"], answer["truncated"]) == (2000, True)
    (warning,) = answer["warnings"]
    assert warning["code"] == "result_truncated"
    assert "artifacts" in warning["message"]


def test_without_artifacts_the_warning_tells_how_to_get_the_rest() -> None:
    (warning,) = result(2000, inline="full").to_dict(50_000)["warnings"]
    assert "storage" in warning["message"]


def test_an_answer_within_the_limit_is_not_touched() -> None:
    exact = size_of(result(60, inline="full").to_dict(10**7))
    assert result(60, inline="full").to_dict(exact)["warnings"] == []
    assert [w["code"] for w in result(60, inline="full").to_dict(exact - 1)["warnings"]] == ["result_truncated"]


def test_texts_travel_whole_and_the_largest_is_left_out_first() -> None:
    texts = {"html": "h" * 9000, "srt": "s" * 3000, "txt": "t" * 1000}
    whole = result(10, inline="full", texts=texts).to_dict(10**6)
    assert (whole["texts"], whole["warnings"]) == (texts, [])
    less = result(10, inline="full", texts=texts).to_dict(size_of(whole) - 1)
    assert set(less["texts"]) == {"srt", "txt"}
    assert len(less["segments"]) == 10
    (warning,) = less["warnings"]
    assert warning["code"] == "result_truncated"
    assert "10 of 10 segments are inline; html are left out" in warning["message"]
    assert result(900, inline="full", texts=texts).to_dict(10_000)["texts"] == {
        "srt": texts["srt"],
        "txt": texts["txt"],
    }


@given(
    st.integers(0, 300),
    st.sampled_from(["x", "ü" * 50, "\U0001f600" * 400, '"\\\n' * 60]),
    st.sampled_from(["full", "preview", "none"]),
    st.integers(10_000, 60_000),
)
@often
def test_an_answer_is_never_larger_than_it_may_be(count: int, text: str, inline: str, limit: int) -> None:
    answer = result(
        count, segments=segments(count, text), inline=inline, text=text * 10, texts={"srt": text * 99}
    ).to_dict(limit)
    assert len(json.dumps(answer, ensure_ascii=False).encode("utf-8")) <= limit
    assert answer["segments_total"] == count
    assert answer["truncated"] is (len(answer["segments"]) < count)


def test_many_embeddings_and_warnings_give_way_and_the_truncation_is_still_told() -> None:
    print_ = {"model": "ecapa@1", "dimension": 192, "seconds": 9.0, "vector": [0.123456] * 192}
    speakers = [
        {"label": f"SPEAKER_{n:02}", "name": f"N{n}", "score": 0.5, "seconds": 9.0, "embedding": print_}
        for n in range(20)
    ]
    warnings = [
        JobWarning("sample_unusable", "name", f"the sample of 'person {n}' cannot be used: " + "x" * 60)
        for n in range(20)
    ]
    answer = result(500, inline="full", speakers=speakers, warnings=warnings).to_dict(10_000)
    assert size_of(answer) <= 10_000
    assert [s["label"] for s in answer["speakers"]] == [s["label"] for s in speakers]
    assert "result_truncated" in [w["code"] for w in answer["warnings"]]


def test_the_size_is_counted_in_bytes_of_utf_8() -> None:
    assert size_of({"a": "ü€"}) == len('{"a": "ü€"}'.encode())
