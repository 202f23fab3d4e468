"""NLTK's tables for stock whisperX, which would download them: English ones of this project's own, with a few abbreviations."""

from __future__ import annotations

import functools
from pathlib import Path

from support.demo import scratch

ABBREVIATIONS = ("dr", "mr", "mrs", "e.g", "i.e", "u.s", "no")


@functools.cache
def folder() -> Path:
    """A folder for nltk.data.path, also put there."""
    import nltk

    place = scratch() / "nltk_data"
    tables(place, "english", ABBREVIATIONS)
    nltk.data.path.insert(0, str(place))
    return place


def tables(place: Path, language: str, abbreviations: tuple[str, ...]) -> None:
    """Write the four files of `language` (NLTK's name) below `place`."""
    own = place / "tokenizers" / "punkt_tab" / language
    own.mkdir(parents=True)
    (own / "abbrev_types.txt").write_text("\n".join(abbreviations), "utf-8")
    (own / "collocations.tab").write_text("", "utf-8")
    (own / "sent_starters.txt").write_text("", "utf-8")
    (own / "ortho_context.tab").write_text("the\t64\n", "utf-8")
