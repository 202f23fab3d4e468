"""A short seeded run of `make fuzz`."""

from __future__ import annotations

import random
from pathlib import Path

from .mutate import DAMAGES, damaged
from .run import fuzz


def test_sixty_damaged_recordings_end_as_sound_or_as_a_code_and_leave_nothing(tmp_path: Path) -> None:
    found = fuzz(60, 7, tmp_path)
    assert found.broken == []
    assert {"sound", "not_audio", "decode_failed"} <= set(found.counts)


def test_every_damage_changes_the_file_and_the_same_dice_do_the_same() -> None:
    data = bytes(range(256)) * 40
    for damage in DAMAGES:
        assert all(damage(data, random.Random(seed)) != data for seed in range(20)), damage.__name__
    assert damaged([data], random.Random(3)) == damaged([data], random.Random(3))
