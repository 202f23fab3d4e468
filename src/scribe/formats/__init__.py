"""Transcript -> json, srt, vtt, tsv, txt, html: one small pure function each, named in one table."""

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
    """`render` gives the whole file as text; files are UTF-8."""

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
    """The text that travels in the answer: plain_text, its sentences in a row; formatted_text, one a line; or a format."""
    sentences = [one_line(s.text) for s in transcript.segments]
    if name == "plain_text":
        return join(sentences)
    return "\n".join(sentences) if name == "formatted_text" else FORMATS[name].render(transcript, options)


def render_all(transcript: Transcript, names: Iterable[str], options: TextOptions) -> dict[str, bytes]:
    """Each named format as the bytes of its file, in the order asked for. A name not in FORMATS is a KeyError."""
    return {name: FORMATS[name].render(transcript, options).encode() for name in names}
