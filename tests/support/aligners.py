"""Aligners without their models, for texts of every shape: what they hear is chance, the rest is the worker's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from scribe.alignment.aligner import Aligner
from scribe.alignment.sentences import Sentences
from scribe.alignment.text import UNSPACED
from support.demo import models

LATIN, HEBREW = "abcdefghijklmnopqrstuvwxyz'", "אבגדהוזחטיךכלםמןנסעףפץצקרשת"
CHINESE, THAI = "你好世界我们是中国人今天天气", "กขคงจชดตทนบปมยรลวสหอะาิีุู่้เแโ"


class Prepared:
    """In place of a model: letters by chance, the same for the same samples; 50 frames a second."""

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def __call__(self, waveform: torch.Tensor, lengths: Any = None) -> tuple[torch.Tensor, None]:
        frames = max(1, waveform.shape[-1] // 320 - 1)
        dice = np.random.default_rng(frames)
        return torch.from_numpy(dice.standard_normal((1, frames, self._columns)).astype(np.float32) * 6), None


def prepared(language: str, alphabet: str) -> Aligner:
    """An aligner of a language and its letters, without its model."""
    letters = ["-", "|", *alphabet] if language != "zh" else ["[pad]", *alphabet]
    found = copy.copy(models().aligner("en"))
    found._known = {letter: number for number, letter in enumerate(letters)}
    found._metadata = {"language": language, "dictionary": found._known, "type": "torchaudio"}
    found._model, found._blank, found._spaced = Prepared(len(letters)), 0, language != "zh"
    found._by_character = language in UNSPACED
    found.sentences = Sentences(language, None)
    return found


ALIGNERS = {"en": LATIN, "he": HEBREW, "zh": CHINESE, "th": THAI}
TEXTS = {
    language: st.text(st.sampled_from(alphabet + "  .,?!-|7" + "9€ü你\n"), max_size=60)
    for language, alphabet in ALIGNERS.items()
}
ODD = [
    "",
    " ",
    "...",
    " 12 34",
    "a",
    "  two  spaces ",
    "One. Two! 3? Four",
    "|",
    "a|b",
    "Dr. No. 5.5 % of U.S. growth.",
]
