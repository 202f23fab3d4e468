"""Decide how much of a transcript the answer itself holds, and warn about the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scribe.schema.parsing import JobRequest
from scribe.schema.result import PREVIEW_SEGMENTS
from scribe.schema.warnings import JobWarning


def inline_mode(asked: str | None, default: str | None, stored: bool, homeless: Sequence[str]) -> str:
    """Return `preview`, `full` or `none`: the job's choice, else full if json has no storage, else the endpoint's default.

    `stored`: at least one format has a storage. `homeless`: formats that were asked for and have none.
    """
    if asked is not None:
        return asked
    return "full" if "json" in homeless else default or ("none" if stored else "preview")


def inline_warnings(
    request: JobRequest, mode: str, stored: bool, homeless: Sequence[str], segments: Sequence[Mapping[str, object]]
) -> list[JobWarning]:
    """Return warnings about formats without a storage, and about a preview that the job did not ask for."""
    if stored and not homeless:
        return []
    reason = "this endpoint has no storage"
    places = []
    if any(name != "json" for name in homeless):
        places.append("the text files are under `texts`")
    if "json" in homeless:
        places.append("the transcript is under `segments`" if mode == "full" else "`inline: full` shows the transcript")
    found = []
    if homeless:
        message = f"{', '.join(homeless)}: {reason}; {', '.join(places)}"
        found.append(JobWarning("storage_not_configured", "publish", message))
    elif mode == "none" and not request.inline_text:
        message = f"inline: none: {reason}, so there is no transcript at all: ask for `inline: full`"
        found.append(JobWarning("storage_not_configured", "publish", message))
    if mode == "preview" and request.options.inline is None and (missing := _missing(segments)):
        message = f"{missing}, because {reason}: send `inline: full`, or set INLINE_DEFAULT=full on the endpoint"
        found.append(JobWarning("preview_only", "publish", message))
    return found


def _missing(segments: Sequence[Mapping[str, object]]) -> str:
    """Describe what a preview of these segments leaves out; "" when nothing."""
    total, words = len(segments), any("words" in segment for segment in segments)
    if total > PREVIEW_SEGMENTS:
        return f"only the first {PREVIEW_SEGMENTS} of {total} segments are in this answer{', without words' if words else ''}"
    return "the segments are in this answer without their words" if words else ""
