"""Transcript -> one self-contained page to read, search and listen to; works from disk, without a network.

Everything that comes from a recording or a job is escaped, and the page's policy lets no script run but its own (by
hash) and nothing load but the recording beside it or one that the reader picks.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..transcript import Segment, Transcript
from .names import reader_names
from .options import TextOptions
from .paragraphs import Paragraph, paragraphs
from .pieces import words_of
from .text import one_line, unspaced
from .times import clock, milliseconds

COLOURS = 8


def render(transcript: Transcript, options: TextOptions) -> str:
    """The whole page. Words can be clicked where the aligner gave them times, else segments."""
    names = reader_names(transcript)
    colours = {label: n % COLOURS for n, label in enumerate(names)}
    audio = file_name(options.audio_name)
    language = one_line(transcript.language or "und")  # BCP 47 for a language that nobody determined
    shown = {
        "policy": _policy(),
        "title": html.escape(audio or "Transcript"),
        "facts": html.escape(f"{clock(transcript.duration)} · {language}"),
        "voices": _voices(transcript, names, colours),
        "audio": html.escape(audio),
        "language": html.escape(language),
        "paragraphs": "\n".join(_section(p, names, colours) for p in paragraphs(transcript))
        or "<p>No speech was found.</p>",
    }
    # One pass: a text that looks like a place in the template stays a text.
    return re.sub(r"\[\[(\w+)]]", lambda place: shown[place[1]], _template())


def file_name(address: str) -> str:
    """The bare name of the file that a path or URL ends in: no folder, query, fragment or user."""
    try:
        path = urlsplit(address).path
    except ValueError:
        return ""
    return one_line(unquote(path).replace("\\", "/").rsplit("/", 1)[-1])


@cache
def _template() -> str:
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


@cache
def _policy() -> str:
    def allowed(tag: str) -> str:
        inside = re.search(f"<{tag}>(.*?)</{tag}>", _template(), re.DOTALL)
        return "'sha256-" + base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; script-src {allowed('script')}; style-src {allowed('style')}; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
    )


def _voices(transcript: Transcript, names: Mapping[str, str], colours: dict[str, int]) -> str:
    seconds = {s.label: s.seconds for s in transcript.speakers}
    for label in colours:
        if not seconds.get(label):
            seconds[label] = sum(max(0.0, s.end - s.start) for s in transcript.segments if s.label == label)
    total = sum(milliseconds(s) for s in seconds.values())
    return "".join(
        f'<li><b class="v{colour}"><bdi>{html.escape(names[label])}</bdi></b> {clock(seconds[label])} '
        f'<progress class="v{colour}" max="{max(total, 1)}" value="{milliseconds(seconds[label])}"></progress> '
        f"{100 * milliseconds(seconds[label]) // max(total, 1)} %</li>"
        for label, colour in colours.items()
    )


def _section(paragraph: Paragraph, names: Mapping[str, str], colours: dict[str, int]) -> str:
    colour = f' class="v{colours[paragraph.label]}"' if paragraph.label is not None else ""
    name = html.escape(names[paragraph.label]) if paragraph.label is not None else ""
    at = _seconds(paragraph.start)
    return (
        f"<section><header{colour}><bdi>{name}</bdi>"
        f'<button class="at" data-t="{at}">{clock(paragraph.start)}</button></header>'
        f'<p dir="auto">{_words(paragraph)}</p></section>'
    )


def _words(paragraph: Paragraph) -> str:
    spans: list[str] = []
    last = ""
    for segment in paragraph.segments:
        for n, (text, start, space, overlap) in enumerate(_timed(segment)):
            apart = " " if last and (space if n else not (unspaced(last) and unspaced(text[0]))) else ""
            both = ' class="both" title="two speak at once"' if overlap else ""
            spans.append(f'{apart}<span data-t="{_seconds(start)}"{both}>{html.escape(text)}</span>')
            last = text[-1]
    return "".join(spans)


def _timed(segment: Segment) -> Iterable[tuple[str, float, bool, bool]]:
    """What can be clicked. Times of words that nobody aligned would be guesses: then it is the segment."""
    if segment.words:
        return ((text, start, space, overlap) for text, start, _, space, _, overlap in words_of(segment))
    text = one_line(segment.text)
    return [(text, segment.start, True, segment.overlap)] if text else []


def _seconds(seconds: float) -> str:
    return str(milliseconds(seconds) / 1000)
