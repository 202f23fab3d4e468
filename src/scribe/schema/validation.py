"""Find the problems of a job's input, each as {key, problem}, worded for the caller."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from scribe.schema.key_advice import advice

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# Finding the nearest key takes a millisecond, and a job of ten megabytes can hold a million keys.
MOST_UNKNOWN = 20


def unknown_keys(raw: Mapping[str, object], known: Collection[str]) -> list[dict[str, str]]:
    problems: list[dict[str, str]] = []
    for key in raw:
        if len(problems) == MOST_UNKNOWN:
            break
        if key not in known:
            name = str(key)[:64]
            problems.append({"key": name, "problem": f"is not a known key{advice(name, known)}"})
    return problems


def impossible_combinations(raw: Mapping[str, object]) -> list[dict[str, str]]:
    """Return the problems between several keys. Reads the raw input, so it works even when other keys are invalid."""
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


def base64_texts(raw: Mapping[str, object]) -> list[tuple[str, str]]:
    samples = raw.get("speaker_samples")
    found = [("audio_base64", raw.get("audio_base64"))]
    if isinstance(samples, list):
        found += [
            (f"speaker_samples.{i}.audio_base64", s.get("audio_base64"))
            for i, s in enumerate(samples)
            if isinstance(s, Mapping)
        ]
    return [(key, text) for key, text in found if isinstance(text, str)]


# The message for each of pydantic's error types; names in braces come from the error's context.
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a known key",
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
}
# Examples for keys whose value is a list or an object.
_EXAMPLES = {
    "formats": '["srt", "html"]',
    "channel_names": '["Anna", "Mark"]',
    "speaker_samples": '[{"url": "https://…", "name": "Anna"}]',
    "speaker_samples.*": '{"url": "https://…", "name": "Anna"}',
    "metadata": '{"ticket": 4711}',
    "source": '{"transcript_url": "https://…"}',
    "result_urls": '{"srt": "https://…"}',
}


def problem_of(error: ErrorDetails, under: str = "") -> dict[str, str]:
    """Convert pydantic's error to {key, problem}. A validator's message may begin with its key, as `key: problem`."""
    place = [str(part) for part in error["loc"] if part != "[key]"]
    key, kind = ".".join(filter(None, [under, *place])), str(error["type"])
    if kind in _WORDS:
        bounds = {name: f"{v:g}" if isinstance(v, float) else v for name, v in error.get("ctx", {}).items()}
        message = _WORDS[kind].format(**bounds)
        if kind in ("list_type", "dict_type", "model_type", "model_attributes_type"):
            example = _EXAMPLES.get(re.sub(r"\d+$", "*", key))
            message += f": {example}" if example else ""
    else:
        message = str(error["msg"]).removeprefix("Value error, ")
        message = re.sub(r"^Input should be", "must be", re.sub(r"^String should", "must", message))
    if not key and ": " in message:
        key, message = message.split(": ", 1)
    return {"key": key or "input", "problem": message[:1].lower() + message[1:]}
