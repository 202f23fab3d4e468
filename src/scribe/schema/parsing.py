"""Parse a job as it was sent into a JobRequest, or raise one error that lists every problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from scribe.errors import InvalidInput
from scribe.schema.aliases import translate
from scribe.schema.coercion import unquoted
from scribe.schema.ignored_options import ignored_options
from scribe.schema.job import JobInput
from scribe.schema.plan import Plan
from scribe.schema.s3_config import S3Config
from scribe.schema.validation import base64_texts, impossible_combinations, problem_of, unknown_keys
from scribe.schema.warnings import JobWarning

MAX_BASE64_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A checked job: its options and the plan of its stages.

    `warnings` name options without effect and what others imply. `inline_text` is the value of `transcription`, a key of
    worker-faster_whisper that asks for the text in the answer. `s3_config` is the caller's own bucket.
    """

    options: JobInput
    plan: Plan
    warnings: tuple[JobWarning, ...] = ()
    inline_text: str | None = None
    s3_config: S3Config | None = None


def parse(raw: object, max_base64_bytes: int = MAX_BASE64_BYTES, s3_config: object = None) -> JobRequest:
    """Check `job["input"]` and `job["s3Config"]`. Raises InvalidInput whose details list every problem as {key, problem}."""
    if not isinstance(raw, Mapping):
        problems = [
            {"key": "input", "problem": "must be an object"},
            {"key": "audio_file", "problem": "is required"},
        ]
        raise InvalidInput("the job needs an `input` object with at least `audio_file`", {"problems": problems})
    fields = JobInput.model_fields
    known, without_effect, inline_text = translate(raw)
    known, lost = unquoted(known, fields)
    problems = unknown_keys(known, fields)
    for key, text in base64_texts(known):
        if len(text) > max_base64_bytes:
            too_long = f"is longer than {max_base64_bytes} bytes; upload the file and send its address"
            problems.append({"key": key, "problem": too_long})
    try:
        options = JobInput.model_validate({key: value for key, value in known.items() if key in fields})
    except ValidationError as error:
        problems += [problem_of(p) for p in error.errors(include_url=False, include_input=False)]
    try:
        s3 = S3Config.model_validate(s3_config) if s3_config is not None else None
    except ValidationError as error:
        problems += [problem_of(p, "s3Config") for p in error.errors(include_url=False, include_input=False)]
    problems += impossible_combinations(known)
    if problems:
        message = "; ".join(f"{p['key']} {p['problem']}" for p in problems[:20])[:2000]
        raise InvalidInput(message, {"problems": problems[:50]})
    plan = Plan.of(options)
    warnings = (
        *(JobWarning("option_ignored", "input", text) for text in without_effect),
        *(JobWarning("option_reduced", "input", text) for text in lost),
        *ignored_options(options, plan, inline_text),
    )
    return JobRequest(options, plan, warnings, inline_text, s3)
