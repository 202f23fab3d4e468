"""The table of a job's keys as the contract has it, the job files that show them, and malformed input at every depth."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.errors import InvalidInput
from scribe.schema.aliases import ALIASES, TEXTS, WITHOUT_EFFECT
from scribe.schema.job import JobInput, Source
from scribe.schema.parsing import JobRequest, parse
from scribe.schema.result import strict
from scribe.schema.s3_config import S3Config
from scribe.schema.speaker_sample import Embedding, SpeakerSample

FOLDER = Path(__file__).resolve().parents[2] / "samples" / "jobs"
FILES = {p.name: json.loads(p.read_text("utf-8")) for p in FOLDER.glob("*.json") if p.name != "schema.json"}
URL = "https://example.com/a.mp3"
FOREIGN = {*WITHOUT_EFFECT, "transcription", "translate", "word_timestamps"}
ACCEPTED = {*JobInput.model_fields, *ALIASES, *FOREIGN}
often = settings(max_examples=1000, deadline=None, derandomize=True)

# Every key: its default, values inside the contract, values outside it.
TABLE: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "audio_file": (None, [URL, "x" * 4096], [5, "x" * 4097, [URL]]),
    "audio_base64": (None, [], [b"", 5]),
    "source": (None, [], ["https://h/t.json", {}, {"transcript_url": 5}, {"transcript_url": URL, "x": 1}]),
    "language": (None, ["EN", "auto", "english", "zh-CN", "en", "yue"], ["klingon", "x-en", 5]),
    "task": ("transcribe", ["translate"], ["sing", None, True]),
    "model": (None, ["small"], [5, "x" * 201]),
    "quality": ("balanced", ["fast", "best"], ["good", 1]),
    "batch_size": (None, [1, 128], [0, 129, 1.5, True]),
    "beam_size": (None, ["5", 1, 10], [0, 11, "5.5", "11", "five"]),
    "patience": (1.0, [0.01, 2], [0, 2.01, math.nan, True]),
    "length_penalty": (1.0, [0, 2], [-0.01, 2.01]),
    "repetition_penalty": (1.0, [1, 2], [0.99, 2.01]),
    "no_repeat_ngram_size": (0, [0, 10], [-1, 11, 2.5]),
    "initial_prompt": (None, ["", "x" * 1000], ["x" * 1001, ["x"]]),
    "hotwords": (None, ["", "x" * 1000], ["x" * 1001, ["x"]]),
    "suppress_numerals": (False, ["true", "False", True], [1, "1", "maybe", None]),
    "temperature": (None, [0, 1], [-0.1, 1.1, [0, 0.2]]),
    "compression_ratio_threshold": (None, [0.1, 10], [0, 10.1]),
    "log_prob_threshold": (None, [-10, 0], [-10.1, 0.1]),
    "no_speech_threshold": (None, [0, 1], [-0.1, 1.1]),
    "vad_method": (None, ["pyannote", "silero"], ["webrtc", 1]),
    "vad_onset": (None, ["0.5", 0.01, 0.99], [0, 1, "0,5", "1e-1"]),
    "vad_offset": (None, [0.01, 0.99], [0, 1, True]),
    "chunk_size": (None, [1, 30], [0, 31, 15.5]),
    "language_detection_min_prob": (0.0, [0, 1], [-0.1, 1.1]),
    "language_detection_max_tries": (5, [1, 20], [0, 21, 1.5]),
    "align_output": (False, ["yes", True], [1, "maybe"]),
    "interpolate_method": ("nearest", ["linear", "ignore"], ["cubic", None]),
    "return_char_alignments": (False, [True], [0]),
    "diarization": (False, [True], [1]),
    "num_speakers": (None, [1, 50], [0, 51, 2.0]),
    "min_speakers": (None, [1, 50], [0, 51, True]),
    "max_speakers": (None, ["2", 1, 50], [0, 51, "51"]),
    "speaker_verification": (False, ["false"], [1, "perhaps"]),
    "speaker_samples": ([], [[{"url": URL}] * 20], [[{"url": URL}] * 21, {"url": URL}, [{}], [5]]),
    "speaker_threshold": (None, [-1, 1], [-1.1, 1.1, math.inf]),
    "speaker_margin": (None, [0, 2], [-0.1, 2.1, math.nan]),
    "return_speaker_embeddings": (False, [True], [1]),
    "channels": ("mix", ["split"], ["left", 2]),
    "channel_names": ([], [["A"] * 16], [["A"] * 17, "A", [1]]),
    "formats": (
        None,
        [[], ["json", "srt", "vtt", "tsv", "txt", "html"], "srt, .VTT"],
        [["pdf"], "json,pdf", ["json"] * 7],
    ),
    "inline": (None, ["preview", "full", "none"], ["all", True]),
    "result_urls": ({}, [{"srt": URL}], [{"pdf": URL}, [URL], {"srt": 5}]),
    "max_line_width": (42, [10, 200], [9, 201]),
    "max_line_count": (2, [1, 4], [0, 5]),
    "highlight_words": (False, [True], ["maybe"]),
    "subtitle_speakers": (None, ["name", "dash", "every", "none"], ["names"]),
    "max_chars_per_second": (20, [5, 60], [4, 61, "fast"]),
    "mark_suspect": (True, [False], ["marked"]),
    "txt_times": (True, [False], ["never"]),
    "deadline_s": (None, [0.1, 604800], [0, -1, 604801, math.inf, True]),
    "metadata": (None, [{}, {"ticket": [1, None, "ü"]}, {"x": "y" * 4000}], [{"x": "y" * 4096}, [1], "text"]),
    "debug": (None, [True, False], [1, "1"]),
    "strict": (False, [True], [1]),
}


def keys_of(job: dict[str, Any]) -> set[str]:
    return set(job["input"])


def test_the_table_has_every_key_and_its_default() -> None:
    job = JobInput()
    assert {name: default for name, (default, *_) in TABLE.items()} == job.model_dump()


@pytest.mark.parametrize("key", TABLE)
def test_a_key_takes_what_is_inside_its_range_and_names_itself_when_it_is_outside(key: str) -> None:
    _, inside, outside = TABLE[key]
    base = {} if key in ("audio_file", "audio_base64", "source") else {"audio_file": URL}
    for value in inside:
        parse({**base, key: value})
    for value in outside:
        with pytest.raises(InvalidInput) as refused:
            parse({**base, key: value})
        assert key in {p["key"].split(".")[0] for p in refused.value.details["problems"]}, value


def test_the_job_files_show_every_key_every_alias_and_every_key_of_other_workers() -> None:
    written = set().union(*(keys_of(job) for job in FILES.values()))
    shown = written | {ALIASES[key] for key in written & set(ALIASES)}
    assert ACCEPTED - shown == set()
    assert any("s3Config" in job for job in FILES.values())


@pytest.mark.parametrize("name", FILES)
def test_a_job_file_is_accepted_as_it_is_and_listed_in_the_folders_readme(name: str) -> None:
    job = FILES[name]
    parse(job["input"], s3_config=job.get("s3Config"))
    assert f"| `{name}` |" in (FOLDER / "README.md").read_text("utf-8")


def test_the_stored_transcript_beside_the_job_files_is_one() -> None:
    from scribe.formats.json import from_dict

    stored = json.loads((FOLDER / "stored" / "transcript.json").read_text("utf-8"))
    assert [s.name for s in from_dict(stored).speakers] == ["Anna", "Mark"]


@pytest.mark.parametrize(
    "options",
    [
        {"quality": "best", "beam_size": 3},
        {"quality": "fast", "patience": 1.5},
        {"beam_size": 1, "length_penalty": 0.5},
        {"language": "en", "language_detection_min_prob": 0.5},
        {"language": "en", "language_detection_max_tries": 2},
        {"max_line_width": 30},
        {"formats": ["json", "html"], "max_line_count": 1},
        {"formats": ["txt"], "highlight_words": True},
        {"formats": ["txt"], "subtitle_speakers": "dash"},
        {"formats": ["json", "html"], "mark_suspect": False},
        {"formats": ["srt"], "txt_times": False},
        {"speaker_margin": 0.2},
        {"channels": "split", "channel_names": ["A"], "min_speakers": 2},
    ],
)
def test_an_option_that_another_one_overrides_is_answered_by_one_warning(options: dict[str, Any]) -> None:
    (notice,) = parse({"audio_file": URL, **options}).warnings
    assert notice.code == "option_ignored"
    assert notice.message.split()[0] in options


@pytest.mark.parametrize(
    "options",
    [
        {"quality": "best"},
        {"quality": "balanced", "beam_size": 3, "patience": 1.5, "length_penalty": 0.9},
        {"language": "en", "language_detection_max_tries": 5},
        {"formats": ["vtt"], "max_line_width": 30, "highlight_words": True, "align_output": True},
        {"result_urls": {"srt": URL}, "max_line_count": 1},
        {"transcription": "srt", "max_line_width": 30},
        {"max_line_width": 42},
        {"formats": ["txt"], "mark_suspect": False, "txt_times": False},
        {"formats": ["srt"], "max_chars_per_second": 17, "subtitle_speakers": "every"},
        {"temperature": 0},
    ],
)
def test_an_option_that_acts_or_asks_for_the_default_is_not_warned_of(options: dict[str, Any]) -> None:
    assert parse({"audio_file": URL, **options}).warnings == ()


def test_with_a_stored_transcript_every_option_of_recognition_is_answered_once() -> None:
    from scribe.schema.ignored_options import OF_RECOGNITION

    given_ = {name: TABLE[name][1][-1] for name in sorted(OF_RECOGNITION - {"num_speakers"}) if TABLE[name][1]}
    job = parse({"source": {"transcript_url": URL}, **given_})
    told = [n.message.split()[0] for n in job.warnings]
    changed = {name for name, value in given_.items() if value != TABLE[name][0]}
    assert sorted(told) == sorted(changed)


def test_a_million_unknown_keys_cost_no_more_than_twenty() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse({f"key{n}": n for n in range(1_000_000)})
    assert len(refused.value.details["problems"]) <= 50
    assert "audio_file" in {p["key"] for p in refused.value.details["problems"]}


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.integers(min_value=10**300, max_value=10**400),
    st.text(max_size=8),
    st.sampled_from([URL, "", "\ud800", "\x00", "https://[", "s3://b/k", "A" * 70, "data:,x"]),
)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def shaped(*kinds: type[Any], **inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the keys of these models, now and then another, and any values; `inner` gives some keys their own."""
    names = sorted({field.alias or name for kind in kinds for name, field in kind.model_fields.items()})
    keys = {name: st.one_of(inner[name], leaves) if name in inner else anything for name in names}
    some = st.fixed_dictionaries({}, optional=keys)
    return st.one_of(
        some, st.builds(lambda a, b: {**b, **a}, some, st.dictionaries(st.text(max_size=5), leaves, max_size=2))
    )


