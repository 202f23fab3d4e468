"""What the command needs of the worker on this machine."""

from __future__ import annotations

from scribe.app.check import check
from scribe.app.local import local
from scribe.cli.installed import absent, pip_command
from scribe.cli.means import Here

# One of each kind of package that the extra brings.
NEEDED = ("torch", "whisperx", "faster_whisper", "pyannote", "speechbrain", "av")


def here() -> Here:
    """The worker that may be on this machine; nothing of it is imported yet."""
    return Here(missing, check, local)


def missing() -> str | None:
    """A sentence with the command that installs the worker's packages; None where they are here."""
    lacking = absent(NEEDED)
    if not lacking:
        return None
    return f"this needs the worker's packages ({', '.join(lacking)} missing): {pip_command('worker')}"
