"""What is wrong with a job's input, as {key, problem}: every problem at once, in words of the contract."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

# The search for the nearest key takes a millisecond; a job of ten megabytes has room for a million keys.
MOST_UNKNOWN = 20


def unknown_keys(raw: Mapping[str, Any], known: Collection[str]) -> list[dict[str, str]]:
    problems: list[dict[str, str]] = []
    for key in raw:
        if len(problems) == MOST_UNKNOWN:
            break
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append({"key": str(key)[:64], "problem": f"is not a known key{hint}"})
    return problems


def impossible_combinations(raw: Mapping[str, Any]) -> list[dict[str, str]]:
    """What single keys cannot tell. Reads the raw input, so that it speaks even when other keys are wrong."""
    problems = []
    given = [key for key in ("audio_file", "audio_base64", "source") if raw.get(key) is not None]
    if not given:
        problems.append(
            {"key": "audio_file", "problem": "is required, or audio_base64, or source: exactly one of them"}
        )
    elif len(given) > 1:
        problems.append({"key": given[0], "problem": f"excludes {' and '.join(given[1:])}: give exactly one of them"})
    low, high = raw.get("min_speakers"), raw.get("max_speakers")
    if raw.get("num_speakers") is not None and (low is not None or high is not None):
        problems.append({"key": "num_speakers", "problem": "excludes min_speakers and max_speakers"})
    if isinstance(low, int) and isinstance(high, int) and low > high:
        problems.append({"key": "min_speakers", "problem": "must not exceed max_speakers"})
    if raw.get("speaker_verification") is True and not raw.get("speaker_samples"):
        problems.append(
            {"key": "speaker_samples", "problem": "is required by speaker_verification: give at least one sample"}
        )
    return problems


def base64_texts(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    samples = raw.get("speaker_samples")
    found = [("audio_base64", raw.get("audio_base64"))]
    if isinstance(samples, list):
        found += [
            (f"speaker_samples.{i}.audio_base64", s.get("audio_base64"))
            for i, s in enumerate(samples)
            if isinstance(s, Mapping)
        ]
    return [(key, text) for key, text in found if isinstance(text, str)]


def problem_of(error: Mapping[str, Any], under: str = "") -> dict[str, str]:
    """pydantic's finding as {key, problem}; a validator's own sentence carries its key in front."""
    plain = {"missing": "is required", "extra_forbidden": "is not a known key"}
    message = plain.get(str(error["type"])) or str(error["msg"]).removeprefix("Value error, ")
    key = ".".join(filter(None, [under, *map(str, error["loc"])]))
    if not key and ": " in message:
        key, message = message.split(": ", 1)
    return {"key": key or "input", "problem": message[:1].lower() + message[1:]}
