"""Transcript -> paragraphs: what one speaker says until another does. For the formats that are read, not watched."""

from __future__ import annotations

from dataclasses import dataclass

from scribe.formats.text import one_line
from scribe.transcript import Segment, Transcript

# Without speakers a lecture would be one paragraph of an hour: a new one begins at a pause or after a minute.
PAUSE_SECONDS = 2.0
LONG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Segments that belong together, in order, at least one; `label` is None when nobody was diarized."""

    label: str | None
    segments: tuple[Segment, ...]

    @property
    def start(self) -> float:
        """Seconds from the start of the recording."""
        return self.segments[0].start


def paragraphs(transcript: Transcript) -> list[Paragraph]:
    """Group the segments that hold text: a new paragraph where the speaker changes, at a pause, after a minute."""
    grouped: list[list[Segment]] = []
    for segment in transcript.segments:
        if not one_line(segment.text):
            continue
        if grouped and _continues(grouped[-1], segment):
            grouped[-1].append(segment)
        else:
            grouped.append([segment])
    return [Paragraph(group[0].label, tuple(group)) for group in grouped]


def _continues(group: list[Segment], segment: Segment) -> bool:
    return (
        group[-1].label == segment.label
        and segment.start - group[-1].end < PAUSE_SECONDS
        and segment.start - group[0].start < LONG_SECONDS
    )
