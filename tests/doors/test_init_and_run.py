"""The composition root: what it sets for the libraries, what it makes, and how it ends when it cannot start."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.demo import configured, variables
from support.s3server import S3Server, s3_server  # noqa: F401 (a fixture)

import init_and_run
from scribe import settings as settings_module
from scribe.app.environment import keep_kernels, prepare_offline
from scribe.app.worker import Worker, probe_storage, storage_of
from scribe.runtime import log as log_module
from scribe.runtime import machine
from scribe.settings import InvalidSettings

ENTRY = Path(init_and_run.__file__)
SET_BY_PREPARING = (
    "RUNPOD_LOG_LEVEL",
    "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS",
    "CUDA_CACHE_PATH",
    "CUDA_CACHE_MAXSIZE",
    "PYANNOTE_METRICS_ENABLED",
    "TOKENIZERS_PARALLELISM",
    "DISABLE_SAFETENSORS_CONVERSION",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "TORCH_HOME",
    "TMPDIR",
    "JOBS_DIR",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
)


@pytest.fixture(autouse=True)
def _environment_restored() -> Iterator[None]:
    import tempfile

    before, folder = dict(os.environ), tempfile.tempdir
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in log_module.NOISY}
    for name in SET_BY_PREPARING:
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)
    tempfile.tempdir = folder
    root.handlers[:], root.level = handlers, level
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def started(tmp_path: Path, *flags: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The worker as a process, with nothing of this environment's configuration."""
    env = {name: value for name, value in os.environ.items() if name not in variables()}
    return subprocess.run(
        [sys.executable, "-u", str(ENTRY), *flags],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env={**env, "JOBS_DIR": str(tmp_path / "jobs"), **more},
    )


@pytest.mark.parametrize(("flag", "code"), [("--chek", 2), ("--help", 0)])
def test_a_mistyped_flag_starts_no_worker_and_shows_the_usage(tmp_path: Path, flag: str, code: int) -> None:
    done = started(tmp_path, flag, MODEL_SET="demo")
    assert (done.returncode, "--check [--json]" in done.stdout + done.stderr) == (code, True)
    assert ("--chek is not known" in done.stderr) is (code == 2)


def test_libraries_are_told_before_they_are_imported(tmp_path: Path) -> None:
    init_and_run.prepare_environment(configured(jobs_dir=tmp_path / "jobs"))
    assert os.environ["RUNPOD_LOG_LEVEL"] == "INFO"
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"
    # The one word that transformers/modeling_utils.py compares with.
    assert os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "true"


@pytest.mark.parametrize("name", ["hf_hub_cache", "huggingface_hub_cache"])
def test_the_hub_cache_is_one_folder_under_both_its_names(tmp_path: Path, name: str) -> None:
    settings = configured(jobs_dir=tmp_path / "jobs", **{name: tmp_path / "cache"})
    init_and_run.prepare_environment(settings)
    assert os.environ["HF_HUB_CACHE"] == os.environ["HUGGINGFACE_HUB_CACHE"] == str(settings.hub_caches[1])


@pytest.mark.parametrize(("own", "skipped"), [(None, "true"), ("false", "false")])
def test_of_the_sdks_own_checks_only_the_gpus_stays_unless_the_operator_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, skipped: str
) -> None:
    from runpod.serverless.modules import rp_fitness

    if own is not None:
        monkeypatch.setenv("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", own)
    init_and_run.prepare_environment(configured(jobs_dir=tmp_path / "jobs"))
    assert os.environ["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] == skipped
    assert "RUNPOD_SKIP_GPU_CHECK" not in os.environ
    monkeypatch.setattr(rp_fitness, "_fitness_checks", [])
    monkeypatch.setattr(rp_fitness, "_registration_state", {"system_checks": False})
    rp_fitness._ensure_system_checks_registered()
    assert bool(rp_fitness._fitness_checks) is (own == "false")


def test_what_the_gpus_driver_compiles_is_kept_beside_the_models_and_where_the_operator_says(tmp_path: Path) -> None:
    home = {"jobs_dir": tmp_path / "jobs", "hf_home": tmp_path / "volume" / "hf"}
    init_and_run.prepare_environment(configured(**home))
    assert os.environ["CUDA_CACHE_PATH"] == str(tmp_path / "volume" / "cuda-cache")
    assert (tmp_path / "volume" / "cuda-cache").is_dir()
    assert os.environ["CUDA_CACHE_MAXSIZE"] == str(1024**3)
    os.environ["CUDA_CACHE_MAXSIZE"] = "7"
    init_and_run.prepare_environment(configured(**home, cuda_cache_path=tmp_path / "own"))
    assert (os.environ["CUDA_CACHE_PATH"], os.environ["CUDA_CACHE_MAXSIZE"]) == (str(tmp_path / "own"), "7")


def test_a_place_that_cannot_be_written_to_is_not_named_to_the_driver(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "cuda-cache").write_text("in the way")
    keep_kernels(configured(hf_home=tmp_path / "volume" / "hf"))
    assert "CUDA_CACHE_PATH" not in os.environ


@pytest.mark.parametrize(("quota", "own", "threads"), [(None, None, None), (1, None, "1"), (1, "7", "7")])
def test_under_a_quota_the_libraries_start_no_more_threads_than_it_pays_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: int | None, own: str | None, threads: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    monkeypatch.setattr(machine, "cpu_quota", lambda root=None: quota)
    init_and_run.prepare_environment(configured(jobs_dir=tmp_path / "jobs"))
    assert os.environ.get("OMP_NUM_THREADS") == threads


def test_folders_that_libraries_expect_are_made_and_named(tmp_path: Path) -> None:
    folders = {
        name: tmp_path / "volume" / name
        for name in ("hf_home", "huggingface_hub_cache", "transformers_cache", "torch_home", "tmpdir", "jobs_dir")
    }
    init_and_run.prepare_environment(configured(**folders))
    for name, folder in folders.items():
        assert folder.is_dir()
        assert os.environ[name.upper()] == str(folder)


def test_a_temporary_folder_that_was_missing_is_used_from_the_start(tmp_path: Path) -> None:
    """Python remembers the first temporary folder it finds, and a TMPDIR that is not there yet is not found."""
    code = (
        f"import sys; sys.path.insert(0, {str(ENTRY.parent)!r}); import init_and_run, tempfile; from scribe import settings; "
        "init_and_run.prepare_environment(settings.load(None)); print(tempfile.gettempdir())"
    )
    folder = tmp_path / "volume" / "tmp"
    env = {name: value for name, value in os.environ.items() if name not in variables()}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={**env, "TMPDIR": str(folder), "JOBS_DIR": str(tmp_path / "jobs")},
    )
    assert done.stdout.strip() == str(folder), done.stderr


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidSettings, match="HF_HOME"):
        init_and_run.prepare_environment(configured(hf_home=tmp_path / "file" / "inside", jobs_dir=tmp_path / "jobs"))


