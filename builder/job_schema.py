"""The JSON schema of a whole job, made from JobInput; `builder/docs.py` keeps samples/jobs/schema.json up to date with it."""

from __future__ import annotations

import json

from scribe.schema import aliases as foreign
from scribe.schema.job import JobInput
from scribe.schema.s3_config import S3Config


def job_schema() -> str:
    """The JSON schema of a whole job, other workers' keys included, for editors and clients."""
    own = JobInput.model_json_schema(ref_template="#/$defs/{model}")
    properties = own["properties"]
    # pydantic's titles only repeat the keys.
    for spec in [*properties.values(), *(p for d in own["$defs"].values() for p in d["properties"].values())]:
        spec.pop("title", None)
    properties |= {
        alias: {**properties[key], "description": f"another name of {key}"} for alias, key in foreign.ALIASES.items()
    }
    properties |= {
        "transcription": {"enum": sorted(foreign.TEXTS), "description": "one more inline text field"},
        "translate": {"type": "boolean", "description": "true acts as task: translate"},
        "word_timestamps": {"type": "boolean", "description": "another name of align_output"},
    }
    properties |= {key: {"deprecated": True, "description": told} for key, told in foreign.WITHOUT_EFFECT.items()}
    names = ["audio_file", "audio_base64", "source", *foreign.ALIASES]
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A job for the WhisperX worker",
        "type": "object",
        "required": ["input"],
        "properties": {
            "input": {
                "type": "object",
                "description": own["description"],
                "additionalProperties": False,
                "anyOf": [{"required": [name]} for name in names],
                "properties": properties,
            },
            "s3Config": S3Config.model_json_schema(),
        },
        "$defs": own["$defs"],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
