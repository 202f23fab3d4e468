"""Transcripts for tests in which nothing is recognized."""

from __future__ import annotations

from scribe.transcript import Segment, Speaker, Transcript, Word

HELLO = Transcript("en", 1.0, (Segment(0.0, 1.0, "Hello there."),), (), 0.9)


def spoken(count: int) -> Transcript:
    """Return `count` segments of two words, each with its own text, by two speakers in turn."""
    labels = ("SPEAKER_00", "SPEAKER_01")
    segments = []
    for n in range(count):
        label = labels[n % 2]
        words = (Word("Sentence", n + 0.0, n + 0.4, 0.9, label), Word(f"{n}.", n + 0.5, n + 0.9, 0.8, label))
        segments.append(Segment(float(n), n + 0.9, f" Sentence {n}.", words, label, -0.1))
    speakers = (Speaker(labels[0], "Anna", 0.9, count / 2), Speaker(labels[1], None, None, count / 2))
    return Transcript("en", float(count), tuple(segments), speakers, 0.99)