@pytest.mark.parametrize("local", [True, False])
def test_the_hub_is_off_only_when_every_model_is_here(local: bool) -> None:
    prepare_offline(local)
    assert (os.environ.get("HF_HUB_OFFLINE") == "1") is local


def test_without_storage_settings_there_is_no_storage() -> None:
    assert storage_of(configured()) is None


def test_the_storage_is_the_one_that_the_settings_name() -> None:
    named = {
        "storage_endpoint": "http://127.0.0.1:9",
        "storage_bucket": "bucket",
        "storage_access_key": "AKIAEXAMPLE",
        "storage_secret_key": "s3cr3tcanary",
    }
    storage = storage_of(configured(**named))
    assert storage is not None
    url, expires_at = storage.presign("transcripts/a/b/transcript.json")
    assert url.startswith("http://127.0.0.1:9/bucket/transcripts/a/b/transcript.json?")
    assert expires_at
    assert "s3cr3tcanary" not in url + repr(storage)


def test_a_worker_is_wired_together_without_loading_what_warmup_does_not_name(tmp_path: Path) -> None:
    worker = Worker.from_settings(configured(jobs_dir=tmp_path / "jobs", warmup=()))
    assert worker.models._cache.names() == []
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_on_a_gpu_endpoint_without_a_gpu_no_model_is_loaded_onto_the_cpu(tmp_path: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a GPU")
    settings = configured(jobs_dir=tmp_path / "jobs", whisperx_device="auto", runpod_endpoint_id="e1")
    assert settings.warmup == ("asr",)
    assert Worker.from_settings(settings).models._cache.names() == []


@pytest.mark.parametrize(
    ("variables_", "code", "told"),
    [
        ({"PRESIGN_TTL": "soon"}, 78, "PRESIGN_TTL"),
        ({"MODEL_SET": "nowhere"}, 78, "MODEL_SET"),
        ({"STORAGE_BUCKET": "b"}, 78, "STORAGE_ACCESS_KEY"),
        ({"JOBS_DIR": "/dev/null/jobs"}, 78, "JOBS_DIR"),
    ],
)
def test_a_wrong_setting_ends_the_worker_with_78_and_is_named(
    tmp_path: Path, variables_: dict[str, str], code: int, told: str
) -> None:
    done = started(tmp_path, **{"MODEL_SET": "demo", **variables_})
    assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (code, True, False)


@pytest.mark.models
def test_a_model_that_is_not_there_ends_the_worker_with_1_and_the_log_is_json_on_runpod(tmp_path: Path) -> None:
    done = started(
        tmp_path,
        MODEL_SET="demo",
        WHISPERX_DEVICE="cpu",
        WHISPERX_MODEL=str(tmp_path / "absent"),
        RUNPOD_ENDPOINT_ID="e1",
        HF_HUB_OFFLINE="1",
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    messages = [json.loads(line)["message"] for line in done.stderr.splitlines() if line.startswith("{")]
    assert "[Predict] device=cpu compute_type=int8" in messages
    assert any(message.startswith("[Predict] whisper_arch=") for message in messages)
    assert "absent" in messages[-1]


def test_a_wrong_storage_key_is_told_at_start_and_a_right_one_too(
    s3_server: S3Server,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    def told(secret: str) -> str:
        caplog.clear()
        settings = settings_module.load(
            env_file=None,
            storage_endpoint=s3_server.endpoint,
            storage_bucket=s3_server.bucket,
            storage_access_key=s3_server.access_key,
            storage_secret_key=secret,
        )
        with caplog.at_level("INFO"):
            probe_storage(settings)
            for thread in threading.enumerate():
                if thread.name == "storage-probe":
                    thread.join(timeout=30)
        return caplog.text

    assert "put, get and delete work" in told(s3_server.secret_key)
    assert "storage_denied" in told("another-secret-key")
