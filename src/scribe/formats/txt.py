"""Render a transcript as plain text: paragraphs with their start time and speaker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from scribe.formats.doubts import MARK
from scribe.formats.names import reader_names
from scribe.formats.options import TextOptions
from scribe.formats.paragraphs import Paragraph, paragraphs
from scribe.formats.text import directed, direction, join, one_line
from scribe.formats.times import clock
from scribe.transcript import Transcript


def render(transcript: Transcript, options: TextOptions) -> str:
    """Return paragraphs as `[00:01:23] Anna: what she says`, with empty lines between them; empty without speech.

    `txt_times` False leaves the time out; `mark_suspect` puts `[?]` before text that may be invented.
    """
    names = reader_names(transcript)
    return "\n".join(_paragraph(p, names, options) + "\n" for p in paragraphs(transcript))


def _paragraph(paragraph: Paragraph, names: Mapping[str, str], options: TextOptions) -> str:
    time = f"[{clock(paragraph.start)}] " if options.txt_times else ""
    name = names[paragraph.label] if paragraph.label is not None else ""
    text = join(_texts(paragraph, options.mark_suspect))
    # The direction mark follows the time, because programs find the paragraphs by their leading `[`.
    return time + directed(f"{name + ': ' if name else ''}{text}", direction(text))


def _texts(paragraph: Paragraph, mark_suspect: bool) -> Iterator[str]:
    doubted = False
    for segment in paragraph.segments:
        if mark_suspect and segment.suspect and not doubted:
            yield MARK
        doubted = bool(segment.suspect)
        yield one_line(segment.text)
