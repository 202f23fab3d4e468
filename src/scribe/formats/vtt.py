"""Render a transcript as WebVTT (W3C), with the speaker of each cue in a voice tag."""

from __future__ import annotations

from scribe.formats.cues import cues, parts, text_of
from scribe.formats.options import TextOptions
from scribe.formats.times import stamp
from scribe.transcript import Transcript

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render(transcript: Transcript, options: TextOptions) -> str:
    """Return the header and the cues; only the header without speech.

    `<v Name>` opens every cue with a known speaker; players use it for styling and few show it, so `subtitle_speakers`
    adds visible names. `highlight_words` makes a cue for each word, with that word underlined.
    """
    voices = options.subtitle_speakers != "none"
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript, options, labelled=False):
        voice = _voice(cue.speaker) if cue.speaker and voices else ""
        for start, end, said in parts(cue) if options.highlight_words else [(cue.start, cue.end, None)]:
            blocks.append(f"{stamp(start)} --> {stamp(end)}\n{voice}{text_of(cue, said, _escaped)}\n")
    return "\n".join(blocks)


def _voice(name: str) -> str:
    # A name that ends in dashes would form `-->` with the tag's end; players ignore the space.
    return f"<v {_escaped(name)}{' ' if name.endswith('-') else ''}>"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