vectors = st.lists(st.one_of(st.floats(), leaves), max_size=12)
embeddings = shaped(Embedding, vector=vectors)
samples = shaped(SpeakerSample, embedding=embeddings)
sources = shaped(Source)
configs = st.one_of(anything, shaped(S3Config))
urls = st.dictionaries(st.one_of(st.sampled_from([*TEXTS, "json"]), st.text(max_size=5)), leaves, max_size=4)


def answered(raw: object, **more: Any) -> JobRequest | None:
    """The job, or None after a refusal that lists its problems in strict JSON; anything else fails the test."""
    try:
        return parse(raw, **more)
    except InvalidInput as refused:
        listed = refused.details["problems"]
        assert listed
        assert all(isinstance(p["key"], str) and p["key"] and p["problem"] for p in listed)
        json.dumps(strict(refused.to_dict()), allow_nan=False).encode("utf-8")
        return None


@given(st.lists(st.one_of(samples, leaves), max_size=4))
@often
def test_any_voice_samples_are_taken_or_refused(voices: list[Any]) -> None:
    job = answered({"audio_file": URL, "speaker_verification": True, "speaker_samples": voices})
    for sample in job.options.speaker_samples if job else ():
        assert sample.display_name
        assert sample.embedding is None or all(map(math.isfinite, sample.embedding.vector))


@given(st.one_of(sources, leaves))
@often
def test_any_source_is_taken_or_refused(source: Any) -> None:
    job = answered({"source": source})
    assert job is None or job.options.source is not None


@given(urls, st.one_of(anything, st.lists(st.one_of(st.sampled_from(["json", "srt"]), leaves), max_size=7)))
@often
def test_any_targets_and_formats_are_taken_or_refused(targets: dict[str, Any], formats: Any) -> None:
    answered({"audio_file": URL, "result_urls": targets, "formats": formats})


@given(configs)
@often
def test_any_bucket_is_taken_or_refused_without_showing_its_secret(config: Any) -> None:
    job = answered({"audio_file": URL}, s3_config=config)
    if job is not None and job.s3_config is not None:
        assert repr(job.s3_config).count("SecretStr('**********')") == 2


@given(st.dictionaries(st.sampled_from(sorted(ACCEPTED)), anything, max_size=10), configs)
@settings(parent=often, max_examples=1500)
def test_any_job_is_taken_or_refused_with_every_problem_listed(raw: dict[str, Any], config: Any) -> None:
    answered(raw, s3_config=config)
    answered({"audio_file": URL, **raw}, s3_config=config)
