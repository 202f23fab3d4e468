"""The closed language of the demo models: 152 English words and the sentences made of them.

A small vocabulary is what lets a Whisper of 3 million parameters learn in an hour on two cores. The price: the models know nothing else.
"""

from __future__ import annotations

import random
import re
import zlib

_WORDS = """\
name: Alice Bob Carol David Emma Frank Grace Henry Julia Kevin Laura Peter
day: Monday Tuesday Wednesday Thursday Friday Saturday Sunday
digit: one two three four five six seven eight nine ten
count: one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty hundred
colour: red green blue yellow black white orange purple brown grey
size: big small old new long short heavy cheap little wooden
noun: apple book car house table chair window door garden river mountain city letter bottle camera ticket train bicycle kitchen computer
nouns: apples books cars houses tables chairs windows doors gardens rivers mountains cities letters \
bottles cameras tickets trains bicycles computers
did: found bought sold moved opened painted wanted needed carried ordered lost liked
do: find buy sell move open paint want need carry order lose like
place: office market station hotel school museum bridge airport
time: morning evening afternoon night"""

RULES: dict[str, list[str]] = {
    kind: words.split() for kind, words in (line.split(":") for line in _WORDS.splitlines())
} | {
    "adjective": ["{size}", "{colour}"],
    "digits": [" ".join(["{digit}"] * length) for length in (2, 3, 4, 5)],
}

WEIGHTED: dict[str, list[tuple[int, str]]] = {
    "things": [
        (30, "the {colour} {noun}"),
        (30, "{count} {adjective} {nouns}"),
        (20, "the {size} {noun}"),
        (20, "{count} {nouns}"),
    ],
    "sentence": [
        (200, "{name} {did} {things}."),
        (120, "on {day} {name} {did} {things}."),
        (120, "please {do} {things} and {things}."),
        (100, "the {adjective} {noun} is near the {place}."),
        (60, "did {name} {do} {things}?"),
        (40, "did {name} {do} {things} today?"),
        (100, "we {did} {things} in the {time}."),
        (80, "my number is {digits}."),
        (48, "{name} and {name} will {do} {things}."),
        (32, "{name} and {name} will {do} {things} tomorrow."),
        (50, "yes I {did} {things}."),
        (50, "no thank you {name}."),
    ],
}


HELD_OUT = 8
"""One sentence in so many is never said in training."""


def is_held_out(text: str) -> bool:
    """Whether a sentence belongs to the recordings that models are measured on; decided by the sentence itself, so no list is kept."""
    return zlib.crc32(text.encode()) % HELD_OUT == 0


def sentence(rng: random.Random, held_out: bool) -> str:
    """One sentence, of training or held out: first letter upper case, ends in a full stop or a question mark."""
    while True:
        text = _expand("sentence", rng)
        text = text[0].upper() + text[1:]
        if is_held_out(text) == held_out:
            return text


def _expand(rule: str, rng: random.Random) -> str:
    if rule in WEIGHTED:
        weights, choices = zip(*WEIGHTED[rule], strict=True)
        text = rng.choices(choices, weights)[0]
    else:
        text = rng.choice(RULES[rule])
    return re.sub(r"\{(\w+)\}", lambda match: _expand(match[1], rng), text)


def vocabulary() -> list[str]:
    """Every word of the language in lower case, sorted."""
    texts = [text for texts in RULES.values() for text in texts] + [
        text for rules in WEIGHTED.values() for _, text in rules
    ]
    return sorted({word for text in texts for word in plain_words(re.sub(r"\{\w+\}", "", text))})


def plain_words(text: str) -> list[str]:
    """The words of a text as they are scored: lower case, letters only.

    >>> plain_words("Yes I found the red car.")
    ['yes', 'i', 'found', 'the', 'red', 'car']
    """
    return "".join(c for c in text.lower() if c.isalpha() or c.isspace()).split()
