"""Transcript -> plain text to read: a paragraph a speaker, each with the time at which it begins."""

from __future__ import annotations

from ..transcript import Transcript
from .options import TextOptions
from .paragraphs import Paragraph, paragraphs
from .text import join, one_line
from .times import clock


def render(transcript: Transcript, options: TextOptions) -> str:
    """`[00:01:23] Anna: what she says`, an empty line between paragraphs; empty when nobody speaks."""
    return "\n".join(_paragraph(p, transcript) + "\n" for p in paragraphs(transcript))


def _paragraph(paragraph: Paragraph, transcript: Transcript) -> str:
    name = one_line(transcript.display(paragraph.label) or "")
    words = join(one_line(s.text) for s in paragraph.segments)
    return f"[{clock(paragraph.start)}] {name + ': ' if name else ''}{words}"
