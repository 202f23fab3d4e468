"""What is generated from the code is up to date, and says what the code does."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import jsonschema
import pytest

import docs
import docs_languages
import docs_layers
from job_schema import job_schema
from scribe import settings
from scribe.errors import DeadlineReached, WorkerError
from scribe.schema.job import JobInput
from scribe.schema.languages import LANGUAGES
from scribe.schema.warnings import CODES

JOBS = sorted(p for p in (docs.ROOT / "samples" / "jobs").glob("*.json") if p.name != "schema.json")
VARIABLE = re.compile(r"^# ([A-Z_0-9]+)=(.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def schema() -> dict[str, object]:
    return json.loads(job_schema())


@pytest.mark.parametrize("path", docs.documents(), ids=lambda path: path.name)
def test_the_file_is_what_builder_docs_would_write(path: Path) -> None:
    if path.name == "languages.md":
        pytest.importorskip("whisperx", reason="its lists of languages are whisperX's")
    assert path.read_text("utf-8") == docs.documents()[path](), "stale: run python builder/docs.py"


@pytest.mark.parametrize("page", docs.PAGES)
def test_a_page_without_a_marker_is_refused_and_not_silently_left_without_its_table(page: str) -> None:
    if page == "languages.md":
        pytest.importorskip("whisperx", reason="its lists of languages are whisperX's")
    with pytest.raises(ValueError, match=next(iter(docs.PAGES[page]))):
        docs.filled(page, "# no markers")


def test_every_language_of_whisper_has_a_row_and_every_aligner_of_the_model_set_a_place() -> None:
    pytest.importorskip("whisperx", reason="its lists of languages are whisperX's")
    rows = list(docs_languages.languages())
    assert {code.strip("`") for code, *_ in rows} == LANGUAGES
    aligned = sum(bool(aligner) for _, _, aligner, _ in rows)
    assert aligned == len(json.loads(docs_languages.MODEL_SET.read_text("utf-8"))["aligners"])
    assert f"(in {aligned} languages)" in (docs.ROOT / "README.md").read_text("utf-8")


def test_every_room_says_what_it_is_for() -> None:
    rooms = dict(docs_layers.rooms())
    packages = {p.parent.name for p in docs_layers.BODY.glob("*/__init__.py")}
    modules = {p.stem for p in docs_layers.BODY.glob("*.py")} - {"__init__"}
    assert {room.strip("`") for room in rooms} == packages | modules
    assert all(rooms.values())


def test_an_answer_with_a_key_that_is_not_told_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(docs.ANSWER, "segments_total")
    with pytest.raises(ValueError, match="segments_total"):
        docs.outputs_table()


def test_every_key_of_a_job_has_a_row() -> None:
    assert re.findall(r"^\| `(\w+)`", docs.inputs_table(), re.MULTILINE) == list(JobInput.model_fields)


def test_every_error_has_a_code_of_its_own_a_cause_and_a_remedy() -> None:
    errors = list(docs.leaves(WorkerError))
    assert len({error.code for error in errors}) == len(errors) > 20
    assert all(error.__doc__ and error.remedy for error in errors)


# What warns with a code that is no literal, and where its codes are listed.
CODES_ELSEWHERE = {
    ("delivery", "error.code"): "the table of errors",
    ("recognition", "error.code"): "the table of errors",
    ("context", "code"): "a stage's error, or <stage>_failed",
    ("intake", "code"): "CODES itself, where it looks the sentence up",
    ("record", "code"): "what `warn` is given",
}


def test_every_code_of_a_warning_is_told() -> None:
    used, elsewhere = set(), set()
    for file in (docs.ROOT / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(call, ast.Call) or ast.unparse(call.func).rpartition(".")[2] not in (
                "JobWarning",
                "warn",
            ):
                continue
            code = call.args[0]
            if isinstance(code, ast.Constant):
                used.add(code.value)
            else:
                elsewhere.add((file.stem, ast.unparse(code)))
    assert elsewhere == set(CODES_ELSEWHERE)
    assert used | {"audio_damaged", "length_unverified", DeadlineReached.code} == set(CODES)


def test_the_template_names_every_variable_once() -> None:
    names = [name for name, _ in VARIABLE.findall(docs.env_template())]
    assert names == [variables[0] for variables in docs.variables().values()]


def test_the_template_uncommented_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = VARIABLE.findall(docs.env_template())
    for name, _ in written:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / ".env"
    file.write_text("\n".join(f"{name}={value}" for name, value in written))
    # The scratch folder's default depends on the machine's temporary folder; the template shows the usual one.
    same = {"exclude": {"jobs_dir"}}
    assert settings.load(file).model_dump(**same) == settings.load(None).model_dump(**same)


def test_the_template_holds_no_active_line() -> None:
    assert all(not line or line.startswith("#") for line in docs.env_template().splitlines())


def test_the_schema_is_a_json_schema(schema: dict[str, object]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_schema_accepts_the_sample_jobs(path: Path, schema: dict[str, object]) -> None:
    jsonschema.validate(json.loads(path.read_text("utf-8")), schema)


@pytest.mark.parametrize(
    "wrong", [{}, {"audio_file": "https://example.com/a.mp3", "diarisation": True}, {"audio": "x", "batch_size": 0}]
)
def test_the_schema_refuses_what_the_worker_refuses(wrong: dict[str, object], schema: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"input": wrong}, schema)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 20_000_000}, "integer 1..20000000"),
        ({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 2}, {"type": "null"}]}, "number >0, <=2"),
        ({"enum": ["mix", "split"], "type": "string"}, "mix, split"),
        ({"type": "array", "items": {"$ref": "#/$defs/X"}, "maxItems": 20}, "list of objects, at most 20"),
        ({"type": "string", "maxLength": 9}, "text, at most 9 characters"),
    ],
)
def test_a_type_and_its_range_are_told_in_words(spec: dict[str, object], words: str) -> None:
    assert docs.kind(spec) == words


def needs_posix(file: Path) -> bool:
    """Whether the module cannot be imported on Windows: at its top it imports what is not there."""
    top = ast.parse(file.read_text("utf-8")).body
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    return not names.isdisjoint({"fcntl", "resource", "pwd", "termios", "pty"})


def test_the_page_of_platforms_names_the_files_that_need_posix_and_the_command_line_is_none_of_them() -> None:
    page = (docs.ROOT / "docs" / "platforms.md").read_text("utf-8")
    bound = {file.relative_to(docs.ROOT).as_posix() for file in (docs.ROOT / "src").rglob("*.py") if needs_posix(file)}
    assert set(re.findall(r"`(src/[\w/]+\.py)`", page)) == bound
    assert not [name for name in bound if "/cli/" in name]


def test_the_gpu_packages_are_locked_for_linux_on_x86_64_only_as_the_page_of_platforms_says() -> None:
    lock = (docs.ROOT / "builder" / "requirements.txt").read_text("utf-8")
    packages = re.findall(r"^(?:nvidia-[\w-]+|triton)==\S+ ;? ?(.*?) \\$", lock, re.MULTILINE)
    assert len(packages) > 10
    assert set(packages) == {"platform_machine == 'x86_64' and sys_platform == 'linux'"}
