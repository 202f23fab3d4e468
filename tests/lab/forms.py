"""Words as people write them and no aligner's alphabet has them: digits, signs, another script. What times do they get?

The recording is a conversation, the text its own, with the words of FORMS written otherwise: so the aligner is asked
alone, and every word's true time is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.scores import Score

NUMERALS = "one two three four five six seven eight nine ten eleven twelve thirteen"
FORMS = {word: str(number) for number, word in enumerate(NUMERALS.split(), 1)}
FORMS |= {"fifteen": "15", "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "hundred": "100"}
FORMS |= {"and": "&", "number": "№", "Peter": "Пётр", "Laura": "Лаура", "Kevin": "凱文", "Grace": "غريس"}
HURRIED = "Please carry the green camera and the grey river."
HURRIED_S = 0.25
"""A sentence in a quarter of a second, as Whisper invents them over a knock: more letters than the aligner has frames."""
AROUND_S = 0.1
SENTENCE = re.compile(r"(\w+)")


def written(text: str) -> str:
    """The text with the words of FORMS written otherwise."""
    return SENTENCE.sub(lambda found: FORMS.get(found[1], found[1]), text)


def segments(truth: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each sentence of the truth as a segment to align, a little wider than it is; HURRIED at the end."""
    last = {"start": truth["duration"] - HURRIED_S, "end": truth["duration"], "text": HURRIED}
    sentences = [
        {
            "start": max(0.0, turn["start"] - AROUND_S),
            "end": min(truth["duration"], turn["end"] + AROUND_S),
            "text": written(turn["text"]),
        }
        for turn in truth["turns"]
    ]
    return [*sentences, last]


def score_forms(truth: Mapping[str, Any], aligned: Sequence[Mapping[str, Any]]) -> Score:
    """Only the words of FORMS are counted, each by its place in the text, and those of HURRIED, which have no true time.

    A word that the answer lacks has no time either.
    """
    told = iter([word for segment in aligned for word in segment.get("words", ())])
    starts, ends, untimed, count = [], [], 0, 0
    for turn in truth["turns"]:
        own = [
            w for w in truth["words"] if w["speaker"] == turn["speaker"] and turn["start"] <= w["start"] < turn["end"]
        ]
        for said in own:
            answer = next(told, {})
            if said["word"].strip(".?,") not in FORMS:
                continue
            count += 1
            if not _timed(answer):
                untimed += 1
                continue
            starts.append(abs(said["start"] - answer["start"]))
            ends.append(abs(said["end"] - answer["end"]))
    for _ in HURRIED.split():
        count += 1
        untimed += not _timed(next(told, {}))
    return Score(words=count, untimed=untimed, start_errors=tuple(starts), end_errors=tuple(ends))


def _timed(word: Mapping[str, Any]) -> bool:
    return word.get("start") is not None and word.get("end") is not None
