"""Transcript -> plain text to read: a paragraph a speaker, each with the time at which it begins."""

from __future__ import annotations

from scribe.formats.options import TextOptions
from scribe.formats.paragraphs import Paragraph, paragraphs
from scribe.formats.text import join, one_line
from scribe.formats.times import clock
from scribe.transcript import Transcript


def render(transcript: Transcript, options: TextOptions) -> str:
    """`[00:01:23] Anna: what she says`, an empty line between paragraphs; empty when nobody speaks."""
    return "\n".join(_paragraph(p, transcript) + "\n" for p in paragraphs(transcript))


def _paragraph(paragraph: Paragraph, transcript: Transcript) -> str:
    name = one_line(transcript.display(paragraph.label) or "")
    words = join(one_line(s.text) for s in paragraph.segments)
    return f"[{clock(paragraph.start)}] {name + ': ' if name else ''}{words}"
