"""The operator's variables: all problems in one message, nothing secret in it, and an empty variable is no variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.demo import variables

from scribe import settings as settings_module
from scribe.settings import InvalidSettings, Settings

ENTRY = Path(__file__).resolve().parents[1] / "src" / "init_and_run.py"
TOKEN = "hf_QwErTyUiOpAsDfGh"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return settings_module.load(None)


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(InvalidSettings) as error:
        loaded(monkeypatch, **variables)
    return str(error.value)


def test_nothing_has_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    s = loaded(monkeypatch)
    assert (s.model_set, s.whisperx_device, s.presign_ttl, s.concurrency, s.log_level) == (
        "default",
        "auto",
        3600,
        1,
        "INFO",
    )
    assert s.whisperx_model_dir == Path("/app/models/faster-whisper-large-v3")
    assert not s.storage_configured
    assert s.secrets == ()


def test_every_bad_variable_is_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(
        monkeypatch,
        WHISPERX_DEVICE="tpu",
        PRESIGN_TTL="5",
        CONCURRENCY="many",
        WARMUP="asr,coffee",
        MODEL_SET="nowhere",
        MAX_AUDIO_SECONDS="-1",
        INLINE_DEFAULT="some",
        CONSOLE_LOG_LEVEL="LOUD",
        DEBUG="perhaps",
        STORAGE_BUCKET="b",
    )
    told = {line.split(":")[0] for line in message.splitlines()}
    assert {
        "WHISPERX_DEVICE",
        "PRESIGN_TTL",
        "CONCURRENCY",
        "WARMUP",
        "MODEL_SET",
        "MAX_AUDIO_SECONDS",
        "INLINE_DEFAULT",
        "CONSOLE_LOG_LEVEL",
        "DEBUG",
    } <= told


def test_a_bucket_without_keys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "STORAGE_SECRET_KEY" in refused(monkeypatch, STORAGE_BUCKET="b", STORAGE_ACCESS_KEY="AKIAEXAMPLE")


def test_a_message_never_quotes_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token pasted into the wrong variable is not repeated in a log."""
    wrong = (
        "WHISPERX_DEVICE",
        "PRESIGN_TTL",
        "CONCURRENCY",
        "MODEL_SET",
        "INLINE_DEFAULT",
        "CONSOLE_LOG_LEVEL",
        "WARMUP",
        "DEBUG",
    )
    assert TOKEN not in refused(monkeypatch, **dict.fromkeys(wrong, TOKEN))


def test_secrets_are_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    s = loaded(
        monkeypatch,
        HF_TOKEN=TOKEN,
        STORAGE_BUCKET="b",
        STORAGE_ACCESS_KEY="AKIACANARY",
        STORAGE_SECRET_KEY="s3cr3tcanary",
        RUNPOD_AI_API_KEY="rpa_canary",
    )
    shown = f"{s!r} {s} {s.model_dump()} {s.model_dump_json()}"
    assert not any(secret in shown for secret in (TOKEN, "AKIACANARY", "s3cr3tcanary", "rpa_canary"))
    assert set(s.secrets) == {TOKEN, "AKIACANARY", "s3cr3tcanary", "rpa_canary"}


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    s = loaded(monkeypatch, HF_TOKEN="", WHISPERX_MODEL="", PRESIGN_TTL="", WARMUP="", ALLOWED_MODELS="")
    assert (s.hf_token, s.whisperx_model, s.presign_ttl, s.warmup, s.allowed_models) == (None, None, 3600, ("asr",), ())


def test_the_model_has_two_names_and_the_first_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch, WHISPERX_MODEL_NAME="small").whisperx_model == "small"
    assert loaded(monkeypatch, WHISPERX_MODEL="tiny").whisperx_model == "tiny"


def test_lists_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    s = loaded(monkeypatch, ALLOWED_MODELS=" small, large-v3 ,", FETCH_ALLOW_HOSTS="127.0.0.1:80", WARMUP="asr,align")
    assert (s.allowed_models, s.fetch_allow_hosts, s.warmup) == (
        ("small", "large-v3"),
        ("127.0.0.1:80",),
        ("asr", "align"),
    )


def test_warmup_none_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch, WARMUP="none").warmup == ()


@pytest.mark.parametrize(
    ("variables", "level"),
    [
        ({}, "INFO"),
        ({"DEBUG": "1"}, "DEBUG"),
        ({"DEBUG": "0"}, "INFO"),
        ({"DEBUG": "1", "CONSOLE_LOG_LEVEL": "ERROR"}, "ERROR"),
    ],
)
def test_the_console_level_wins_over_debug(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], level: str
) -> None:
    assert loaded(monkeypatch, **variables).log_level == level


def test_a_file_fills_in_what_the_environment_does_not_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PRESIGN_TTL=600\nCONCURRENCY=3\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("CONCURRENCY", "2")
    s = settings_module.load(file)
    assert (s.presign_ttl, s.concurrency) == (600, 2)


def test_settings_cannot_be_changed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError):
        loaded(monkeypatch).concurrency = 2  # type: ignore[misc]


def test_runpods_cached_models_are_looked_up_before_the_own_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caches = loaded(monkeypatch, HF_HOME=str(tmp_path)).hub_caches
    assert caches == (Path("/runpod-volume/huggingface-cache/hub"), tmp_path / "hub")
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", str(tmp_path / "other"))
    assert settings_module.load(None).hub_caches[1] == tmp_path / "other"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "newest"))
    assert settings_module.load(None).hub_caches[1] == tmp_path / "newest"


def test_the_worker_ends_with_78_before_any_model_loads(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in variables()}
    done = subprocess.run(
        [sys.executable, "-u", str(ENTRY)],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={**env, "PRESIGN_TTL": "soon", "CONCURRENCY": "0", "HF_TOKEN": TOKEN},
    )
    assert done.returncode == 78
    assert "PRESIGN_TTL" in done.stderr
    assert "CONCURRENCY" in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr + done.stdout
