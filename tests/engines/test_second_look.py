"""Doubtful text is looked at again, marked when it stays doubtful; speech without text is listened to once more and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.demo import before_decoding, excerpt, models, predicted, recording, sound

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.engines import decoding_passes as looks_module
from scribe.engines.base import SpeechOptions
from scribe.engines.decoding_passes import DecodingPass, passes
from scribe.engines.missed_speech import PAD_S, SHORTEST_S, padded, passed_over
from scribe.errors import DeadlineReached
from scribe.transcript import Chunk, Segment

PLAIN = {"language": "en", "quality": "fast"}


@pytest.fixture(scope="module")
def clip() -> Audio:
    """Five sentences of one voice, thirteen seconds."""
    return recording("voices/anna.flac")[0]


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    engine = models().engine(models().model_set.speech())
    return lambda stand_in: before_decoding(monkeypatch, engine, stand_in)


@pytest.fixture
def calls(decoder: Callable[..., None]) -> list[dict[str, Any]]:
    """The options of every call of the decoder, and how many chunks it was for."""
    seen: list[dict[str, Any]] = []

    def watch(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
        seen.append(options | {"chunks": len(prompts), "prompt": prompts[0]})
        return real(features, prompts, **options)

    decoder(watch)
    return seen


class Nothing:
    """What the decoder gives for silence."""

    sequences_ids: tuple[list[int], ...] = ([],)
    scores = (-0.2,)
    no_speech_prob = 0.0


def text_of(found: Any) -> str:
    return " ".join(s.text for s in found.transcript.segments)


def test_text_that_nothing_speaks_against_is_decoded_once(clip: Audio, calls: list[dict[str, Any]]) -> None:
    found = predicted([clip], PLAIN)
    assert [call["beam_size"] for call in calls] == [1]
    assert all(s.suspect == () for s in found.transcript.segments)
    assert found.warnings == []


def test_doubtful_text_is_decoded_again_with_a_beam_then_sampled_and_marked(
    clip: Audio, calls: list[dict[str, Any]]
) -> None:
    found = predicted([clip], {**PLAIN, "log_prob_threshold": 0, "initial_prompt": "A camera."})
    assert [call.get("sampling_temperature", 0) for call in calls] == [0, 0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert [call["beam_size"] for call in calls[:2]] == [1, 5]
    assert all(call["num_hypotheses"] == 5 for call in calls[2:])
    assert len(calls[0]["prompt"]) > len(calls[1]["prompt"])  # some chunks echo the prompt
    assert [s.suspect for s in found.transcript.segments] == [("unlikely",)]
    assert [n.code for n in found.warnings] == ["suspect_text"]
    assert "0:00:00" in found.warnings[0].message


def test_of_many_doubtful_chunks_only_a_part_is_sampled(
    clip: Audio, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks_module, "SAMPLED_AT_LEAST", 2)
    options = {**PLAIN, "log_prob_threshold": 0, "chunk_size": 2, "batch_size": 32, "beam_size": 5}
    found = predicted([clip], options)
    assert calls[0]["chunks"] > 2
    assert {call["chunks"] for call in calls if "sampling_temperature" in call} == {2}
    assert all(s.suspect for s in found.transcript.segments)


def test_the_same_sentence_in_one_chunk_after_the_other_is_marked_unless_a_second_look_hears_another(
    clip: Audio, decoder: Callable[..., None]
) -> None:
    tokens = (
        models()
        .engine(models().model_set.speech())
        ._model.hf_tokenizer.encode(" Please order the ticket.", add_special_tokens=False)
    )

    class Echo:
        sequences_ids = (tokens.ids,)
        scores = (-0.2,)
        no_speech_prob = 0.0

    def parrot(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
        return [Echo] * len(prompts)

    decoder(parrot)
    found = predicted([clip], {**PLAIN, "chunk_size": 3})
    assert len(found.transcript.segments) >= 3
    assert {s.suspect for s in found.transcript.segments} == {("repeated",)}


def test_a_second_look_begins_at_the_jobs_temperature(clip: Audio, calls: list[dict[str, Any]]) -> None:
    predicted([clip], {**PLAIN, "log_prob_threshold": 0, "temperature": 0.7})
    assert [call.get("sampling_temperature", 0) for call in calls] == [0, 0, 0.7, 0.9]


@pytest.mark.parametrize(
    "error",
    [DeadlineReached("deadline_s: 1 seconds have passed"), RuntimeError("CUDA failed with error out of memory")],
)
def test_a_second_look_that_cannot_be_finished_keeps_what_the_first_one_heard(
    clip: Audio, decoder: Callable[..., None], error: Exception
) -> None:
    expected = predicted([clip], PLAIN)
    calls: list[int] = []

    def once(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
        calls.append(len(prompts))
        if len(calls) > 1:
            raise error
        return real(features, prompts, **options)

    decoder(once)
    found = predicted([clip], {**PLAIN, "log_prob_threshold": 0})
    assert text_of(found) == text_of(expected)
    assert [s.suspect for s in found.transcript.segments] == [("unlikely",)]
    assert (found.partial, len(calls)) == (False, 2)


@pytest.mark.parametrize("error", [DeadlineReached("x"), RuntimeError("CUDA failed with error out of memory")])
def test_speech_that_cannot_be_listened_to_again_is_told_and_fails_nothing(
    clip: Audio, decoder: Callable[..., None], error: Exception
) -> None:
    calls: list[int] = []

    def deaf(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
        calls.append(len(prompts))
        if len(calls) > 1:
            raise error
        return [Nothing] * len(prompts)

    decoder(deaf)
    assert [n.code for n in predicted([clip], PLAIN).warnings] == ["speech_without_text"]


def test_an_empty_second_look_does_not_take_a_doubtful_sentence_away(clip: Audio, decoder: Callable[..., None]) -> None:
    expected = predicted([clip], PLAIN)
    calls: list[int] = []

    def mute(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
        calls.append(len(prompts))
        return real(features, prompts, **options) if len(calls) == 1 else [Nothing] * len(prompts)

    decoder(mute)
    found = predicted([clip], {**PLAIN, "log_prob_threshold": 0})
    assert text_of(found) == text_of(expected)
    assert found.transcript.segments[0].suspect == ("unlikely",)


def test_a_better_text_takes_the_doubtful_ones_place(clip: Audio, decoder: Callable[..., None]) -> None:
    """The first decoding is a stand-in's: it says one sentence over and over, as Whisper does when it is lost."""
    tokens = (
        models()
        .engine(models().model_set.speech())
        ._model.hf_tokenizer.encode(" Thank you for the ticket." * 8, add_special_tokens=False)
    )

    class Loop:
        sequences_ids = (tokens.ids,)
        scores = (-0.2,)
        no_speech_prob = 0.0

    seen: list[int] = []

    def lost_at_first(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
        seen.append(len(prompts))
        return [Loop] * len(prompts) if len(seen) == 1 else real(features, prompts, **options)

    expected = predicted([clip], PLAIN | {"beam_size": 5})
    decoder(lost_at_first)
    found = predicted([clip], PLAIN)
    assert text_of(found) == text_of(expected)
    assert all(s.suspect == () for s in found.transcript.segments)
    assert len(seen) == 2


def test_a_text_that_its_token_limit_cut_is_decoded_again_without_it(
    clip: Audio, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**PLAIN, "beam_size": 5}
    expected = text_of(predicted([clip], options))
    monkeypatch.setattr(looks_module, "TOKENS_PER_S", 0)
    monkeypatch.setattr(looks_module, "TOKENS_ANYWAY", 5)
    calls.clear()
    found = predicted([clip], options)
    assert text_of(found) == expected
    assert [call["max_length"] for call in calls] == [10, 448]
    assert found.transcript.segments[0].suspect == ()


def test_a_lone_full_stop_is_no_text_and_its_speech_is_heard_again(clip: Audio, decoder: Callable[..., None]) -> None:
    dots = models().engine(models().model_set.speech())._model.hf_tokenizer.encode(".", add_special_tokens=False)

    class Stop:
        sequences_ids = (dots.ids,)
        scores = (-0.1,)
        no_speech_prob = 0.0

    clip = sound("stops", np.concatenate([np.zeros(3 * SAMPLE_RATE), clip[:]]))
    expected, seen = text_of(predicted([clip], PLAIN)), []

    def dotted(times: int) -> Callable[..., Any]:
        def stand_in(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
            seen.append(len(prompts))
            return [Stop] * len(prompts) if len(seen) <= times else real(features, prompts, **options)

        return stand_in

    decoder(dotted(1))
    assert text_of(predicted([clip], PLAIN)) == expected
    seen.clear()
    decoder(dotted(9))
    assert [n.code for n in predicted([clip], PLAIN).warnings] == ["speech_without_text"]


def test_looks_go_from_the_jobs_search_to_a_temperature_of_one() -> None:
    assert passes(SpeechOptions(beam_size=8))[:4] == [
        DecodingPass(8, limited=True),
        DecodingPass(8),
        DecodingPass(8, longest=True),
        DecodingPass(1, 0.2),
    ]
    assert passes(SpeechOptions(temperature=1.0))[3:] == [DecodingPass(1, 1.0)]


def test_speech_without_text_is_listened_to_once_more_and_told(clip: Audio, decoder: Callable[..., None]) -> None:
    calls: list[int] = []

    def deaf(times: int) -> Callable[..., Any]:
        def stand_in(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
            calls.append(len(prompts))
            return [Nothing] * len(prompts) if len(calls) <= times else real(features, prompts, **options)

        return stand_in

    # With silence before it, so that what is listened to again begins before the chunk did.
    clip = sound("late", np.concatenate([np.zeros(3 * SAMPLE_RATE), clip[:]]))
    expected = text_of(predicted([clip], PLAIN))
    decoder(deaf(1))
    found = predicted([clip], PLAIN)
    assert (text_of(found), found.warnings, len(calls)) == (expected, [], 2)
    calls.clear()
    decoder(deaf(9))
    found = predicted([clip], PLAIN)
    assert found.transcript.segments == ()
    assert [n.code for n in found.warnings] == ["speech_without_text"]


@pytest.mark.parametrize("method", ["silero", "pyannote"])
def test_silence_hum_and_noise_give_no_words(method: str) -> None:
    rng, seconds = np.random.default_rng(7), 120
    t = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    noise = rng.standard_normal(len(t))
    parts = [0 * t, 0.2 * np.sin(2 * np.pi * 50 * t) + 0.05 * np.sin(2 * np.pi * 150 * t), 0.001 * noise, 0.1 * noise]
    found = predicted(
        [sound("nobody", np.concatenate([*parts, 0.1 * noise * (1 + np.sin(t))]))], PLAIN | {"vad_method": method}
    )
    assert found.transcript.segments == ()
    assert [n.code for n in found.warnings] == ["no_speech"]


def test_what_was_said_after_a_long_pause_is_not_dropped(clip: Audio) -> None:
    """The recognizer tends to stop where a pause begins: no chunk holds one."""
    pause = np.zeros(3 * SAMPLE_RATE)
    first, second = excerpt("first", clip, 0.0, 2.9), excerpt("second", clip, 2.9, 6.2)
    found = predicted([sound("pause", np.concatenate([first[:], pause, second[:]]))], PLAIN)
    assert len(found.transcript.segments) >= 2
    assert found.transcript.segments[-1].start > 5.0


spans = st.lists(st.tuples(st.floats(0.1, 20), st.floats(0.05, 15), st.booleans()), max_size=20)


@given(spans)
def test_what_no_segment_tells_of_is_found_and_widened_into_nobody_elses_time(
    drawn: list[tuple[float, float, bool]],
) -> None:
    clock, chunks, segments, silent = 0.0, [], [], []
    for gap, length, told in drawn:
        start, clock = clock + gap, clock + gap + length
        chunks.append(Chunk(start, clock, ((start, clock),)))
        if told:
            segments.append(Segment(round(start, 3), round(clock, 3), "x"))
        elif length >= SHORTEST_S:
            silent.append(chunks[-1])
    missed = passed_over(chunks, segments)
    assert {c.start for c in missed} == {c.start for c in silent}
    for wide, narrow in zip(padded(missed, chunks, clock), missed, strict=True):
        assert narrow.start - PAD_S <= wide.start <= narrow.start < narrow.end <= wide.end <= narrow.end + PAD_S
        assert all(c.end <= wide.start or c.start >= wide.end for c in chunks if c is not narrow)
