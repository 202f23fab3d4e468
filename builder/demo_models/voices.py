"""Who speaks in training, in development and in the test: espeak-ng variants that never meet.

Held-out voices are held out by variant (the shape of the vocal tract), not only by pitch or pace: no model saw any of them, and
what is tuned on the development voices is measured on others.
"""

from __future__ import annotations

import random

from demo_models.espeak import Voice

DEVELOPMENT = ("Andy", "steph2", "klatt3", "paul")
TEST = ("m4", "f3", "Alicia", "Michael", "belinda", "Lee")
NOT_SPEECH = ("whisper", "whisperf", "croak", "fast", "Demonic", "announcer", "UniRobot", "anikaRobot")
ACCENTS = ("en-us", "gmw/en", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc")


def training_variants(installed: list[str]) -> list[str]:
    """The variants that training may use, in a fixed order."""
    refused = {*DEVELOPMENT, *TEST, *NOT_SPEECH}
    return sorted(variant for variant in installed if variant not in refused)


def random_voice(variant: str, rng: random.Random) -> Voice:
    """A speaker of that variant: accent, pitch, pace and liveliness drawn at random."""
    return Voice(
        f"{rng.choice(ACCENTS)}+{variant}",
        pitch=rng.randint(20, 85),
        rate=rng.randint(125, 190),
        range=rng.randint(30, 75),
        gap=rng.choice((0, 0, 0, 1, 2)),
    )


def random_voices(count: int, variants: list[str] | tuple[str, ...], rng: random.Random) -> list[Voice]:
    """`count` speakers of different variants: people that a listener can tell apart."""
    return [random_voice(variant, rng) for variant in rng.sample(list(variants), count)]
