"""Writes what is generated from the code: `python builder/docs.py` rewrites the tables of docs/ and two files.

The tables stand between markers in the pages that PAGES lists. They, `.env.template` and `samples/jobs/schema.json` come
from the fields of JobInput and Settings, the answer's keys, the error tree, the model set, the import rules and what
`make lab` and `make bench` measured. A test fails when one of them is out of date.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))

from lab.summary import summary

import docs_languages
import docs_layers
from costs import MODELS, costs
from job_schema import job_schema
from scribe.errors import WorkerError
from scribe.schema.job import JobInput
from scribe.schema.metadata import echoed
from scribe.schema.result import JobResult
from scribe.schema.warnings import CODES
from scribe.settings import Settings

ROOT = Path(__file__).resolve().parents[1]

# The answer's keys in its own order. `outputs_table` refuses to work when the code has others.
ANSWER = {
    "schema_version": "version of this shape",
    "job_id": "RunPod's id of the job",
    "detected_language": "ISO code, given or detected; null when there is no speech",
    "language_probability": "0 to 1; null when the job named the language",
    "duration": "seconds of audio",
    "segments": "the transcript as far as `inline` asks for it: `start`, `end` (seconds), `text`, `avg_logprob`,"
    " `suspect` (why the text may be invented; only on such segments), with diarization `speaker` (name or label),"
    " `speaker_label` and, where somebody else speaks too, `overlap: true`; with `inline: full` and `align_output` also"
    " `words`",
    "segments_total": "number of segments of the whole transcript",
    "truncated": "true when `segments` is not the whole transcript",
    "partial": "true when `deadline_s` ended the work early",
    "speakers": "list of `label`, `name` (null: unknown), `score` (cosine), `seconds` of speech; `reason` why there is no name;"
    " `embedding` on request",
    "artifacts": "by format: `key`, `bytes`, `url` (presigned, null when signing failed), `expires_at`;"
    " for `result_urls` only `bytes` and `url`",
    "warnings": "list of `code`, `stage`, `message`: what was skipped or had no effect, and why",
    "timings": "seconds by stage, each counted once (of a `diarize` that ran during `transcribe` only the wait), `total`, and "
    "`real_time_factor`: seconds of work for a second of audio",
    "models": "by stage: name@revision",
    "transcription": "the whole transcript as text, only when `transcription` was asked for",
    "texts": "by format: the whole file as text; only for text formats that were asked for where there is no bucket",
    "metadata": "the job's own `metadata`, unchanged",
    "debug": "effective options and peak memory, only with `debug`",
}
FAILURE = {
    "error": "`code: sentence`; RunPod moves it next to `output` and marks the job FAILED",
    "code": "stable, from the table of errors",
    "retryable": "true when the same job may succeed later",
    "details": "the same as data: for `invalid_input` the list `problems`",
    "error_id": "marks the failure in the worker's log",
    "metadata": "the job's own `metadata`, unchanged",
}


def inputs_table() -> str:
    """Every key of `input`: type and range, default, meaning."""
    schema = JobInput.model_json_schema()
    rows = [
        (f"`{name}`", kind(spec), f"`{_default(spec)}`", spec.get("description", ""))
        for name, spec in schema["properties"].items()
    ]
    return table(("key", "type, range", "default", "meaning"), rows)


def outputs_table() -> str:
    """Every key of an answer and of a failure. Raises ValueError when ANSWER or FAILURE no longer tell what the code does."""
    answer = JobResult(None, None, 0.0, [], [], text="", texts={"srt": ""}, metadata={}, debug={}).to_dict(100_000)
    for told, real in ((ANSWER, answer), (FAILURE, WorkerError("").to_dict() | echoed({"metadata": {}}))):
        if set(told) != set(real):
            raise ValueError(f"builder/docs.py and the answer differ in {sorted(set(told) ^ set(real))}")
    told = [
        table(("key", "meaning"), [(f"`{k}`", meaning) for k, meaning in part.items()]) for part in (ANSWER, FAILURE)
    ]
    return "\n\nA failed job has these instead:\n\n".join(told)


def settings_table() -> str:
    """Every environment variable: type and range, default, meaning."""
    rows = [
        (f"`{name}`", kind(spec, of_settings=True), f"`{default}`" if default else "", spec["description"])
        for name, default, spec in settings()
    ]
    return table(("variable", "type, range", "default", "meaning"), rows)


def errors_table() -> str:
    """Every error that a job can end with: cause and remedy."""
    rows = [
        (f"`{error.code}`", " ".join((error.__doc__ or "").split()), error.remedy, "yes" if error.retryable else "no")
        for error in leaves(WorkerError)
    ]
    return table(("code", "cause", "remedy", "retryable"), rows)


def warnings_table() -> str:
    """Every code of a warning that is not an error's."""
    return table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in CODES.items()])


def bench_table() -> str:
    """The benchmark's results as they were kept; `make bench` makes them anew."""
    return (ROOT / "tests" / "bench" / "results" / "bench.md").read_text("utf-8").strip()


def costs_table() -> str:
    """What an hour of audio costs on which GPU, as computed."""
    return table(("GPU", "pool", "memory", "price", *(f"`{model}`" for model in MODELS)), costs())


def lab_table() -> str:
    """Bare WhisperX and the worker, as `make lab` last measured them."""
    return summary(json.loads((ROOT / "tests" / "lab" / "results" / "lab.json").read_text("utf-8")))


