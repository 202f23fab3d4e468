"""Transcribe recordings into who said what, when: `scribe.transcribe(path)`. docs/python-api.md has the rest.

A public name is imported when it is first used, because an early layer of the worker's image holds this file alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scribe.app.api import render, transcribe
    from scribe.errors import InvalidInput, WorkerError
    from scribe.transcript import Segment, Speaker, Transcript, Word
    from scribe.version import __version__

__all__ = [
    "InvalidInput",
    "Segment",
    "Speaker",
    "Transcript",
    "Word",
    "WorkerError",
    "__version__",
    "render",
    "transcribe",
]
_HOMES = {
    "scribe.app.api": ("render", "transcribe"),
    "scribe.errors": ("InvalidInput", "WorkerError"),
    "scribe.transcript": ("Segment", "Speaker", "Transcript", "Word"),
    "scribe.version": ("__version__",),
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used. Raises AttributeError for any other name."""
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(module), name)
    raise AttributeError(f"module 'scribe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
