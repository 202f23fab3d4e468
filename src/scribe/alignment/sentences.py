"""Split text into sentences by NLTK's Punkt, as whisperX does, else by rules.

Punkt has tables for 19 languages, which are downloaded like weights (models/punkt.py). For every other language whisperX
uses the English ones, which do not know "。", "।" or "؟": those are split by rules, except in parity mode. Rules are also
used when the tables could not be downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from scribe.text.sentences import Place, split_by_rules

NO_TABLES = "sentences end where rules say, since NLTK's punkt_tab could not be downloaded (the worker's log says why)"


class _Punkt(Protocol):
    """The method of NLTK's sentence splitter that is used here."""

    def span_tokenize(self, text: str) -> Iterable[Place]: ...


class Sentences:
    """The sentence splitter of one language.

    `nltk_data`: a folder with the tables that `punkt_tables` names, or None. `by`: the method, "punkt" or "rules".
    """

    def __init__(self, language: str, nltk_data: Path | None, as_whisperx: bool = False) -> None:
        tables = punkt_tables(language, as_whisperx)
        self._language = language
        self._punkt: _Punkt | None = None
        if nltk_data is not None and tables is not None:
            import nltk

            # On nltk's path, so that whisperX's own call in parity mode finds them too.
            if str(nltk_data) not in nltk.data.path:
                nltk.data.path.insert(0, str(nltk_data))
            # Loaded once, because nltk reads the files at every call.
            self._punkt = nltk.data.load(f"tokenizers/punkt_tab/{tables}.pickle")
        self.by = "rules" if self._punkt is None else "punkt"
        # Whether Punkt supports the language and its tables are missing.
        self.lacks_tables = self._punkt is None and tables is not None

    def spans(self, text: str) -> list[Place]:
        """Return (start, end) of each sentence, in order, without the white space between them; the first begins at 0."""
        return split_by_rules(text, self._language) if self._punkt is None else list(self._punkt.span_tokenize(text))


def punkt_tables(language: str, as_whisperx: bool = False) -> str | None:
    """Return NLTK's name of a language's tables (`german`). If there are none: None, or with `as_whisperx` the English ones."""
    from whisperx.utils import PUNKT_LANGUAGES

    tables: str | None = PUNKT_LANGUAGES.get(language, "english" if as_whisperx else None)
    return tables
