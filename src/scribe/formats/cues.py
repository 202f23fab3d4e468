"""Split a transcript into subtitle cues with times and lines, for SRT and VTT; knows no file syntax.

The limits follow the subtitling guides of Netflix, the BBC and the EBU: two lines of 42 columns, 5/6 to 7 seconds,
enough time to read, no flicker between cues, breaks after punctuation. Times are whole milliseconds, so that rounding
can never make two cues overlap.

A cue starts with its first word; it is delayed, at most by LATE_MS, only until another speaker's cue can be read. It is
shown at least until its last word ends, unless another cue starts or MAX_MS pass; beyond that for its reading time,
and until the next cue if that one follows within CHAIN_MS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from scribe.formats.doubts import MARK
from scribe.formats.names import reader_names
from scribe.formats.options import TextOptions
from scribe.formats.pieces import Lines, Piece, best_break, label_pieces, pieces_of, wrap
from scribe.formats.text import directed, direction, parted
from scribe.formats.times import milliseconds
from scribe.transcript import Transcript

MAX_MS = 7000
MIN_MS = 833
# A shorter gap between two cues flickers: the first one is extended to close it.
CHAIN_MS = 500
# A pause this long ends a cue: no text is shown while nobody speaks, nor before it is spoken.
PAUSE_MS = 1000
# When two speak at once, the later cue is delayed until the earlier one can be read, at most by this.
LATE_MS = 2000

DASH = Piece("-", 0, 0, 1, spoken=False)

# `one_line` removes control characters, so these cannot be part of a text.
_OPEN, _CLOSE = "\x01", "\x02"


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle with its lines and its times in milliseconds, 0 <= `start` < `end`.

    A piece that is not `spoken` is a speaker's label or a mark of doubt.
    """

    start: int
    end: int
    lines: tuple[tuple[Piece, ...], ...]
    speaker: str | None = None

    @property
    def pieces(self) -> list[Piece]:
        """All pieces of all lines, in order."""
        return [piece for line in self.lines for piece in line]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A cue without its final times: `lead` is the speaker's label if one is shown, `run` the spoken pieces."""

    lead: list[Piece]
    run: list[Piece]
    lines: Lines
    speaker: str | None

    @property
    def start(self) -> int:
        return self.run[0].start


def cues(transcript: Transcript, options: TextOptions, labelled: bool) -> list[Cue]:
    """Return all cues in order of time; none overlap and none is empty.

    No line is wider than `max_line_width` columns and no cue has more than `max_line_count` lines. `labelled` puts
    `Name:` before the text where the speaker changes, counted in the width, unless `subtitle_speakers` is set.
    """
    style = options.subtitle_speakers or ("name" if labelled else "none")
    duration = milliseconds(transcript.duration)
    found = [cut for run, speaker in _runs(transcript, options) for cut in _drafts([], run, speaker, options)]
    drafts = _labelled(sorted(found, key=lambda d: d.start), style, options)
    return _timed(_merged(drafts, duration, options), duration, options)


