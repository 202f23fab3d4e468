"""Render a transcript as tab-separated rows: start, end, speaker, text.

Times are whole milliseconds, as in Whisper: some locales read a decimal point as a separator. A name or text that a
spreadsheet would run as a formula gets an apostrophe before it (owasp.org/www-community/attacks/CSV_Injection).
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
    """Return a header and a row for each segment.

    A field that contains a quote is quoted, because spreadsheets read an open quote across rows. Tabs and line breaks
    become spaces, so that splitting at tabs works too.
    """
    rows = io.StringIO()
    writer = csv.writer(rows, dialect="excel-tab", lineterminator="\n")
    writer.writerow(["start", "end", "speaker", "text"])
    for segment in transcript.segments:
        start = milliseconds(segment.start)
        speaker = _inert(transcript.display(segment.label) or "")
        writer.writerow([start, max(start, milliseconds(segment.end)), speaker, _inert(segment.text)])
    return rows.getvalue()


def _inert(text: str) -> str:
    """Return the text on one line, with an apostrophe if a spreadsheet would read it as a formula."""
    line = one_line(text)
    return "'" + line if line.startswith(FORMULA) else line
