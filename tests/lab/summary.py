"""The laboratory's result in words: what was measured, where, both tables, and the recordings in which the worker loses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.modes import modes_markdown
from lab.table import markdown


def summary(result: Mapping[str, Any]) -> str:
    """Markdown, for docs/quality.md."""
    minutes = ", ".join(
        f"{name} {result['recordings'][name]} ({told:g} min)" for name, told in result["minutes"].items()
    )
    lost = "; ".join(
        f"{one['recording']}, {one['word_errors'][1]} word errors for {one['word_errors'][0]} of {one['words']} words and "
        f"{one['invented'][1]} invented words for {one['invented'][0]}"
        for one in result["losses"]
    )
    head = f"{result['made']}. Recordings: {minutes}. The conversations hold {result['words']} words."
    tail = f"Single recordings in which the worker has more wrong or invented words than WhisperX: {lost or 'none'}."
    modes = f"The worker's other modes on the same conversations; time is to the default's:\n\n{modes_markdown(result['modes'])}"
    return f"{head}\n\n{markdown(result['rows'])}\n\n{tail}\n\n{modes}"
