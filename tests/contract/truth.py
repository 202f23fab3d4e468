"""How near a transcript comes to what is really said in a recording of samples/."""

from __future__ import annotations

import json
from difflib import SequenceMatcher
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def likeness(heard: str, recording: str) -> float:
    """1 when the words of `heard` are those of samples/<recording>.json in the same order, 0 when none is."""
    truth = json.loads((SAMPLES / f"{recording}.json").read_text())
    said = _words(" ".join(turn["text"] for turn in truth["turns"]))
    return SequenceMatcher(a=said, b=_words(heard), autojunk=False).ratio()


def _words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalpha() or c.isspace()).split()
