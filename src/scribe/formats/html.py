"""Render a transcript as one self-contained HTML page to read, search and listen to; it works offline.

All text from a recording or a job is escaped. The page's Content-Security-Policy allows only its own script (by hash)
and loads only the recording in the same folder, or one that the reader picks.
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

from scribe.formats.doubts import LOW_SCORE, in_words
from scribe.formats.names import reader_names
from scribe.formats.options import TextOptions
from scribe.formats.paragraphs import Paragraph, paragraphs
from scribe.formats.pieces import Shown, words_of
from scribe.formats.text import direction, one_line, parted
from scribe.formats.times import milliseconds, percentages, short_clock
from scribe.transcript import Segment, Transcript

COLOURS = 8


def render(transcript: Transcript, options: TextOptions) -> str:
    """Return the page. Words can be clicked if the aligner gave them times, else segments."""
    names = reader_names(transcript)
    colours = {label: n % COLOURS for n, label in enumerate(names)}
    audio = file_name(options.audio_name)
    language = one_line(transcript.language or "und")  # BCP 47's code for an undetermined language
    shown = {
        "policy": _policy(),
        "title": html.escape(audio or "Transcript"),
        "facts": html.escape(f"{short_clock(transcript.duration)} · {language}"),
        "voices": _voices(transcript, names, colours),
        "warnings": _warnings(options),
        "audio": html.escape(audio),
        "language": html.escape(language),
        "paragraphs": "\n".join(_section(p, names, colours) for p in paragraphs(transcript))
        or "<p>No speech was found.</p>",
    }
    # A single pass, so that text which looks like a placeholder is not replaced.
    return re.sub(r"\[\[(\w+)]]", lambda place: shown[place[1]], _template())


def file_name(address: str) -> str:
    """Return the file name that a path or URL ends in, without folder, query, fragment or user."""
    try:
        path = urlsplit(address).path
    except ValueError:
        return ""
    return one_line(unquote(path).replace("\\", "/").rsplit("/", 1)[-1])


@cache
def _template() -> str:
    """Return page.html with its style and script inserted."""

    def file(extension: str) -> str:
        return Path(__file__).with_name(f"page.{extension}").read_text(encoding="utf-8")

    return file("html").replace("[[style]]", file("css")).replace("[[script]]", file("js"))


@cache
def _policy() -> str:
    def allowed(tag: str) -> str:
        inside = re.search(f"<{tag}>(.*?)</{tag}>", _template(), re.DOTALL)
        assert inside is not None
        return "'sha256-" + base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; script-src {allowed('script')}; style-src {allowed('style')}; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
    )


def _warnings(options: TextOptions) -> str:
    items = "".join(f"<li>{html.escape(one_line(warning))}</li>" for warning in options.warnings)
    return f'<ul class="warnings" aria-label="Warnings">{items}</ul>' if items else ""


def _voices(transcript: Transcript, names: Mapping[str, str], colours: dict[str, int]) -> str:
    seconds = {s.label: s.seconds for s in transcript.speakers}
    for label in names:
        if not seconds.get(label):
            seconds[label] = sum(max(0.0, s.end - s.start) for s in transcript.segments if s.label == label)
    parts = [milliseconds(seconds[label]) for label in names]
    return "".join(
        f'<li><b class="v{colours[label]}"><bdi>{html.escape(name)}</bdi></b> {short_clock(seconds[label])} '
        f'<progress class="v{colours[label]}" max="{max(sum(parts), 1)}" value="{part}" aria-hidden="true"></progress> '
        f"{percent} %</li>"
        for (label, name), part, percent in zip(names.items(), parts, percentages(parts), strict=True)
    )


def _section(paragraph: Paragraph, names: Mapping[str, str], colours: dict[str, int]) -> str:
    colour = f' class="v{colours[paragraph.label]}"' if paragraph.label is not None else ""
    name = html.escape(names[paragraph.label]) if paragraph.label is not None else ""
    at = _seconds(paragraph.start)
    way = direction("".join(segment.text for segment in paragraph.segments))
    return (
        f'<section dir="{way}"><header{colour}><bdi>{name}</bdi>'
        f'<button class="at" data-t="{at}">{short_clock(paragraph.start)}</button></header>'
        f"<p>{_words(paragraph)}</p></section>"
    )


def _words(paragraph: Paragraph) -> str:
    shown = ""
    last = ""
    for segment in paragraph.segments:
        words = list(_timed(segment))
        if not words:
            continue
        apart = " " if last and parted(last, words[0].text) else ""
        shown += apart + _doubted(
            segment, "".join((" " if n and w.space else "") + _word(w) for n, w in enumerate(words))
        )
        last = words[-1].text
    return shown


def _doubted(segment: Segment, words: str) -> str:
    if not segment.suspect:
        return words
    return f'<span class="doubt" data-why="{html.escape(in_words(map(one_line, segment.suspect)))}">{words}</span>'


def _word(word: Shown) -> str:
    marks = {"both": "two speak at once"} if word.overlap else {}
    if word.score is not None and word.score < LOW_SCORE:
        marks["low"] = "hardly heard: it may be another word"
    why = f' class="{" ".join(marks)}" title="{"; ".join(marks.values())}"' if marks else ""
    return f'<span data-t="{_seconds(word.start)}"{why}>{html.escape(word.text)}</span>'


def _timed(segment: Segment) -> Iterable[Shown]:
    """Return the clickable parts: the aligned words, or the whole segment when its words have no times."""
    if segment.words:
        return words_of(segment)
    text = one_line(segment.text)
    return [Shown(text, segment.start, segment.end, True, segment.label, segment.overlap)] if text else []


def _seconds(seconds: float) -> str:
    return str(milliseconds(seconds) / 1000)
