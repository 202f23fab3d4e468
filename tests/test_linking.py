"""Blocks of a long recording: who is who in the next one, whatever each block calls them."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.linking import Block, joined, layout, linked, same_by_time
from scribe.transcript import Turn

FARTHEST = 0.6


def voices(count: int, seed: int) -> np.ndarray:
    """People's voices: directions in 32 dimensions, none near another."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((32, count)))[0].T


def talk(seed: int, seconds: float, people: int) -> list[Turn]:
    """Turns on a frame grid of 10 ms, now and then two at once, pauses now and then."""
    dice, clock, turns = random.Random(seed), 0.0, []
    while clock < seconds:
        length = dice.choice([0.8, 2.5, 6.0])
        turns.append(Turn(round(clock, 2), round(min(seconds, clock + length), 2), f"P{dice.randrange(people)}"))
        clock += length + dice.choice([-0.5, 0.0, 0.3, 1.5])
    # A person who begins again before the end goes on.
    last: dict[str, float] = {}
    kept = []
    for turn in turns:
        if turn.start >= last.get(turn.label, -1.0) and turn.end > turn.start:
            kept.append(turn)
            last[turn.label] = turn.end
    return kept


def cut(turns: list[Turn], start: float, end: float, seed: int, people: np.ndarray, noise: float) -> Block:
    """The block that a diarizer finds: the people numbered at random, their voices a little off."""
    dice = np.random.default_rng(seed)
    inside = [replace(t, start=max(start, t.start), end=min(end, t.end)) for t in turns]
    inside = [t for t in inside if t.end > t.start]
    present = sorted({t.label for t in inside})
    own = dict(zip(present, (f"SPEAKER_{n:02d}" for n in dice.permutation(len(present))), strict=True))
    heard = {own[p]: people[int(p[1:])] * dice.uniform(0.5, 20) for p in present}
    heard = {k: v + noise * np.linalg.norm(v) * dice.standard_normal(32) / 32**0.5 for k, v in heard.items()}
    spoken = tuple(replace(t, label=own[t.label]) for t in inside)
    return Block(start, end, spoken, spoken, heard)


def recordings(seed: int, people: int, noise: float = 0.2) -> tuple[list[Turn], list[Block]]:
    turns = talk(seed, 900.0, people)
    known = voices(people, seed)
    places = layout(900.0, 1.0, 200.0, 40.0)
    return turns, [cut(turns, s, e, seed + n, known, noise) for n, (s, e) in enumerate(places)]


def renamed(turns: list[Turn]) -> list[Turn]:
    """The people numbered in the order in which they first speak."""
    order = list(dict.fromkeys(t.label for t in sorted(turns, key=lambda t: t.start)))
    return sorted(
        (replace(t, label=f"SPEAKER_{order.index(t.label):02d}") for t in turns), key=lambda t: (t.start, t.end)
    )


