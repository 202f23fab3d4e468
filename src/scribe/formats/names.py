"""Labels -> the names that a reader sees. JSON and TSV, which programs read, keep the labels."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator

from scribe.formats.text import one_line
from scribe.transcript import Segment, Transcript, Word

_CHANNEL = re.compile(r"CHANNEL_0*(\d+)")
_SPEAKER = re.compile(r"SPEAKER_\d+")


def reader_names(transcript: Transcript) -> dict[str, str]:
    """The name of each label, on one line, ordered by first word: whoever was enrolled by name, CHANNEL_2 as
    `Channel 2`, SPEAKER_01 as `Speaker 1` if nobody speaks before. Other labels, of another program, are names."""
    first: dict[str, float] = {}
    for label, start in _starts(transcript):
        first[label] = min(start, first.get(label, math.inf))
    names: dict[str, str] = {}
    taken = set(transcript.names.values())
    for number, label in enumerate(sorted(first, key=first.__getitem__), 1):
        names[label] = one_line(transcript.names.get(label) or _shown(label, number, taken))
        taken.add(names[label])
    return names


def _starts(transcript: Transcript) -> Iterator[tuple[str, float]]:
    """(label, seconds) of everything said; a speaker without text comes last."""
    for segment in transcript.segments:
        said: tuple[Segment | Word, ...] = (segment, *segment.words)
        for spoken in said:
            if spoken.label is not None:
                yield spoken.label, spoken.start
    yield from ((speaker.label, math.inf) for speaker in transcript.speakers)


def _shown(label: str, number: int, taken: Container[str]) -> str:
    if channel := _CHANNEL.fullmatch(label):
        return f"Channel {channel[1]}"
    if not _SPEAKER.fullmatch(label):
        return label
    while f"Speaker {number}" in taken:  # somebody else was enrolled under that name
        number += 1
    return f"Speaker {number}"
