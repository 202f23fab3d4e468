"""Transcript -> tab-separated rows: start, end, speaker, text.

Times are whole milliseconds, as in Whisper: a decimal point would become a comma, or a column, under some locales. A name
or a text that a spreadsheet would run as a formula gets an apostrophe before it (owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io

from scribe.formats.options import TextOptions
from scribe.formats.text import one_line
from scribe.formats.times import milliseconds
from scribe.transcript import Transcript

FORMULA = tuple("=+-@＝＋－＠")


def render(transcript: Transcript, options: TextOptions) -> str:
    """A header and a row a segment. A field that holds a quote is quoted, or a spreadsheet would swallow the rows
    up to the next one; tabs and line breaks are folded into spaces, so that splitting at tabs works too."""
    rows = io.StringIO()
    writer = csv.writer(rows, dialect="excel-tab", lineterminator="\n")
    writer.writerow(["start", "end", "speaker", "text"])
    for segment in transcript.segments:
        start = milliseconds(segment.start)
        speaker = _inert(transcript.display(segment.label) or "")
        writer.writerow([start, max(start, milliseconds(segment.end)), speaker, _inert(segment.text)])
    return rows.getvalue()


def _inert(text: str) -> str:
    """One line that a spreadsheet takes for text."""
    line = one_line(text)
    return "'" + line if line.startswith(FORMULA) else line