@given(seed=st.integers(0, 10**6), people=st.integers(1, 6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_blocks_give_back_the_turns_of_one_piece(seed: int, people: int) -> None:
    """The same turns to the last digit, those across a cut whole, the speakers told apart as they were."""
    turns, blocks = recordings(seed, people)
    found, exclusive = joined(blocks, linked(blocks, FARTHEST))
    assert list(found) == renamed(turns)
    assert exclusive == found


@given(seed=st.integers(0, 10**6), people=st.integers(2, 6), most=st.integers(1, 6), fewest=st.integers(1, 6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_two_of_one_block_stay_apart_whatever_is_asked(seed: int, people: int, most: int, fewest: int) -> None:
    _, blocks = recordings(seed, people)
    names = linked(blocks, FARTHEST, min(fewest, most), most)
    for block, new in zip(blocks, names, strict=True):
        assert len(set(new.values())) == len(new) == len({t.label for t in block.turns})


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_labels_of_a_block_say_nothing(seed: int) -> None:
    _, blocks = recordings(seed, 4)
    other = [
        replace(
            b,
            turns=tuple(replace(t, label="x" + t.label[::-1]) for t in b.turns),
            voices={"x" + k[::-1]: v for k, v in b.voices.items()},
        )
        for b in blocks
    ]
    names = [list(n.values()) for n in linked(blocks, FARTHEST)]
    assert names == [list(n.values()) for n in linked(other, FARTHEST)]


def solo(number: int, label: str, voice: np.ndarray, start: float = 0.0, end: float = 50.0) -> Block:
    """One speaker in a block that overlaps no other in time of speech."""
    begin = 100.0 * number
    turns = (Turn(begin + start, begin + end, label),)
    return Block(begin, begin + 110.0, turns, turns, {label: voice})


def test_who_comes_back_after_hours_is_known_by_the_voice() -> None:
    a, b = voices(2, 0)
    blocks = [solo(0, "X", a), solo(1, "X", b), solo(2, "Y", b), solo(3, "Y", 3 * a)]
    assert [list(n.values()) for n in linked(blocks, FARTHEST)] == [
        ["SPEAKER_00"],
        ["SPEAKER_01"],
        ["SPEAKER_01"],
        ["SPEAKER_00"],
    ]


def test_time_joins_what_voices_alone_would_not() -> None:
    """A voice that changes (a telephone passed on) but is in the middle of a sentence when the block ends."""
    a, b = voices(2, 0)
    first, second = solo(0, "X", a, 60.0, 109.0), solo(1, "Y", b, 0.0, 40.0)
    assert same_by_time(first, second) == [("X", "Y")]
    assert linked([first, second], FARTHEST) == [{"X": "SPEAKER_00"}, {"Y": "SPEAKER_00"}]
    apart = solo(1, "Y", b, 20.0, 40.0)
    assert same_by_time(first, apart) == []
    assert linked([first, apart], FARTHEST) == [{"X": "SPEAKER_00"}, {"Y": "SPEAKER_01"}]


def test_the_number_of_speakers_that_is_asked_for_is_kept_where_it_can_be() -> None:
    people = voices(4, 1)
    blocks = [solo(n, "X", v) for n, v in enumerate(people)]
    for most in (1, 2, 3):
        assert len({v for n in linked(blocks, FARTHEST, most=most) for v in n.values()}) == most
    same = [solo(n, "X", people[0]) for n in range(4)]
    assert len({v for n in linked(same, FARTHEST, fewest=3) for v in n.values()}) == 3


def test_a_speaker_without_a_voice_is_nobody_else() -> None:
    """pyannote gives zeros to speakers beyond those it clustered, and not-a-number to those too short to hear."""
    a = voices(1, 0)[0]
    blocks = [solo(0, "X", a), solo(1, "Y", np.zeros(32)), solo(2, "Z", np.full(32, np.nan)), solo(3, "W", a)]
    assert [list(n.values())[0] for n in linked(blocks, FARTHEST)] == [
        "SPEAKER_00",
        "SPEAKER_01",
        "SPEAKER_02",
        "SPEAKER_00",
    ]


def test_blocks_without_speech_are_no_speakers() -> None:
    a = voices(1, 0)[0]
    empty = Block(100.0, 210.0, (), (), {})
    blocks = [solo(0, "X", a), empty, solo(2, "X", a)]
    names = linked(blocks, FARTHEST)
    assert names == [{"X": "SPEAKER_00"}, {}, {"X": "SPEAKER_00"}]
    assert [t.label for t in joined(blocks, names)[0]] == ["SPEAKER_00", "SPEAKER_00"]
    assert joined([empty, empty], [{}, {}]) == ((), ())


def test_one_who_never_pauses_is_one_turn_over_many_blocks() -> None:
    turns, known = [Turn(0.0, 900.0, "P0")], voices(1, 0)
    blocks = [cut(turns, s, e, n, known, 0.1) for n, (s, e) in enumerate(layout(900.0, 1.0, 200.0, 40.0))]
    assert joined(blocks, linked(blocks, FARTHEST))[0] == (Turn(0.0, 900.0, "SPEAKER_00"),)


@given(
    seconds=st.floats(0.1, 40_000),
    grid=st.sampled_from([1.0, 27.0]),
    block=st.floats(600, 4000),
    overlap=st.floats(40, 300),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_blocks_cover_the_recording_and_overlap_on_the_grid(
    seconds: float, grid: float, block: float, overlap: float
) -> None:
    places = layout(seconds, grid, block, overlap)
    assert (places[0][0], places[-1][1]) == (0.0, seconds)
    assert all(start % grid == 0 and start < end for start, end in places)
    assert all(a[1] - b[0] >= overlap - 1e-6 and a[0] < b[0] for a, b in itertools.pairwise(places))
    assert all(end - start <= block + 1e-6 for start, end in places[:-1])
    assert len(places) == 1 or places[-1][1] - places[-1][0] <= block + grid * len(places)
