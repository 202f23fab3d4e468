"""An unknown key is answered by the key that means the same, or by what to do; where nobody can tell, by nothing."""

from __future__ import annotations

import pytest

from scribe.errors import InvalidInput
from scribe.schema import key_advice as meaning
from scribe.schema.aliases import ALIASES, WITHOUT_EFFECT
from scribe.schema.job import JobInput
from scribe.schema.parsing import parse

URL = "https://example.com/a.mp3"
KNOWN = set(JobInput.model_fields)


def problem(key: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        parse({"audio_file": URL, key: 1})
    (told,) = refused.value.details["problems"]
    assert told["key"] == key
    return told["problem"]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        *(("file", "audio_file"), ("url", "audio_file"), ("audio_path", "audio_file"), ("audioFile", "audio_file")),
        *(("speaker_labels", "diarization"), ("diarize", "diarization"), ("num_speaker", "num_speakers")),
        *(("response_format", "formats"), ("timestamp_granularities", "align_output"), ("Language", "language")),
        *(("align", "align_output"), ("keyterms", "hotwords"), ("model_size", "model"), ("batch-size", "batch_size")),
    ],
)
def test_a_foreign_word_names_the_key_of_the_same_meaning(wrong: str, meant: str) -> None:
    assert problem(wrong) == f"is not a known key; did you mean {meant}?"


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("langauge", "language"),
        ("speaker_sample", "speaker_samples"),
        ("formts", "formats"),
        ("audoi_file", "audio_file"),
    ],
)
def test_a_slip_of_the_fingers_names_the_key_that_was_meant(slip: str, meant: str) -> None:
    assert problem(slip) == f"is not a known key; did you mean {meant}?"


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("webhook", "beside `input`"),
        ("callback_url", "`webhook`"),
        ("callbackUrl", "`webhook`"),
        ("s3Config", "beside `input`"),
        ("headers", "presigned"),
        ("start", "cut it before"),
        ("punctuate", "not needed"),
        ("device", "WHISPERX_DEVICE"),
    ],
)
def test_what_no_key_means_is_answered_by_what_to_do(word: str, advice: str) -> None:
    told = problem(word)
    assert told.startswith("is not a known key: it ")
    assert advice in told


@pytest.mark.parametrize("word", ["xyzzy", "colour", "summary", "tag", "sentiment"])
def test_where_nobody_can_tell_nothing_is_guessed(word: str) -> None:
    assert problem(word) == "is not a known key"


def test_the_words_lead_to_keys_that_are_there_and_hide_none_of_them() -> None:
    assert set(meaning._WORDS) <= KNOWN
    foreign = {*meaning._KEYS, *meaning._ADVICE}
    assert len(foreign) >= 100
    assert foreign.isdisjoint(KNOWN | set(ALIASES) | set(WITHOUT_EFFECT))
    assert set(meaning._KEYS).isdisjoint(meaning._ADVICE)
