"""The exit codes, and the one way in which an error reaches the terminal: a sentence on stderr."""

from __future__ import annotations

import sys

DONE, SOME_FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


def report(code: int, sentence: str) -> int:
    """Print the sentence; the code."""
    print(f"scribe: {sentence}", file=sys.stderr)
    return code


def printable(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)
