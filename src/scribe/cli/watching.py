"""Watch folders for new recordings that are complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from scribe.cli.recording import Recording

# Seconds between two scans; a file that is still being written grows between them.
POLL_S = 2.0


def arrivals(
    look: Callable[[Mapping[str, str]], list[Recording]], named: Mapping[str, str], wait: Callable[[float], None]
) -> Iterator[Recording]:
    """Yield the recordings that `look(names)` finds, when their size and time are equal in two scans; again when changed.

    `named` holds the names of known sources; those of new ones are added. `wait(seconds)` is called between two scans and
    raises to end. A URL is yielded at once.
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
    """Return (size, time of the last change) of a file; () for a URL, None for an empty file or one that cannot be read."""
    if recording.place.path is None:
        return ()
    try:
        found = recording.place.path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None
