"""Voice samples: one source each, and the name that its owner is shown by."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scribe.schema.speaker_sample import SpeakerSample, clean_name, name_from_url

often = settings(max_examples=300, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h.example/voices/swami-1.m4a", "swami-1"),
        ("https://h.example/swami-2.m4a#swami", "swami"),
        ("https://h.example/x.m4a?name=swami", "swami"),
        ("https://h.example/x.m4a?name=query#fragment", "query"),
        ("https://h.example/x.m4a?X-Amz-Signature=abc&name=Anna%20B%C3%A9la", "Anna Béla"),
        ("https://h.example/x.m4a?name=#fragment", "fragment"),
        ("https://h.example/x.m4a?name=%20%20#%20", "x"),
        ("https://h.example/a%20b.tar.gz", "a b.tar"),
        ("https://h.example/" + "n" * 90 + ".wav", "n" * 64),
        ("https://h.example/", ""),
        ("https://[broken", ""),
    ],
)
def test_a_name_comes_from_query_then_fragment_then_file_stem(url: str, name: str) -> None:
    assert name_from_url(url) == name


def test_the_given_name_wins_over_the_address() -> None:
    assert SpeakerSample(url="https://h.example/x.m4a?name=query", name=" Anna ").display_name == "Anna"
    assert SpeakerSample(url="https://h.example/x.m4a?name=query", name=" \t").display_name == "query"


@given(st.text(max_size=120))
@often
def test_a_clean_name_is_printable_short_and_clean_already(text: str) -> None:
    name = clean_name(text)
    assert len(name) <= 64
    assert name == name.strip()
    assert "  " not in name
    assert not any(unicodedata.category(c)[0] == "C" for c in name)
    assert clean_name(name) == name


@given(st.text(max_size=200))
@often
def test_no_address_breaks_the_naming(text: str) -> None:
    assert len(name_from_url(text)) <= 64
    assert len(name_from_url("https://h.example/" + text)) <= 64


VECTOR = {"model": "ecapa@1", "vector": [0.1] * 8}


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "A"},
        {"name": "A", "url": "https://h/x", "audio_base64": "AA=="},
        {"name": "A", "url": "https://h/x", "embedding": VECTOR},
        {"audio_base64": "AA=="},
        {"embedding": VECTOR},
        {"url": "https://h.example/"},
        {"name": "\u200b", "audio_base64": "AA=="},
        {"name": "A", "embedding": {**VECTOR, "vector": [0.1] * 7}},
        {"name": "A", "embedding": {**VECTOR, "vector": [float("nan")] * 8}},
        {"name": "A", "url": "https://h/x", "sample": 1},
    ],
)
def test_a_sample_without_exactly_one_source_and_a_name_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SpeakerSample.model_validate(fields)


def test_a_speaker_of_an_earlier_result_is_a_sample_as_it_is() -> None:
    from scribe.formats.json import to_dict
    from scribe.transcript import Speaker, Transcript, Voiceprint

    speaker = Speaker("SPEAKER_00", "Anna", 0.9, 12.5, embedding=Voiceprint("ecapa@1", 12.5, (0.5,) * 192))
    (shown,) = to_dict(Transcript("en", 20.0, speakers=(speaker,)))["speakers"]
    sample = SpeakerSample.model_validate({"name": "Anna", "embedding": shown["embedding"]})
    assert sample.embedding is not None
    assert (sample.embedding.model, len(sample.embedding.vector)) == ("ecapa@1", 192)
