"""Transcript -> subtitle cues: what stands on the screen, from when to when. Shared by SRT and VTT; knows no syntax.

The numbers are those of the guides that subtitlers work by (Netflix, BBC, EBU): two lines of 42 columns, at most
7 seconds and no flashing, time enough to read, breaks after punctuation. Times are whole milliseconds, so that
rounding can never make two cues overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..transcript import Transcript
from .options import TextOptions
from .pieces import Piece, best_break, label_pieces, pieces_of, wrap
from .text import one_line
from .times import milliseconds

MAX_MS = 7000
MIN_MS = 800
COLUMNS_PER_SECOND = 20
# A pause this long ends a cue: text must not stand there while nobody speaks, nor give away what comes.
PAUSE_MS = 1000
# While two speak at once the later cue waits until the earlier one can be read, but no longer than this.
LATE_MS = 2000

# Control characters never get past `one_line`, so these cannot be part of a text.
_OPEN, _CLOSE = "\x01", "\x02"


@dataclass(frozen=True, slots=True)
class Cue:
    """`lines` hold pieces; a piece that is not `spoken` belongs to the speaker's label. 0 <= `start` < `end`."""

    start: int
    end: int
    lines: tuple[tuple[Piece, ...], ...]
    speaker: str | None = None

    @property
    def pieces(self) -> list[Piece]:
        """All pieces, line after line."""
        return [piece for line in self.lines for piece in line]


def cues(transcript: Transcript, options: TextOptions, labelled: bool) -> list[Cue]:
    """All cues in order of time, none overlapping another, none of no length.

    No line is wider than `max_line_width` columns and no cue has more than `max_line_count` lines. `labelled` puts
    `Name:` before the text where the speaker changes, counted in the width.
    """
    drafts: list[Cue] = []
    before: str | None = None
    for run, speaker in _runs(transcript, options.max_line_width):
        label = label_pieces(speaker, options) if labelled and speaker and speaker != before else []
        before = speaker
        if label:
            run[0] = replace(run[0], space=True)
        drafts.extend(_drafts(run, label, speaker, options))
    return _timed(drafts, milliseconds(transcript.duration))


def parts(cue: Cue) -> Iterator[tuple[int, int, int]]:
    """(start, end, index of the piece said then): together they cover the cue, none overlap."""
    spoken = [i for i, piece in enumerate(cue.pieces) if piece.spoken]
    at = cue.start
    for index, following in zip(spoken, [*spoken[1:], None], strict=True):
        end = cue.end if following is None else min(max(cue.pieces[following].start, at), cue.end)
        if end > at:
            yield at, end, index
        at = end


def text_of(cue: Cue, said: int | None, escape: Callable[[str], str]) -> str:
    """The cue's lines, escaped; the piece with the index `said` underlined, which SRT and VTT write alike.

    Each line is escaped as a whole: `--` and `>` may be two words.
    """
    marked, index = [], 0
    for line in cue.lines:
        shown = ""
        for n, piece in enumerate(line):
            shown += " " if piece.space and n else ""
            shown += f"{_OPEN}{piece.text}{_CLOSE}" if index == said else piece.text
            index += 1
        marked.append(escape(shown).replace(_OPEN, "<u>").replace(_CLOSE, "</u>"))
    return "\n".join(marked)


def _runs(transcript: Transcript, width: int) -> Iterator[tuple[list[Piece], str | None]]:
    """Stretches that no cue crosses: a segment, cut where the speaker changes and at pauses; sorted by time."""
    for segment in sorted(transcript.segments, key=lambda s: (milliseconds(s.start), milliseconds(s.end))):
        run: list[Piece] = []
        for piece in pieces_of(segment, width):
            if run and (piece.label != run[-1].label or piece.start - run[-1].end >= PAUSE_MS):
                yield run, _speaker(transcript, run)
                run = []
            run.append(piece)
        if run:
            yield run, _speaker(transcript, run)


def _speaker(transcript: Transcript, run: Sequence[Piece]) -> str | None:
    return one_line(transcript.display(run[0].label) or "") or None


def _drafts(run: list[Piece], label: list[Piece], speaker: str | None, options: TextOptions) -> Iterator[Cue]:
    """Cut a run until every part fits, each time at the best place near its middle, so that no word is left alone."""
    waiting = [(label, run)]
    while waiting:
        lead, part = waiting.pop()
        lines = wrap([*lead, *part], options)
        if lines is not None and (part[-1].end - part[0].start <= MAX_MS or len(part) == 1):
            yield Cue(part[0].start, part[-1].end, lines, speaker)
        elif len(part) > 1:
            cut = best_break(part, PAUSE_MS // 3)
            waiting += [([], part[cut:]), (lead, part[:cut])]
        else:
            # Not even one word fits beside the name: the word matters more.
            waiting.append(([], part))


def _timed(drafts: Sequence[Cue], duration: int) -> list[Cue]:
    timed: list[Cue] = []
    for draft in sorted(drafts, key=lambda c: c.start):
        start = draft.start
        if timed:
            previous = timed[-1]
            enough = min(previous.end - previous.start, _reading_ms(previous))
            start = max(start, min(previous.start + enough, start + LATE_MS), previous.start + 1)
            timed[-1] = replace(previous, end=min(previous.end, start))
        timed.append(replace(draft, start=start, end=max(start + 1, min(draft.end, start + MAX_MS))))
    return [
        _readable(cue, timed[n + 1].start if n + 1 < len(timed) else max(cue.end, duration))
        for n, cue in enumerate(timed)
    ]


def _reading_ms(cue: Cue) -> int:
    width = sum(piece.width + piece.space for piece in cue.pieces)
    return min(max(MIN_MS, width * 1000 // COLUMNS_PER_SECOND), MAX_MS)


def _readable(cue: Cue, limit: int) -> Cue:
    """Let a cue stand until it can be read, as far as the next one allows."""
    return replace(cue, end=max(cue.end, min(cue.start + _reading_ms(cue), limit)))
