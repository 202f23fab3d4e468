"""Damaged recordings: pure functions from a whole file and dice to a file that no encoder would write."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Damage = Callable[[bytes, random.Random], bytes]
# What stands where a length, a rate or a count is expected, and is none.
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def flip_bits(data: bytes, dice: random.Random) -> bytes:
    """Up to 64 bits turned over, half of them in the first kilobyte, where the header is."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 64)):
        at = dice.randrange(len(found) if dice.random() < 0.5 else min(len(found), 1024))
        found[at] ^= 1 << dice.randrange(8)
    return bytes(found)


def cut(data: bytes, dice: random.Random) -> bytes:
    """The end is missing."""
    return data[: dice.randrange(1, len(data))]


def drop(data: bytes, dice: random.Random) -> bytes:
    """A piece from the middle is missing."""
    start = dice.randrange(len(data))
    return data[:start] + data[start + dice.randint(1, 4096) :]


def double(data: bytes, dice: random.Random) -> bytes:
    """A piece comes again, up to a hundred times."""
    start = dice.randrange(len(data))
    piece = data[start : start + dice.randint(1, 2048)]
    return data[:start] + piece * dice.randint(2, 100) + data[start:]


def lie(data: bytes, dice: random.Random) -> bytes:
    """A number in the first four kilobytes becomes another one, of one to eight bytes, in either order."""
    width = dice.choice((1, 2, 4, 8))
    at = dice.randrange(max(1, min(len(data), 4096) - width))
    order = dice.choice(("big", "little"))
    value = dice.choice(NUMBERS) & ((1 << (8 * width)) - 1)
    return data[:at] + value.to_bytes(width, order) + data[at + width :]


def noise(data: bytes, dice: random.Random) -> bytes:
    """A piece is overwritten by chance."""
    start = dice.randrange(len(data))
    length = min(dice.randint(1, 4096), len(data) - start)
    return data[:start] + dice.randbytes(length) + data[start + length :]


DAMAGES: Sequence[Damage] = (flip_bits, cut, drop, double, lie, noise)


def splice(one: bytes, other: bytes, dice: random.Random) -> bytes:
    """The beginning of one file and the end of another, of whatever container."""
    return one[: dice.randrange(1, len(one))] + other[dice.randrange(len(other)) :]


def damaged(files: Sequence[bytes], dice: random.Random) -> bytes:
    """One of the files, hurt one to three times."""
    data = dice.choice(files)
    if dice.random() < 0.1:
        data = splice(data, dice.choice(files), dice)
    for _ in range(dice.randint(1, 3)):
        data = dice.choice(DAMAGES)(data, dice) or b"\0"
    return data
