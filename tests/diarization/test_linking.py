"""Blocks of a long recording: who is who in the next one, whatever each block calls them."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.diarization.linking import Block, joined, layout, linked, same_by_time
from scribe.transcript import Turn


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
    found, exclusive = joined(blocks, linked(blocks))
    assert list(found) == renamed(turns)
    assert exclusive == found


@given(seed=st.integers(0, 10**6), people=st.integers(2, 6), most=st.integers(1, 6), fewest=st.integers(1, 6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_two_of_one_block_stay_apart_whatever_is_asked(seed: int, people: int, most: int, fewest: int) -> None:
    _, blocks = recordings(seed, people)
    names = linked(blocks, min(fewest, most), most)
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
    names = [list(n.values()) for n in linked(blocks)]
    assert names == [list(n.values()) for n in linked(other)]


def solo(number: int, label: str, voice: np.ndarray, start: float = 0.0, end: float = 50.0) -> Block:
    """One speaker in a block that overlaps no other in time of speech."""
    begin = 100.0 * number
    turns = (Turn(begin + start, begin + end, label),)
    return Block(begin, begin + 110.0, turns, turns, {label: voice})


def test_who_comes_back_after_hours_is_known_by_the_voice() -> None:
    a, b = voices(2, 0)
    blocks = [solo(0, "X", a), solo(1, "X", b), solo(2, "Y", b), solo(3, "Y", 3 * a)]
    assert [list(n.values()) for n in linked(blocks)] == [
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
    assert linked([first, second]) == [{"X": "SPEAKER_00"}, {"Y": "SPEAKER_00"}]
    apart = solo(1, "Y", b, 20.0, 40.0)
    assert same_by_time(first, apart) == []
    assert linked([first, apart]) == [{"X": "SPEAKER_00"}, {"Y": "SPEAKER_01"}]


def test_the_number_of_speakers_that_is_asked_for_is_kept_where_it_can_be() -> None:
    people = voices(4, 1)
    blocks = [solo(n, "X", v) for n, v in enumerate(people)]
    for most in (1, 2, 3):
        assert len({v for n in linked(blocks, most=most) for v in n.values()}) == most
    same = [solo(n, "X", people[0]) for n in range(4)]
    assert len({v for n in linked(same, fewest=3) for v in n.values()}) == 3


def test_a_speaker_without_a_voice_is_nobody_else() -> None:
    """pyannote gives zeros to speakers beyond those it clustered, and not-a-number to those too short to hear."""
    a = voices(1, 0)[0]
    blocks = [solo(0, "X", a), solo(1, "Y", np.zeros(32)), solo(2, "Z", np.full(32, np.nan)), solo(3, "W", a)]
    assert [list(n.values())[0] for n in linked(blocks)] == [
        "SPEAKER_00",
        "SPEAKER_01",
        "SPEAKER_02",
        "SPEAKER_00",
    ]


def test_blocks_without_speech_are_no_speakers() -> None:
    a = voices(1, 0)[0]
    empty = Block(100.0, 210.0, (), (), {})
    blocks = [solo(0, "X", a), empty, solo(2, "X", a)]
    names = linked(blocks)
    assert names == [{"X": "SPEAKER_00"}, {}, {"X": "SPEAKER_00"}]
    assert [t.label for t in joined(blocks, names)[0]] == ["SPEAKER_00", "SPEAKER_00"]
    assert joined([empty, empty], [{}, {}]) == ((), ())


def test_one_who_never_pauses_is_one_turn_over_many_blocks() -> None:
    turns, known = [Turn(0.0, 900.0, "P0")], voices(1, 0)
    blocks = [cut(turns, s, e, n, known, 0.1) for n, (s, e) in enumerate(layout(900.0, 1.0, 200.0, 40.0))]
    assert joined(blocks, linked(blocks))[0] == (Turn(0.0, 900.0, "SPEAKER_00"),)


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


def drawn(present: list[str], same: float, other: tuple[float, float], seed: int) -> list[Block]:
    """A block for each of `present`, the people in it by their letters; only voices can link them. The cosine of one
    person's voices in two blocks is `same`, that of two people's is drawn from `other`."""
    dice, people = np.random.default_rng(seed), sorted(set("".join(present)))
    cosines = np.eye(len(people))
    for i, j in itertools.combinations(range(len(people)), 2):
        cosines[i, j] = cosines[j, i] = dice.uniform(*other) / same
    kernel = np.linalg.cholesky(cosines)
    own = len(people)
    blocks = []
    for number, letters in enumerate(present):
        begin, heard, turns = 100.0 * number, {}, []
        for place, letter in enumerate(letters):
            voice = np.zeros(len(people) + sum(map(len, present)))
            voice[: len(people)] = same**0.5 * kernel[people.index(letter)]
            voice[own] = (1 - same) ** 0.5
            own += 1
            heard[letter] = voice * dice.uniform(0.5, 20)
            turns.append(Turn(begin + 12 * place, begin + 12 * place + dice.uniform(4, 11), letter))
        blocks.append(Block(begin, begin + 110.0, tuple(turns), tuple(turns), heard))
    return blocks


def people_told_apart(blocks: list[Block], counts: dict[str, int]) -> bool:
    """Whether every letter has one number, and every number one letter."""
    pairs = {pair for names in linked(blocks, **counts) for pair in names.items()}
    return len(pairs) == len({letter for letter, _ in pairs}) == len({number for _, number in pairs})


@pytest.mark.parametrize("counts", [{}, {"fewest": 3, "most": 3}])
@pytest.mark.parametrize("present", [["ABC", "AB", "ABC"], ["ABC", "AB", "BC", "A", "CA", "ABC"]])
@pytest.mark.parametrize("same", [0.85, 0.80, 0.75, 0.65])
def test_who_is_absent_from_a_block_is_known_again_by_the_voice(
    same: float, present: list[str], counts: dict[str, int]
) -> None:
    for seed in range(20):
        assert people_told_apart(drawn(present, same, (0.0, 0.4), seed), counts), seed


def test_two_who_never_meet_are_two_however_many_blocks_each_of_them_fills() -> None:
    """The means of many blocks of a voice are nearer to each other than the voices: 0.4 becomes 0.56."""
    for seed in range(20):
        assert people_told_apart(drawn(["A"] * 5 + ["B"] * 5, 0.65, (0.39, 0.4), seed), {}), seed


def test_where_one_has_to_go_it_is_who_says_least() -> None:
    """A murmur of a second like nobody else's, and two who talk for half a minute and are a little alike."""
    (a, b), (_, c, _) = voices(2, 0), voices(3, 7)
    blocks = [solo(0, "X", a, 0.0, 30.0), solo(1, "Y", b + 0.4 * a, 0.0, 30.0), solo(2, "Z", c, 0.0, 1.0)]
    long, other, _ = (list(names.values())[0] for names in linked(blocks, most=2))
    assert long != other


def test_a_voice_heard_only_through_others_is_nobody_s() -> None:
    a, b = voices(2, 0)
    talk = (Turn(100.0, 140.0, "B"), Turn(110.0, 120.0, "X"))
    blocks = [solo(0, "A", a), Block(100.0, 210.0, talk, talk, {"B": b, "X": a})]
    first, second = linked(blocks)
    assert first["A"] not in second.values()
