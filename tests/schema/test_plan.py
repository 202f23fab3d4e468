"""Which stages a job passes: decided once, from its options."""

from __future__ import annotations

from typing import Any

import pytest

from scribe.schema.parsing import parse
from scribe.schema.plan import Plan

URL = "https://example.com/a.mp3"
VOICES = {"speaker_verification": True, "speaker_samples": [{"url": URL}]}


def plan(**options: Any) -> Plan:
    return parse({"audio_file": URL, **options}).plan


@pytest.mark.parametrize(
    ("options", "between"),
    [
        ({}, "transcribe"),
        ({"align_output": True}, "transcribe align"),
        ({"diarization": True}, "transcribe align diarize"),
        (VOICES, "transcribe align diarize name"),
        ({"diarization": True, "return_speaker_embeddings": True}, "transcribe align diarize name"),
        ({"return_speaker_embeddings": True}, "transcribe"),
        ({"channels": "split", "diarization": True}, "transcribe"),
        ({"channels": "split", **VOICES}, "transcribe name"),
    ],
)
def test_the_options_decide_the_stages(options: dict[str, Any], between: str) -> None:
    assert plan(**options).stages == ("fetch", "decode", *between.split(), "publish")


def test_a_stored_transcript_is_not_recognized_again_and_its_speakers_can_be_named() -> None:
    source = {"source": {"transcript_url": URL}}
    assert parse(source).plan.stages == ("fetch", "decode", "publish")
    named = parse({**source, **VOICES, "align_output": True, "channels": "split"}).plan
    assert named.stages == ("fetch", "decode", "name", "publish")
    assert [named.recognize, named.align, named.diarize, named.split] == [False] * 4


def test_embeddings_need_speakers_to_embed() -> None:
    assert plan(diarization=True, return_speaker_embeddings=True).embed
    assert not plan(return_speaker_embeddings=True).name