def parts(cue: Cue) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, index of the piece spoken then); the intervals cover the cue without overlap."""
    spoken = [i for i, piece in enumerate(cue.pieces) if piece.spoken]
    at = cue.start
    for index, following in zip(spoken, [*spoken[1:], None], strict=True):
        end = cue.end if following is None else min(max(cue.pieces[following].start, at), cue.end)
        if end > at:
            yield at, end, index
        at = end


def text_of(cue: Cue, said: int | None, escape: Callable[[str], str]) -> str:
    """Return the cue's lines, escaped, with the piece of index `said` underlined by `<u>`, as in both SRT and VTT.

    Each line is escaped as a whole, because `--` and `>` may be two pieces.
    """
    marked, index = [], 0
    way = direction("".join(piece.text for piece in cue.pieces if piece.spoken))
    for line in cue.lines:
        shown = ""
        for n, piece in enumerate(line):
            shown += " " if piece.space and n else ""
            shown += f"{_OPEN}{piece.text}{_CLOSE}" if index == said else piece.text
            index += 1
        marked.append(escape(directed(shown, way)).replace(_OPEN, "<u>").replace(_CLOSE, "</u>"))
    return "\n".join(marked)


def _runs(transcript: Transcript, options: TextOptions) -> Iterator[tuple[list[Piece], str | None]]:
    """Yield (pieces, speaker's name) in order of time: each segment, cut where the speaker changes and at pauses.

    No cue extends beyond one of them.
    """
    names = reader_names(transcript)
    for segment in sorted(transcript.segments, key=lambda s: (milliseconds(s.start), milliseconds(s.end))):
        run: list[Piece] = []
        for piece in pieces_of(segment, options.max_line_width):
            if run and (piece.label != run[-1].label or piece.start - run[-1].end >= PAUSE_MS):
                yield run, names.get(run[0].label or "") or None
                run = []
            run.append(piece)
        if run:
            yield run, names.get(run[0].label or "") or None


def _drafts(lead: list[Piece], run: list[Piece], speaker: str | None, options: TextOptions) -> Iterator[_Draft]:
    """Split a run until every part fits a cue, each time at the best break near its middle, so that no word is left alone."""
    waiting = [(lead, run)]
    while waiting:
        before, part = waiting.pop()
        lines = _lines(before, part, options)
        if lines is not None and (part[-1].end - part[0].start <= MAX_MS or len(part) == 1):
            yield _Draft(before, part, lines, speaker)
        elif len(part) > 1:
            cut = best_break(part, PAUSE_MS // 3)
            again = lead if options.subtitle_speakers == "every" else []
            waiting += [(again, part[cut:]), (before, part[:cut])]
        else:
            # A single word and the label do not fit together: leave the label out.
            waiting.append(([], part))


def _lines(lead: Sequence[Piece], run: Sequence[Piece], options: TextOptions) -> Lines | None:
    """Wrap a cue with its label and its marks of doubt into lines; return None when they do not fit."""
    shown = list(_marked(run)) if options.mark_suspect else list(run)
    if lead:
        shown[0] = replace(shown[0], space=True)
    lines = wrap([*lead, *shown], options)
    # A single word always fits, but perhaps not together with its mark.
    return wrap(run, options) if lines is None and not lead and len(run) == 1 else lines


def _marked(run: Sequence[Piece]) -> Iterator[Piece]:
    """Yield the run with a mark before each doubtful passage."""
    doubted = False
    for piece in run:
        if piece.doubtful and not doubted:
            yield Piece(MARK, piece.start, piece.start, len(MARK), spoken=False)
            yield replace(piece, space=True)
        else:
            yield piece
        doubted = piece.doubtful


def _labelled(drafts: Sequence[_Draft], style: str, options: TextOptions) -> Iterator[_Draft]:
    """Yield the drafts with the labels that `style` asks for, split again when a label leaves too little room."""
    before: tuple[str | None] | None = None
    for draft in drafts:
        changed, first = before != (draft.speaker,), before is None
        before = (draft.speaker,)
        if not draft.speaker or style == "none" or not (changed or style == "every") or (style == "dash" and first):
            yield draft
        else:
            lead = [DASH] if style == "dash" else label_pieces(draft.speaker, options)
            yield from _drafts(lead, draft.run, draft.speaker, options)


def _merged(drafts: Iterable[_Draft], duration: int, options: TextOptions) -> list[_Draft]:
    """Merge adjacent cues of one speaker when one of them is too short to be read and both fit into one."""
    ordered = sorted(drafts, key=lambda d: d.start)
    merged: list[_Draft] = []
    for n, draft in enumerate(ordered):
        end = ordered[n + 1].start if n + 1 < len(ordered) else max(duration, draft.run[-1].end)
        if merged:
            last = merged[-1]
            too_short = draft.start - last.start < _reading_ms(last.lines, options)
            if too_short or end - draft.start < _reading_ms(draft.lines, options):
                joined = _joined(last, draft, options)
                if joined is not None:
                    merged[-1] = joined
                    continue
        merged.append(draft)
    return merged


def _joined(first: _Draft, second: _Draft, options: TextOptions) -> _Draft | None:
    """Return both as one cue; None when the speaker changes, a pause separates them or they do not fit."""
    last, following = first.run[-1], second.run[0]
    short = second.run[-1].end - first.start <= MAX_MS
    if last.label != following.label or not 0 <= following.start - last.end < PAUSE_MS or not short:
        return None
    run = [*first.run, replace(following, space=following.space and parted(last.text, following.text)), *second.run[1:]]
    lines = _lines(first.lead, run, options)
    return None if lines is None else _Draft(first.lead, run, lines, first.speaker)


def _timed(drafts: Sequence[_Draft], duration: int, options: TextOptions) -> list[Cue]:
    timed: list[Cue] = []
    for draft in drafts:
        start = draft.start
        if timed:
            previous = timed[-1]
            enough = min(previous.end - previous.start, _reading_ms(previous.lines, options))
            start = max(start, min(previous.start + enough, start + LATE_MS), previous.start + 1)
            timed[-1] = replace(previous, end=min(previous.end, start))
        end = max(start + 1, min(draft.run[-1].end, start + MAX_MS))
        timed.append(Cue(start, end, draft.lines, draft.speaker))
    following = [cue.start for cue in timed[1:]]
    return [_readable(cue, limit, options) for cue, limit in zip(timed, following, strict=False)] + [
        _readable(cue, max(cue.end, duration), options, last=True) for cue in timed[-1:]
    ]


def _reading_ms(lines: Lines, options: TextOptions) -> int:
    width = sum(piece.width + piece.space for line in lines for piece in line)
    return min(max(MIN_MS, width * 1000 // options.max_chars_per_second), MAX_MS)


def _readable(cue: Cue, limit: int, options: TextOptions, last: bool = False) -> Cue:
    """Extend a cue to its reading time, at most until `limit`, and up to `limit` if less than CHAIN_MS would be left."""
    end = max(cue.end, min(cue.start + _reading_ms(cue.lines, options), limit))
    if not last and limit - end < CHAIN_MS and limit - cue.start <= MAX_MS:
        end = limit
    return replace(cue, end=end)
