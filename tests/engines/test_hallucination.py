"""Whisper's gates over one chunk's text: what is doubted, what is not, and why."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scribe.engines.hallucination import LOOPS, Decoded, Limits, doubts, echoes, loops, silent

LIMITS = Limits()
SAID = "The orange garden is near the hotel and Laura found five cities there on Tuesday."


def reasons(text: str, voiced_s: float = 30.0, **found: float) -> tuple[str, ...]:
    return doubts(Decoded(text, **{"avg_logprob": -0.3, "no_speech_prob": 0.0, **found}), voiced_s, LIMITS)


@pytest.mark.parametrize(
    ("text", "voiced_s", "found", "expected"),
    [
        (SAID, 6.0, {}, ()),
        ("Yes.", 0.2, {}, ()),
        ("No no no no.", 1.0, {}, ()),
        ("", 20.0, {"avg_logprob": -9.0}, ()),
        (SAID, 6.0, {"avg_logprob": -1.2}, ("unlikely",)),
        (SAID, 1.0, {}, ("too_fast",)),
        (SAID, 6.0, {"cut": True}, ("cut",)),
        ("Thank you for watching! " * 12, 30.0, {}, ("repetitive",)),
        ("I I I I I", 3.0, {}, ()),
        ("so so so so so so so", 3.0, {}, ("repetitive",)),
        ("谢谢大家谢谢大家谢谢大家谢谢大家谢谢大家谢谢大家", 9.0, {}, ("repetitive",)),
        ("我们在花园里看到了一只很大的黑色的猫和两只小狗", 5.0, {}, ()),
    ],
)
def test_a_text_is_doubted_for_a_reason(
    text: str, voiced_s: float, found: dict[str, float], expected: tuple[str, ...]
) -> None:
    assert reasons(text, voiced_s, **found) == expected


def test_the_jobs_thresholds_decide() -> None:
    found = Decoded(SAID, -0.8, 0.7)
    assert doubts(found, 6.0, Limits(log_prob=-0.5)) == ("unlikely",)
    assert doubts(found, 6.0, Limits(compression_ratio=0.5)) == ("repetitive",)
    assert silent(found, Limits(log_prob=-0.5, no_speech=0.6))
    assert not silent(found, Limits(log_prob=-0.5, no_speech=0.9))
    assert not silent(found, Limits(log_prob=-1.0, no_speech=0.6))


@given(st.text(alphabet="abcdefg ", min_size=2, max_size=30))
def test_the_same_again_and_again_is_a_loop_wherever_it_stands(part: str) -> None:
    plain = " ".join(part.split()) + " "
    assume(len(set(plain)) > 2)
    assert loops("Well, " + plain * LOOPS + "that is it.")


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=9), max_size=150))
def test_words_that_do_not_come_again_are_no_loop_however_many(words: list[str]) -> None:
    assert not loops(" ".join(f"{word}{n}" for n, word in enumerate(words)))


def test_an_equal_text_in_three_chunks_in_a_row_is_an_echo_and_a_short_one_is_not() -> None:
    assert echoes(["a", SAID, SAID, SAID, "b"]) == {1, 2, 3}
    assert echoes([SAID, SAID, "b", SAID]) == set()
    assert echoes(["Yes.", "Yes.", "Yes.", "Yes."]) == set()
    assert echoes([]) == set()
    assert echoes(["Thank you for watching.", "thank you for watching!", "Thank you, for watching"]) == {0, 1, 2}


def test_a_fast_talker_is_believed() -> None:
    words_a_minute, characters = 300, 6
    text = "".join(chr(ord("a") + n * n % 26) for n in range(words_a_minute * characters // 60 * 10))
    assert "too_fast" not in reasons(text, 10.0)
    assert "too_fast" in reasons(text, 5.0)
