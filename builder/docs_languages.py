"""The table of docs/languages.md: every language that Whisper recognizes, its aligner, and what ends its sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

MODEL_SET = Path(__file__).resolve().parents[1] / "models" / "default" / "model_set.json"
HEAD = ("code", "language", "words are aligned by", "sentences end by")


def languages() -> Iterator[tuple[str, str, str, str]]:
    """(code, name, aligner, splitter) of each language, in the order of the names; "" where there is no aligner."""
    from whisperx.utils import LANGUAGES as NAMES

    from scribe.alignment.sentences import punkt_tables
    from scribe.schema.languages import LANGUAGES

    aligners = json.loads(MODEL_SET.read_text("utf-8"))["aligners"]
    for code in sorted(LANGUAGES, key=lambda code: NAMES[code]):
        aligner = f"`{aligners[code].partition('@')[0]}`" if code in aligners else ""
        yield f"`{code}`", NAMES[code].title(), aligner, "NLTK's Punkt" if punkt_tables(code) else "rules"
