"""Render a transcript as the job asks: files for the storage, texts and segments for the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scribe.formats import JOB_KEYS, TextOptions, inline_text, render_all
from scribe.formats import json as json_format
from scribe.schema.parsing import JobRequest
from scribe.schema.warnings import JobWarning
from scribe.transcript import Transcript

# The HTML page leaves this warning out: it marks the doubtful passages themselves.
NOT_ON_THE_PAGE = frozenset(("suspect_text",))


@dataclass(frozen=True, slots=True)
class Rendering:
    """`files` by format, for the storage; `texts` by format, for the answer; `text` as `inline_text` asks for; the
    JSON-ready segments and speakers."""

    files: Mapping[str, bytes]
    texts: Mapping[str, str]
    text: str | None
    segments: Sequence[Mapping[str, object]]
    speakers: Sequence[Mapping[str, object]]


def rendered(
    transcript: Transcript,
    request: JobRequest,
    formats: Sequence[str],
    homeless: Sequence[str],
    warnings: Sequence[JobWarning],
) -> Rendering:
    """Render `formats` for the storage and `homeless` ones for the answer.

    The HTML page shows `warnings`, except those about the job's options.
    """
    options = request.options
    words = options.align_output or not request.plan.recognize
    shape = json_format.to_dict(transcript, words)
    shown = (w for w in warnings if w.stage != "input" and w.code not in NOT_ON_THE_PAGE)
    wanted = {key: getattr(options, key) for key in JOB_KEYS}
    text_options = TextOptions(
        audio_name=options.audio_file or "", warnings=tuple(warning.message for warning in shown), **wanted
    )
    files = render_all(transcript, formats, text_options)
    if "json" in files and not words:
        # Diarization aligned words that the job did not ask for: subtitles and the page use them, the JSON leaves them out.
        bare = replace(transcript, segments=tuple(replace(s, words=()) for s in transcript.segments))
        files |= render_all(bare, ["json"], text_options)
    texts = render_all(transcript, [name for name in homeless if name != "json"], text_options)
    kind = request.inline_text
    return Rendering(
        files,
        {name: data.decode() for name, data in texts.items()},
        inline_text(kind, transcript, text_options) if kind else None,
        shape["segments"],
        shape["speakers"],
    )
