"""What RunPod's Hub reads: its two files against their schemas, against Settings, and the smoke test run on the demo models."""

from __future__ import annotations

import base64
import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.demo import predicted, variables

from scribe import settings as settings_module
from scribe.audio.decode import decode
from scribe.models.model_set import ModelSet
from scribe.schema.parsing import parse

ROOT = Path(__file__).resolve().parents[2]
FILES = ("hub", "tests")


def read(name: str) -> dict[str, Any]:
    return json.loads((ROOT / ".runpod" / f"{name}.json").read_text("utf-8"))


HUB, TESTS = read("hub"), read("tests")
INPUTS = {variable["key"]: variable["input"] for variable in HUB["config"]["env"] if "input" in variable}


@pytest.mark.parametrize("name", FILES)
def test_the_file_has_the_shape_that_the_hub_asks_for(name: str) -> None:
    jsonschema.Draft202012Validator(read(f"{name}.schema")).validate(read(name))


@pytest.mark.parametrize(
    ("name", "path", "wrong"),
    [
        ("hub", ("category",), "sound"),
        ("hub", ("config", "gpuIds"), "RTX_4090"),
        ("hub", ("config", "containerDiskInGb"), "30"),
        ("hub", ("config", "env", 0, "key"), "lower"),
        ("hub", ("config", "presets", 0, "defaults"), []),
        ("tests", ("tests", 0, "timeout"), 1.5),
        ("tests", ("config", "gpuTypeId"), ""),
    ],
)
def test_the_schemas_refuse_what_the_hub_would(name: str, path: tuple[Any, ...], wrong: object) -> None:
    value = copy.deepcopy(read(name))
    place = value
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, read(f"{name}.schema"))


def test_every_variable_is_one_that_the_worker_reads() -> None:
    keys = {variable["key"] for variable in [*HUB["config"]["env"], *TESTS["config"]["env"]]}
    keys |= {key for preset in HUB["config"]["presets"] for key in preset["defaults"]}
    assert keys <= variables()


def values(defaults: dict[str, Any]) -> dict[str, str]:
    """The environment that the Hub's form makes: each input's default, overridden by a preset's."""
    made = {key: field.get("default", "") for key, field in INPUTS.items()} | defaults
    return {
        key: INPUTS[key]["trueValue" if value else "falseValue"] if isinstance(value, bool) else str(value)
        for key, value in made.items()
    }


@pytest.mark.parametrize("preset", HUB["config"]["presets"], ids=lambda preset: preset["name"])
def test_every_preset_is_a_valid_configuration_with_a_model_that_exists(
    preset: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    for key, value in values(preset["defaults"]).items():
        monkeypatch.setenv(key, value)
    settings = settings_module.load(None)
    offered = {option["value"] for option in INPUTS["WHISPERX_MODEL"]["options"]}
    assert settings.whisperx_model in offered
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", ModelSet(settings).speech().repository or "")
    assert set(preset["defaults"]) <= set(INPUTS)


def test_every_offered_choice_is_a_valid_value() -> None:
    for key, field in INPUTS.items():
        for choice in field.get("options", []):
            settings_module.load(None, **{key.lower(): choice["value"]})


def test_the_cuda_versions_are_those_that_the_packages_are_made_for() -> None:
    lock = (ROOT / "builder" / "requirements.txt").read_text("utf-8")
    made_for = re.search(r"^nvidia-cuda-runtime-cu12==(\d+)\.(\d+)", lock, re.MULTILINE)
    assert made_for
    for config in (HUB["config"], TESTS["config"]):
        allowed = [tuple(map(int, version.split("."))) for version in config["allowedCudaVersions"]]
        assert min(allowed) == (int(made_for[1]), int(made_for[2]))


def test_the_hub_finds_the_files_that_it_asks_for() -> None:
    assert all((ROOT / name).is_file() for name in (".runpod/handler.py", "Dockerfile", "README.md"))
    assert (ROOT / "src" / "init_and_run.py").is_file()


def test_the_smoke_test_needs_no_token_and_no_network() -> None:
    env = {variable["key"]: variable["value"] for variable in TESTS["config"]["env"]}
    assert env["MODEL_SET"] == "demo"
    assert "HF_TOKEN" not in env
    for case in TESTS["tests"]:
        assert parse(case["input"]).options.audio_base64
    assert len(json.dumps(TESTS)) < 200_000


@pytest.mark.parametrize("case", TESTS["tests"], ids=lambda case: case["name"])
def test_the_smoke_test_passes_on_the_demo_models(case: dict[str, Any], tmp_path: Path) -> None:
    source = tmp_path / "audio"
    source.write_bytes(base64.b64decode(case["input"]["audio_base64"]))
    channels = decode(source, tmp_path, max_seconds=60).channels
    options = {key: value for key, value in case["input"].items() if key != "audio_base64"}
    found = predicted(channels, options)
    assert found.transcript.segments
