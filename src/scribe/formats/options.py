"""The options of the rendered formats."""

from __future__ import annotations

from dataclasses import dataclass

# The fields that are also options of a job, under the same names.
JOB_KEYS = (
    "max_line_width",
    "max_line_count",
    "highlight_words",
    "subtitle_speakers",
    "max_chars_per_second",
    "mark_suspect",
    "txt_times",
)


@dataclass(frozen=True, slots=True)
class TextOptions:
    """Options of all formats: `max_line_width` 10 to 200 columns, `max_line_count` 1 to 4 lines.

    `audio_name` names the recording next to the HTML page; of a URL only the file's name is used, so that no signed query
    appears in the page. `warnings`: sentences that the page shows above the text.
    """

    max_line_width: int = 42
    max_line_count: int = 2
    highlight_words: bool = False
    audio_name: str = ""
    subtitle_speakers: str | None = None
    max_chars_per_second: int = 20
    mark_suspect: bool = True
    txt_times: bool = True
    warnings: tuple[str, ...] = ()
