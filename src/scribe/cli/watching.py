"""Folders looked at again and again: each recording in them once it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from scribe.cli.recording import Recording

# Between two looks; a file that is still being written grows meanwhile.
POLL_S = 2.0


def arrivals(
    look: Callable[[Mapping[str, str]], list[Recording]], named: Mapping[str, str], wait: Callable[[float], None]
) -> Iterator[Recording]:
    """Yield what `look(names)` finds, each recording once its size and time are the same in two looks; again once changed.

    `named` are the names that sources have; those that are given here are kept too. `wait(seconds)` is called between two
    looks and raises to end. An address is yielded at once.
    """
    names, seen, taken = dict(named), dict[str, object](), dict[str, object]()
    while True:
        for recording in look(names):
            source = recording.source
            mark = _mark(recording)
            if mark is not None and taken.get(source) != mark and (seen.get(source) == mark or mark == ()):
                taken[source] = mark
                names[source] = recording.name
                yield recording
            seen[source] = mark
        wait(POLL_S)


def _mark(recording: Recording) -> tuple[int, ...] | None:
    """What changes while a file is written; () for an address, None for an empty file or one that is gone again."""
    if recording.place.path is None:
        return ()
    try:
        found = recording.place.path.stat()
    except FileNotFoundError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None
