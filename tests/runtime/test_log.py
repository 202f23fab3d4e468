"""Logs: one line an event on RunPod, and nothing secret in it, tracebacks and library records included."""

from __future__ import annotations

import json
import logging
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from scribe.runtime import log as log_module
from scribe.runtime.redact import Redactor

SECRET = "hf_CanaryCanaryCanary"


@pytest.fixture(autouse=True)
def _root_logger_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in log_module.NOISY}
    null = list(logging.getLogger("whisperx").handlers)
    yield
    root.handlers[:], root.level = handlers, level
    logging.getLogger("whisperx").handlers[:] = null
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def configured(level: str = "INFO", as_json: bool = True) -> None:
    redactor = Redactor()
    redactor.add(SECRET)
    log_module.configure(level, as_json=as_json, clean=redactor.clean)


def test_on_runpod_every_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    token = log_module.job_id.set("job-1")
    try:
        logging.getLogger("x").warning("two\nlines of %s", "text")
    finally:
        log_module.job_id.reset(token)
    out, err = capsys.readouterr()
    line = json.loads(err)
    assert (line["job"], line["level"], line["logger"], line["message"]) == (
        "job-1",
        "WARNING",
        "x",
        "two\nlines of text",
    )
    assert out == ""


def test_secrets_and_signatures_are_gone_also_from_tracebacks_and_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (True, False):
        configured(as_json=as_json)
        try:
            raise ValueError(f"no access with {SECRET} at https://user:pass@host/a.mp3?X-Amz-Signature=abc")
        except ValueError:
            logging.getLogger("somebody.elses.library").exception("failed for %r", {"token": SECRET})
        err = capsys.readouterr().err
        assert "Traceback" in err
        assert not any(word in err for word in (SECRET, "X-Amz-Signature=abc", "user:pass"))


def test_a_person_reads_the_time_the_level_and_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    configured(as_json=False)
    logging.getLogger("x").info("hello")
    token = log_module.job_id.set("job-1")
    try:
        logging.getLogger("x").info("hello")
    finally:
        log_module.job_id.reset(token)
    plain, of_job = capsys.readouterr().err.splitlines()
    assert plain.split(" ", 1)[1].split() == ["INFO", "hello"]
    assert of_job.split(" ", 1)[1].split() == ["INFO", "job-1", "hello"]


def test_what_was_configured_before_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    logging.basicConfig(force=True, format="RAW %(message)s")
    configured()
    configured()
    logging.getLogger("x").info("once")
    assert capsys.readouterr().err.count("once") == 1


@pytest.mark.parametrize(
    ("level", "debug", "info"), [("DEBUG", True, True), ("INFO", False, True), ("ERROR", False, False)]
)
def test_the_level_is_the_operators(level: str, debug: bool, info: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configured(level)
    logging.getLogger("scribe.x").debug("fine grained")
    logging.getLogger("scribe.x").info("as usual")
    err = capsys.readouterr().err
    assert ("fine grained" in err, "as usual" in err) == (debug, info)


@pytest.mark.parametrize(
    "name", ["speechbrain.utils.quirks", "urllib3.connectionpool", "botocore.auth", "whisperx.asr", "pyannote.audio"]
)
def test_chatty_libraries_are_heard_only_when_they_warn(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).warning("a warning")
    err = capsys.readouterr().err
    assert "chatter" not in err
    assert "a warning" in err


def test_two_threads_have_their_own_job(capsys: pytest.CaptureFixture[str]) -> None:
    configured()

    def work(name: str) -> None:
        log_module.job_id.set(name)
        logging.getLogger("x").info("from %s", name)

    threads = [threading.Thread(target=work, args=(f"job-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all(line["message"] == f"from {line['job']}" for line in lines)
    assert len(lines) == 4


def test_a_library_s_prints_go_to_the_log_and_stdout_stays_everybody_s(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    module = types.ModuleType("a_library_that_prints")
    exec("def load(name):\n    print('loading', name, end='!')", module.__dict__)
    sys.modules[module.__name__] = module
    try:
        log_module.quiet_prints(module.__name__)
        with caplog.at_level(logging.DEBUG, module.__name__):
            module.load("weights")
    finally:
        del sys.modules[module.__name__]
    print("another job")
    assert capsys.readouterr().out == "another job\n"
    assert caplog.messages == ["loading weights"]


def test_nothing_but_the_check_takes_the_process_s_stdout_away() -> None:
    source = Path(log_module.__file__).parents[2]
    taking = {file.name for file in source.rglob("*.py") if "contextlib.redirect_stdout" in file.read_text("utf-8")}
    assert taking == {"check.py"}


def test_libraries_are_quiet_where_the_root_logger_is_the_callers() -> None:
    root, own = logging.getLogger(), logging.NullHandler()
    before = [*root.handlers, own]
    root.addHandler(own)
    logging.getLogger("whisperx").handlers.clear()
    log_module.quiet_libraries("INFO")
    assert root.handlers == before
    assert logging.getLogger("whisperx").handlers, "else whisperX adds one that writes to stdout"
    assert logging.getLogger("urllib3").level == logging.WARNING
