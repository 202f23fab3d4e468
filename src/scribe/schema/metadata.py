"""Check a job's `metadata`, an object of the caller's own that every answer returns."""

from __future__ import annotations

import json
from collections.abc import Mapping

MOST_BYTES, DEEPEST = 4096, 32


def small(value: dict[str, object]) -> dict[str, object]:
    """Return the value unchanged. Raises ValueError, worded for the caller, when it is too long or nested too deeply."""
    if _nested_deeper(value, DEEPEST):
        raise ValueError(f"is nested more than {DEEPEST} deep")
    if len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) > MOST_BYTES:
        raise ValueError(f"is longer than {MOST_BYTES} bytes of JSON")
    return value


def echoed(raw: object) -> dict[str, object]:
    """Return {"metadata": ...} for an input that may be invalid in other keys; {} when it has no valid `metadata`."""
    given = raw.get("metadata") if isinstance(raw, Mapping) else None
    try:
        return {"metadata": small(given)} if isinstance(given, dict) else {}
    except (ValueError, TypeError):
        return {}


def _nested_deeper(value: object, most: int) -> bool:
    """Return whether lists and objects are nested more than `most` deep."""
    level = [value]
    for _ in range(most):
        level = [
            item
            for held in level
            if isinstance(held, (Mapping, list))
            for item in (held.values() if isinstance(held, Mapping) else held)
        ]
    return any(isinstance(item, (Mapping, list)) for item in level)
