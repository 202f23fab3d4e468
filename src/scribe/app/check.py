"""Run `--check`: print what works on this machine, what does not and what to do about it."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator

from scribe import settings as settings_module
from scribe.app.environment import prepare_environment, prepare_offline
from scribe.settings import InvalidSettings

EXIT_CONFIG = 78
DEMO = "This is about the real models. The small demo models are here too: MODEL_SET=demo checks them."


def check(as_json: bool) -> int:
    """Run all checks and print the report: a table, or only JSON on the standard output.

    Returns 0 if all that the configuration needs works, 1 if something does not, 78 if a setting is invalid.
    """
    try:
        settings = settings_module.load()
        prepare_environment(settings)
    except InvalidSettings as error:
        if as_json:
            print(json.dumps({"ok": False, "invalid_settings": str(error).splitlines()}, indent=2))
        return refused(error)
    from scribe.app.worker import doctor_of
    from scribe.doctor import report as report_module
    from scribe.models.model_set import ModelSet
    from scribe.runtime import log as log_module
    from scribe.runtime.redact import Redactor

    redactor = Redactor(settings.secrets)
    log_module.configure(settings.log_level, as_json=False, clean=redactor.clean)
    # The report says what is wrong; the libraries' messages are shown only with DEBUG.
    with contextlib.redirect_stdout(sys.stderr), contextlib.nullcontext() if settings.debug else without_log():
        model_set = ModelSet(settings)
        prepare_offline(model_set.is_local)
        report = doctor_of(settings, model_set).examine()
    if as_json:
        print(json.dumps(redactor.clean_value(report.to_dict()), indent=2))
    else:
        print(report_module.table(report, clean=redactor.clean), end="")
        if report.exit_code and "model_set" not in settings.model_fields_set:
            print(DEMO)
    return report.exit_code


@contextlib.contextmanager
def without_log() -> Iterator[None]:
    """Switch all logging off for the block."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def refused(error: InvalidSettings) -> int:
    """Print which variables are invalid and return the exit code for it."""
    print(f"The worker cannot start. Correct these variables:\n{error}", file=sys.stderr)
    return EXIT_CONFIG
