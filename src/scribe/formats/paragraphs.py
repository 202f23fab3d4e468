"""Group segments into paragraphs of one speaker each, for TXT and HTML."""

from __future__ import annotations

from dataclasses import dataclass

from scribe.formats.text import one_line
from scribe.transcript import Segment, Transcript

# Without these limits a lecture of one speaker would be one paragraph of an hour.
PAUSE_SECONDS = 2.0
LONG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Paragraph:
    """At least one segment, in order; `label` is None without diarization."""

    label: str | None
    segments: tuple[Segment, ...]

    @property
    def start(self) -> float:
        """Start in seconds from the start of the recording."""
        return self.segments[0].start


def paragraphs(transcript: Transcript) -> list[Paragraph]:
    """Group the segments that have text; start a paragraph when the speaker changes, at a pause and after a minute."""
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
