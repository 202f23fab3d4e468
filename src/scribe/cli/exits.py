"""The exit codes, and how errors are printed on the terminal."""

from __future__ import annotations

import sys

DONE, SOME_FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


def report(code: int, sentence: str) -> int:
    """Print the sentence on stderr and return `code`."""
    print(f"scribe: {sentence}", file=sys.stderr)
    return code


def printable(text: str) -> str:
    """Return the text without control characters, which a terminal would execute."""
    return "".join(c if c.isprintable() else " " for c in text)