def languages_table() -> str:
    """Every language: whether its words are aligned, and how its sentences are split."""
    return table(docs_languages.HEAD, list(docs_languages.languages()))


def layers_picture() -> str:
    """The layers of src/scribe, then what each room is for."""
    return f"{docs_layers.picture()}\n\n{table(('room', 'what it is for'), docs_layers.rooms())}"


def env_template() -> str:
    """Every variable commented out, with its meaning and default."""
    lines = ["# Made by builder/docs.py from src/scribe/settings.py. Copy to .env and uncomment what you change."]
    for name, default, spec in settings():
        lines += ["", f"# {spec['description']}", f"# {name}={default}"]
    return "\n".join(lines) + "\n"


def settings() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(variable, default as one would write it, its schema) of every setting."""
    properties = Settings.model_json_schema()["properties"]
    for field, names in variables().items():
        key = next(name for name in (field, names[0].lower()) if name in properties)
        yield names[0], _written(Settings.model_fields[field].default), properties[key]


def variables() -> dict[str, list[str]]:
    """{field of Settings: the environment variables that set it}, the usual one first."""
    aliases = {name: field.validation_alias for name, field in Settings.model_fields.items()}
    return {
        name: [str(n).upper() for n in getattr(alias, "choices", [alias or name])] for name, alias in aliases.items()
    }


def _default(spec: Mapping[str, Any]) -> str:
    """A key's default as JSON; a collection has none in its schema and is empty."""
    return json.dumps(spec.get("default", {} if spec.get("type") == "object" else []))


def _written(default: object) -> str:
    """A default as it stands behind `NAME=`."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(int(default))
    if isinstance(default, tuple):
        return ",".join(default)
    # The temporary folder differs from machine to machine; its usual name is meant.
    return str(default).replace(tempfile.gettempdir(), "/tmp")


def leaves(error: type[WorkerError]) -> Iterator[type[WorkerError]]:
    """The errors that have a code of their own, in the order of the tree."""
    children = error.__subclasses__()
    if not children:
        yield error
    for child in children:
        yield from leaves(child)


def kind(spec: Mapping[str, Any], of_settings: bool = False) -> str:
    """A JSON schema's type and range in words. A variable is text anyway, so a list there is comma-separated."""
    if options := [s for s in spec.get("anyOf", []) if s.get("type") != "null"]:
        return kind(options[0], of_settings)
    if "$ref" in spec:
        return "object"
    if "enum" in spec:
        return ", ".join(map(str, spec["enum"]))
    if spec.get("type") == "array":
        if of_settings:
            return "list, comma-separated"
        most = f", at most {spec['maxItems']}" if "maxItems" in spec else ""
        return f"list of {'objects' if '$ref' in spec['items'] else kind(spec['items'])}{most}"
    if spec.get("type") == "object":
        if "propertyNames" not in spec:
            return "object"
        return f"object: {kind(spec['additionalProperties'])} under {kind(spec['propertyNames'])}"
    if spec.get("type") in ("integer", "number"):
        return f"{spec['type']}{_range(spec)}"
    if spec.get("type") == "boolean":
        return "0 or 1" if of_settings else "true, false"
    if spec.get("format") in ("path", "password"):
        return {"path": "path", "password": "secret"}[spec["format"]]
    return f"text, at most {spec['maxLength']} characters" if "maxLength" in spec else "text"


def _range(spec: Mapping[str, Any]) -> str:
    """` 1..128`, or ` >0, <=2` where a bound is missing or excluded."""
    if "minimum" in spec and "maximum" in spec:
        return f" {spec['minimum']:.10g}..{spec['maximum']:.10g}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "exclusiveMaximum": "<", "maximum": "<="}
    told = ", ".join(f"{sign}{spec[bound]:.10g}" for bound, sign in signs.items() if bound in spec)
    return f" {told}" if told else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# The pages that hold tables made here, and which.
PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "job-inputs.md": {"inputs": inputs_table},
    "outputs.md": {"outputs": outputs_table},
    "errors.md": {"errors": errors_table, "warnings": warnings_table},
    "settings.md": {"settings": settings_table},
    "languages.md": {"languages": languages_table},
    "quality.md": {"lab": lab_table},
    "performance.md": {"bench": bench_table, "costs": costs_table},
    "architecture.md": {"layers": layers_picture},
}


def filled(page: str, text: str) -> str:
    """A page's text with its tables made anew. Raises ValueError when the markers of one are not there exactly once."""
    for name, make in PAGES[page].items():
        made = f"<!-- {name}: made by builder/docs.py -->\n\n{make()}\n\n<!-- /{name} -->"
        pattern = rf"<!-- {name}: made by builder/docs\.py -->.*?<!-- /{name} -->"
        text, count = re.subn(pattern, lambda _, made=made: made, text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"docs/{page} has {count} places for the table of {name}")
    return text


def documents() -> dict[Path, Callable[[], str]]:
    """The files that this program owns, and what makes the text that each should hold."""
    return {
        **{ROOT / "docs" / page: partial(renewed, page) for page in PAGES},
        ROOT / ".env.template": env_template,
        ROOT / "samples" / "jobs" / "schema.json": job_schema,
    }


def renewed(page: str) -> str:
    """The page as it is, with its tables made anew."""
    return filled(page, (ROOT / "docs" / page).read_text("utf-8"))


def main() -> None:
    """Write what differs and say so."""
    for path, make in documents().items():
        text = make()
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
