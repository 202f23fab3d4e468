"""Render a transcript as json, srt, vtt, tsv, txt or html: one pure function each, listed in FORMATS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scribe.formats import html, json, srt, tsv, txt, vtt
from scribe.formats.options import JOB_KEYS, TextOptions
from scribe.formats.text import join, one_line
from scribe.transcript import Transcript

__all__ = ["FORMATS", "JOB_KEYS", "Format", "TextOptions", "inline_text", "render_all"]


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: its extension, content type and `render`, which returns the whole file as text (UTF-8)."""

    extension: str
    content_type: str
    render: Callable[[Transcript, TextOptions], str]


FORMATS: dict[str, Format] = {
    "json": Format("json", "application/json", json.render),
    "srt": Format("srt", "application/x-subrip; charset=utf-8", srt.render),
    "vtt": Format("vtt", "text/vtt; charset=utf-8", vtt.render),
    "tsv": Format("tsv", "text/tab-separated-values; charset=utf-8", tsv.render),
    "txt": Format("txt", "text/plain; charset=utf-8", txt.render),
    "html": Format("html", "text/html; charset=utf-8", html.render),
}


def inline_text(name: str, transcript: Transcript, options: TextOptions) -> str:
    """Return the transcript as text: plain_text (all segments on one line), formatted_text (one a line), or a format."""
    sentences = [one_line(s.text) for s in transcript.segments]
    if name == "plain_text":
        return join(sentences)
    return "\n".join(sentences) if name == "formatted_text" else FORMATS[name].render(transcript, options)


def render_all(transcript: Transcript, names: Iterable[str], options: TextOptions) -> dict[str, bytes]:
    """Return the file of each named format as bytes, in the order given. Raises KeyError for a name not in FORMATS."""
    return {name: FORMATS[name].render(transcript, options).encode() for name in names}
