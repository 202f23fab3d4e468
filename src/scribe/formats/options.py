"""What a job may ask of the texts it gets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextOptions:
    """Ranges are the job's contract: `max_line_width` 10 to 200 columns, `max_line_count` 1 to 4 lines.

    `audio_name` names the recording beside the HTML page; of a whole URL only the file's name is used, so that no
    signed query ends up in a page.
    """

    max_line_width: int = 42
    max_line_count: int = 2
    highlight_words: bool = False
    audio_name: str = ""
