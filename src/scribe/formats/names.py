"""Choose the speakers' display names for formats that people read; JSON and TSV keep the labels."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator

from scribe.formats.text import one_line
from scribe.transcript import Segment, Transcript, Word

_CHANNEL = re.compile(r"CHANNEL_0*(\d+)")
_SPEAKER = re.compile(r"SPEAKER_\d+")


def reader_names(transcript: Transcript) -> dict[str, str]:
    """Return the display name of each label, ordered by first word.

    An enrolled speaker has the enrolled name, CHANNEL_2 is `Channel 2`, and SPEAKER_01 is `Speaker 1` if it speaks first.
    Any other label, from another program, is its own name.
    """
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
    """Yield (label, start in seconds) of each segment and word; a speaker without text has infinity."""
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
    while f"Speaker {number}" in taken:  # another speaker was enrolled under that name
        number += 1
    return f"Speaker {number}"
