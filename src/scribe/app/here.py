"""Give the command access to the worker on this machine, if its packages are installed."""

from __future__ import annotations

from scribe.app.check import check
from scribe.app.local import local
from scribe.cli.installed import absent, pip_command
from scribe.cli.means import Here

# One package of each kind that the extra `worker` installs.
NEEDED = ("torch", "whisperx", "faster_whisper", "pyannote", "speechbrain", "av")


def here() -> Here:
    """Return the functions that use the worker on this machine, without importing it."""
    return Here(missing, check, local)


def missing() -> str | None:
    """Return a sentence with the command that installs the worker's packages; None if they are installed."""
    lacking = absent(NEEDED)
    if not lacking:
        return None
    return f"this needs the worker's packages ({', '.join(lacking)} missing): {pip_command('worker')}"
