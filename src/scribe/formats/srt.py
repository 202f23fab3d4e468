"""Render a transcript as SubRip. SRT has no standard and no escape: this follows what players and parsers agree on."""

from __future__ import annotations

import re

from scribe.formats.cues import cues, parts, text_of
from scribe.formats.options import TextOptions
from scribe.formats.times import stamp
from scribe.transcript import Transcript

# An invisible word joiner, put into text that a player would take for a tag (<i>, {\an8}) or a parser for times.
JOINER = "\u2060"
_MARKUP = re.compile(r"(?<=<)(?=[A-Za-z/!])|(?<=\{)(?=[\\A-Za-z])|(?<=--)(?=>)")


def render(transcript: Transcript, options: TextOptions) -> str:
    """Return numbered cues, with `Name: ` where the speaker changes; empty without speech.

    `highlight_words` makes a cue for each word, with that word underlined. Removing U+2060 restores the original text.
    """
    blocks: list[str] = []
    for cue in cues(transcript, options, labelled=True):
        for start, end, said in parts(cue) if options.highlight_words else [(cue.start, cue.end, None)]:
            times = f"{stamp(start, ',')} --> {stamp(end, ',')}"
            blocks.append(f"{len(blocks) + 1}\n{times}\n{text_of(cue, said, _escaped)}\n")
    return "\n".join(blocks)


def _escaped(line: str) -> str:
    return _MARKUP.sub(JOINER, line)
