"""The public contract of a job's input: a checked job, or one error that lists every problem; never anything else."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.errors import InvalidInput
from scribe.schema.aliases import ALIASES, WITHOUT_EFFECT
from scribe.schema.job import BEAM_OF_QUALITY, JobInput, fingerprint
from scribe.schema.languages import LANGUAGES
from scribe.schema.parsing import parse
from scribe.schema.result import strict

URL = "https://example.com/a.mp3"
SAMPLE = {"url": "https://example.com/anna.flac"}
OPTIONS = sorted({*JobInput.model_fields, *ALIASES, *WITHOUT_EFFECT, "transcription", "translate", "word_timestamps"})
often = settings(max_examples=400, deadline=None, derandomize=True)

numbers = st.one_of(
    st.integers(),
    st.integers(min_value=10**30, max_value=10**400),
    st.floats(),
    st.sampled_from([0, 1, 5, 0.5, -1, 1e308]),
)
texts = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(), max_size=5),
    st.sampled_from(["", "en", "json", "\ud800", "\x00", URL]),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(texts, st.sampled_from(["url", "name", "audio_base64", "embedding", "model", "vector", "json"])),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
inputs = st.dictionaries(st.one_of(st.sampled_from(OPTIONS), texts), values, max_size=8)


def check_refusal(refused: InvalidInput, under: str = "") -> None:
    """A refusal lists its problems and can be sent as strict JSON."""
    listed = refused.details["problems"]
    assert listed
    assert all(isinstance(p["key"], str) and p["problem"] and p["key"].startswith(under) for p in listed)
    assert len(refused.message) <= 2000
    json.dumps(strict(refused.to_dict()), allow_nan=False).encode("utf-8")


def problems(raw: object, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        parse(raw, **more)
    return {p["key"]: p["problem"] for p in refused.value.details["problems"]}


@given(st.one_of(values, inputs, inputs.map(lambda raw: {"audio_file": URL, **raw})))
@often
def test_any_input_is_a_job_or_a_list_of_problems(raw: object) -> None:
    try:
        job = parse(raw)
    except InvalidInput as refused:
        check_refusal(refused)
    else:
        assert 1 <= job.options.beam <= 10
        assert all(n.message for n in job.warnings)
        assert len(fingerprint(raw, {})) == 16


@given(st.dictionaries(st.sampled_from(sorted(JobInput.model_fields)), leaves, max_size=6))
@often
def test_any_values_of_the_known_keys_are_taken_or_refused(raw: dict[str, Any]) -> None:
    try:
        job = parse({"audio_file": URL, **raw})
    except InvalidInput:
        return
    for key, value in job.options.model_dump().items():
        if isinstance(value, float):
            assert math.isfinite(value), key


@given(st.one_of(st.none(), values))
@often
def test_any_s3config_is_taken_or_refused(config: object) -> None:
    try:
        parse({"audio_file": URL}, s3_config=config)
    except InvalidInput as refused:
        check_refusal(refused, "s3Config")


@pytest.mark.parametrize("raw", [None, [], "x", 3, True, [{"audio_file": URL}]])
def test_an_input_that_is_no_object_is_told_what_is_missing(raw: object) -> None:
    assert set(problems(raw)) == {"input", "audio_file"}


def test_the_least_job_is_an_address() -> None:
    job = parse({"audio_file": URL})
    assert job.plan.stages == ("fetch", "decode", "transcribe", "publish")
    options = job.options
    assert (options.task, options.beam, options.align_output, options.diarization, options.formats, job.warnings) == (
        "transcribe",
        5,
        False,
        False,
        None,
        (),
    )


def test_all_problems_come_at_once() -> None:
    found = problems(
        {
            "language": "xx",
            "batch_size": 0,
            "beam_size": 2.5,
            "patience": 0,
            "task": "sing",
            "min_speakers": 4,
            "max_speakers": 2,
            "num_speakers": 3,
            "speaker_verification": True,
            "formats": ["pdf"],
            "colour": "red",
            "strict": "maybe",
        }
    )
    assert set(found) == {
        "audio_file",
        "language",
        "batch_size",
        "beam_size",
        "patience",
        "task",
        "min_speakers",
        "num_speakers",
        "speaker_samples",
        "formats.0",
        "colour",
        "strict",
    }


def test_problems_name_the_place_inside_a_list() -> None:
    found = problems(
        {
            "audio_file": URL,
            "speaker_verification": True,
            "speaker_samples": [SAMPLE, {"name": "A"}, {**SAMPLE, "nane": "B"}],
        }
    )
    assert any(key.startswith("speaker_samples.1") for key in found)
    assert "speaker_samples.2.nane" in found


@pytest.mark.parametrize(
    "key", ["batch_size", "beam_size", "num_speakers", "chunk_size", "language_detection_max_tries", "max_line_width"]
)
@pytest.mark.parametrize("value", [True, "5.5", "five", "9" * 30, 5.5, math.nan, math.inf, None.__class__, [5]])
def test_only_an_integer_is_an_integer(key: str, value: object) -> None:
    assert key in problems({"audio_file": URL, key: value})


@pytest.mark.parametrize(
    "key", ["patience", "vad_onset", "speaker_threshold", "length_penalty", "deadline_s", "temperature"]
)
@pytest.mark.parametrize("value", [True, "0,5", "nan", "inf", math.nan, math.inf, -math.inf, 1e400])
def test_only_a_finite_number_is_a_number(key: str, value: object) -> None:
    assert key in problems({"audio_file": URL, key: value})


@pytest.mark.parametrize(
    "key", ["align_output", "diarization", "strict", "debug", "suppress_numerals", "highlight_words"]
)
@pytest.mark.parametrize("value", [1, 0, "1", "truth", [True]])
def test_only_a_boolean_is_a_boolean(key: str, value: object) -> None:
    assert key in problems({"audio_file": URL, key: value})


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("batch_size", [1, 128], [0, 129]),
        ("beam_size", [1, 10], [0, 11]),
        ("patience", [0.01, 2], [0, 2.01]),
        ("length_penalty", [0, 2], [-0.1, 2.1]),
        ("repetition_penalty", [1, 2], [0.9, 2.1]),
        ("no_repeat_ngram_size", [0, 10], [-1, 11]),
        ("chunk_size", [1, 30], [0, 31]),
        ("language_detection_min_prob", [0, 1], [-0.1, 1.1]),
        ("language_detection_max_tries", [1, 20], [0, 21]),
        ("num_speakers", [1, 50], [0, 51]),
        ("speaker_threshold", [-1, 1], [-1.1, 1.1]),
        ("max_line_width", [10, 200], [9, 201]),
        ("max_line_count", [1, 4], [0, 5]),
        ("initial_prompt", ["", "x" * 1000], ["x" * 1001]),
        ("hotwords", ["x" * 1000], ["x" * 1001]),
    ],
)
def test_ranges_are_as_the_contract_says(key: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        assert getattr(parse({"audio_file": URL, key: value}).options, key) == value
    for value in outside:
        assert set(problems({"audio_file": URL, key: value})) == {key}


def test_languages_are_the_models_own_list() -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(_LANGUAGE_CODES) == LANGUAGES


@pytest.mark.parametrize("language", ["klingon", "xx", "xx-YY", "en-a very long variant", "x-en", 5])
def test_what_whisper_has_no_language_for_is_refused(language: object) -> None:
    assert set(problems({"audio_file": URL, "language": language})) == {"language"}


def test_a_language_that_is_refused_comes_with_a_way_out_and_without_json_words() -> None:
    told = problems({"audio_file": URL, "language": "klingon"})["language"]
    assert told.endswith("leave it out to have it detected")
    assert "null" not in told


def test_subtitles_that_mark_words_without_alignment_are_told_whose_times_those_are() -> None:
    told = {"audio_file": URL, "formats": ["srt"], "highlight_words": True}
    assert [n.code for n in parse(told).warnings] == ["option_reduced"]
    assert parse(told | {"align_output": True}).warnings == ()


def test_a_refusal_beyond_the_parser_lists_its_problem_too() -> None:
    refused = InvalidInput("audio_base64 holds no data", {"key": "audio_base64"})
    assert refused.details == {"problems": [{"key": "audio_base64", "problem": "audio_base64 holds no data"}]}


@pytest.mark.parametrize(
    "audio",
    [{}, {"audio_file": None}, {"audio_file": URL, "audio_base64": "AA=="}, {"audio": URL, "audio_base_64": "AA=="}],
)
def test_exactly_one_recording_is_wanted(audio: dict[str, Any]) -> None:
    assert "audio_file" in problems(audio)


def test_base64_over_the_limit_is_refused_before_anything_is_decoded_also_in_a_sample() -> None:
    raw = {
        "audio_base64": "A" * 101,
        "speaker_verification": True,
        "speaker_samples": [{"name": "A", "audio_base64": "A" * 101}],
    }
    assert set(problems(raw, max_base64_bytes=100)) == {"audio_base64", "speaker_samples.0.audio_base64"}


def test_more_than_twenty_samples_are_refused() -> None:
    assert "speaker_samples" in problems(
        {"audio_file": URL, "speaker_verification": True, "speaker_samples": [SAMPLE] * 21}
    )


@pytest.mark.parametrize("quality", BEAM_OF_QUALITY)
def test_quality_is_a_beam_that_an_own_beam_overrides(quality: str) -> None:
    assert parse({"audio_file": URL, "quality": quality}).options.beam == BEAM_OF_QUALITY[quality]
    assert parse({"audio_file": URL, "quality": quality, "beam_size": 3}).options.beam == 3


def test_naming_speakers_separates_them_and_says_so() -> None:
    job = parse({"audio_file": URL, "speaker_verification": True, "speaker_samples": [SAMPLE]})
    assert job.plan.diarize
    assert [n.code for n in job.warnings] == ["diarization_implied"]


@pytest.mark.parametrize(
    "options",
    [
        {"channel_names": ["A"]},
        {"num_speakers": 2},
        {"max_speakers": 2},
        {"return_speaker_embeddings": True},
        {"speaker_samples": [SAMPLE]},
        {"speaker_threshold": 0.4},
        {"return_char_alignments": True},
        {"interpolate_method": "linear"},
        {"channels": "split", "diarization": True},
        {"channels": "split", "num_speakers": 2},
        {"channels": "split", "return_speaker_embeddings": True},
    ],
)
def test_an_option_that_cannot_act_is_answered_by_a_warning(options: dict[str, Any]) -> None:
    notices = parse({"audio_file": URL, **options}).warnings
    assert {n.code for n in notices} == {"option_ignored"}
    assert any(key in n.message for n in notices for key in options)


@pytest.mark.parametrize(
    "options",
    [
        {"diarization": True, "num_speakers": 2},
        {"diarization": True, "return_speaker_embeddings": True, "interpolate_method": "linear"},
        {"align_output": True, "interpolate_method": "linear", "return_char_alignments": True},
        {"channels": "split", "channel_names": ["A"]},
        {"temperature": None},
        {
            "temperature": 0.2,
            "compression_ratio_threshold": 2.0,
            "log_prob_threshold": -0.5,
            "no_speech_threshold": 0.5,
        },
        {"diarization": False, "num_speakers": None},
        {"channels": "split", "align_output": True},
    ],
)
def test_an_option_that_acts_is_not_warned_of(options: dict[str, Any]) -> None:
    assert parse({"audio_file": URL, **options}).warnings == ()


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    one = {"audio_file": URL, "speaker_samples": [{"url": "u", "name": "n"}]}
    other = {"speaker_samples": [{"name": "n", "url": "u"}], "audio_file": URL}
    assert fingerprint(one, {"a": "1", "b": "2"}) == fingerprint(other, {"b": "2", "a": "1"})


@given(st.dictionaries(texts, values, max_size=3), st.dictionaries(texts, values, max_size=3))
@often
def test_different_inputs_have_different_fingerprints(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one, {}) == fingerprint(other, {})) is same


def test_another_model_or_option_has_another_fingerprint() -> None:
    raw = {"audio_file": URL}
    marks = [
        fingerprint(raw, {"transcribe": "a@1"}),
        fingerprint(raw, {"transcribe": "a@2"}),
        fingerprint({**raw, "beam_size": 1}, {"transcribe": "a@1"}),
    ]
    assert len(set(marks)) == 3
