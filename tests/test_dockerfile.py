"""The image's recipe, read without building it: what it copies is sent, what it installs is locked, how it starts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fetch_models
from scribe import settings
from scribe.models.model_set import ModelSet

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
# (INSTRUCTION, arguments), comments dropped and continued lines joined.
LINES = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
STEPS = [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in LINES if line.strip())]
PATTERNS = [p for p in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if p and not p.startswith("#")]
SOURCES = [source for word, rest in STEPS if word == "COPY" for source in rest.split()[:-1]]
FETCH = [sys.executable, str(ROOT / "builder" / "fetch_models.py")]


def sent(path: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last pattern that matches it or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    verdict = True
    for pattern in PATTERNS:
        wanted = pattern.startswith("!")
        regex = re.escape(pattern.removeprefix("!").strip("/")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(regex, candidate) for candidate in above):
            verdict = wanted
    return verdict


def files(source: str) -> list[Path]:
    place = ROOT / source
    return [p for p in place.rglob("*") if p.is_file() and "__pycache__" not in p.parts] if place.is_dir() else [place]


def arguments(word: str) -> list[str]:
    return [rest for name, rest in STEPS if name == word]


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_copied_exists_and_reaches_the_build(source: str) -> None:
    found = files(source)
    assert found
    assert all(p.is_file() and sent(p.relative_to(ROOT).as_posix()) for p in found)


@pytest.mark.parametrize("path", [".env", ".git/config", ".venv/bin/python", "out/a.json", ".lab/x", "tests/test_readme.py",
                                  "src/__pycache__/predict.pyc", "src/scribe/__pycache__/net.pyc", "PRD.md"])  # fmt: skip
def test_secrets_and_bulk_stay_out_of_the_build(path: str) -> None:
    assert not sent(path)


def test_a_code_change_sends_megabytes() -> None:
    after_weights = SOURCES[SOURCES.index("samples/") :]
    assert sum(p.stat().st_size for source in after_weights for p in files(source)) < 10_000_000
    assert SOURCES[-1] == "src/"


def test_the_base_is_an_argument_with_debian_as_its_default() -> None:
    assert STEPS[:2] == [("ARG", "BASE_IMAGE=debian:bookworm-slim"), ("FROM", "${BASE_IMAGE}")]


def test_it_builds_with_builders_that_know_neither_frontends_nor_heredocs() -> None:
    assert not re.search(r"^#\s*syntax=", TEXT, re.MULTILINE | re.IGNORECASE)
    assert "<<" not in TEXT


def test_it_names_no_host() -> None:
    assert not re.search(r"https?://|index-url|trusted-host|find-links", TEXT)


def test_every_package_comes_from_a_lock_with_hashes() -> None:
    installs = [step for step in arguments("RUN") if " install " in step and "apt-get" not in step]
    assert len(installs) == 2
    assert all("--require-hashes" in step for step in installs)
    assert "--compile-bytecode" in installs[1]


def test_python3_is_the_locked_environment() -> None:
    assert "PATH=/opt/venv/bin:$PATH" in arguments("ENV")


def test_the_wheels_cuda_libraries_are_registered_with_the_linker() -> None:
    assert any(
        "nvidia/*/lib" in step and "/etc/ld.so.conf.d/" in step and step.endswith("ldconfig")
        for step in arguments("RUN")
    )
    assert "LD_LIBRARY_PATH=" not in TEXT


@pytest.mark.parametrize("variable", ["RUNPOD_LOG_LEVEL=INFO", "PYANNOTE_METRICS_ENABLED=0",
        "ORT_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_TELEMETRY=1", "NVIDIA_VISIBLE_DEVICES=all",
                                      "NVIDIA_DRIVER_CAPABILITIES=compute,utility", "PYTHONUNBUFFERED=1"])  # fmt: skip
def test_the_environment_is_quiet_private_and_sees_the_gpu(variable: str) -> None:
    assert variable in " ".join(arguments("ENV")).split()


def test_the_worker_is_started_below_an_init_that_hands_signals_on() -> None:
    assert json.loads(arguments("ENTRYPOINT")[0]) == ["/usr/bin/tini", "-g", "--"]
    assert json.loads(arguments("CMD")[0]) == ["python3", "-u", "/app/src/init_and_run.py"]


def test_nothing_is_preloaded_unasked_and_the_token_is_never_an_argument() -> None:
    assert "PRELOAD_MODELS=0" in arguments("ARG")
    assert not [step for word, step in STEPS if word in ("ARG", "ENV") and "TOKEN" in step.upper()]
    assert any("--mount=type=secret,id=hf_token" in step for step in arguments("RUN"))


def test_a_bake_is_loaded_without_the_network_before_the_image_is_finished() -> None:
    check = next(step for step in reversed(arguments("RUN")) if "--check" in step)
    assert all(part in check for part in ("HF_HUB_OFFLINE=1", "WARMUP=asr,diarization,speakers", "!= 0"))
    assert next(i for i, step in enumerate(STEPS) if step == ("COPY", "src/ src/")) < STEPS.index(("RUN", check))


def test_the_voice_activity_weights_have_one_place_whether_given_or_not() -> None:
    assert "VAD_MODEL_PATH=/app/models/vad/whisperx-vad-segmentation.bin" in arguments("ENV")
    assert "models/whisperx-vad-segmentation.bin" not in SOURCES


def test_the_local_harness_and_its_jobs_are_in_the_image() -> None:
    assert {"tests/test_worker_local.py", "tests/contract/", "samples/", "builder/demo_models/"} <= set(SOURCES)


@pytest.mark.parametrize("which", ["0", "demo"])
def test_with_nothing_to_fetch_no_library_is_needed(which: str) -> None:
    done = subprocess.run(
        [FETCH[0], "-I", "-S", *FETCH[1:], which, "--token-file", "/no/such/secret"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_the_sources_that_are_copied_before_the_weights_suffice_to_fetch_them(tmp_path: Path) -> None:
    for source in SOURCES[: SOURCES.index("samples/")]:
        if source.startswith("src/"):
            (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / source)
    fetches = "import sys; sys.path.insert(0, 'src'); import scribe.models.hub, scribe.models.punkt, scribe.models.torchaudio_bundles"
    subprocess.run([sys.executable, "-I", "-c", fetches], cwd=tmp_path, check=True)


def test_an_unknown_model_set_is_named() -> None:
    done = subprocess.run([*FETCH, "no-such-set"], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "models/no-such-set/model_set.json" in done.stderr


def test_what_is_baked_is_what_the_worker_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    folder = tmp_path / "models" / "default"
    folder.mkdir(parents=True)
    text = (ROOT / "models" / "default" / "model_set.json").read_text("utf-8")
    (folder / "model_set.json").write_text(text)
    wanted = fetch_models.wanted(folder, json.loads(text))
    assert [kind for kind, _ in wanted] == ["speech", "diarization", "speaker"]
    baked = {kind: folder / name.partition("@")[0] for kind, name in wanted}
    for place in baked.values():
        place.mkdir(parents=True)
    places = ModelSet(settings.load(None))
    found = {
        "speech": places.speech().path,
        "diarization": places.diarization.path,
        "speaker": places.speaker.location.path,
    }
    assert found == baked
    assert fetch_models.wanted(folder, json.loads(text)) == []


def test_a_baked_speaker_model_loads_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "hyperparams.yaml").write_text(
        "sample_rate: 16000\npretrained_path: speechbrain/spkrec-ecapa-voxceleb\nn_mels: 80\n"
    )
    fetch_models.settle(tmp_path)
    assert (
        tmp_path / "hyperparams.yaml"
    ).read_text() == f"sample_rate: 16000\npretrained_path: {tmp_path}\nn_mels: 80\n"
