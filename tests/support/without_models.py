"""`pytest --without-models`: the tests that pass without torch and the other packages of the models, in a minute.

No list says which those are. A test that fails because such a package is not installed, in its own process or in a
worker that it started, counts as left out, with the package's name. One that looks for the packages without importing
them fails here until it is marked `models`. What is left out by mistake is noticed: in a room that may not import torch
(pyproject.toml) nine of ten tests run here, those that are marked not counted.

For the minute's sake whole workers, platforms and damaged files by the dozen (LONG) and what is marked `long` are left
to `make test`, and a property is tried on EXAMPLES inputs.
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).resolve().parents[2]
RULES = "Only the rooms of models touch torch"
ABSENT = re.compile(r"No module named \\*'(\w+)")
NEEDS = "needs the models: "
ENOUGH = 0.9
LONG = ("contract", "faults", "fuzz")
EXAMPLES = 5
# To look for the smallest input that misses a package takes seconds.
UNSHRUNK = (Phase.explicit, Phase.generate)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-models", action="store_true", help="leave out what needs torch or a model's package")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("without_models"):
        return
    if importlib.util.find_spec("torch"):
        raise pytest.UsageError("--without-models is for an environment without torch: make test-quick")
    config.pluginmanager.register(WithoutModels(), "without models")


class WithoutModels:
    """Turns failures for want of a package into skips, and counts by file what ran and what did not."""

    def __init__(self) -> None:
        self._ran: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path.parent == ROOT / "tests" and collection_path.name in LONG else None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            tried = getattr(item, "function", None)
            if (given := getattr(tried, "_hypothesis_internal_use_settings", None)) is not None:
                few = settings(given, max_examples=min(EXAMPLES, given.max_examples), phases=UNSHRUNK)
                tried._hypothesis_internal_use_settings = few

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        for mark in ("models", "long"):
            if item.get_closest_marker(mark):
                pytest.skip(f"marked {mark}: make test")

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        return left_out_if_needed((yield))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        return left_out_if_needed((yield))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._left_out[report.nodeid] += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.split("::")[0]
        if report.skipped and NEEDS in str(report.longrepr):
            self._left_out[file] += 1
        elif report.when == "call":
            self._ran[file] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run, in the process that hears of every test, when a room without models lost tests."""
        if hasattr(session.config, "workerinput") or not self._ran:
            return
        self._told = list(self._lost(rooms_without_models()))
        if self._told and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        out = sum(self._left_out.values())
        terminalreporter.write_line(
            f"{sum(self._ran.values())} tests ran, {out} tests or files need the models: make test"
        )
        for line in getattr(self, "_told", ()):
            terminalreporter.write_line(line, red=True)

    def _lost(self, rooms: list[str]) -> Generator[str]:
        for room in rooms:
            ran, out = (
                sum(count for file, count in counts.items() if file.startswith(f"tests/{room}/"))
                for counts in (self._ran, self._left_out)
            )
            if ran < ENOUGH * (ran + out):
                yield f"tests/{room}: {out} of {ran + out} tests need the models and are not marked so"


def left_out_if_needed(report: Any) -> Any:
    """Turn a failure for want of a package into a skip; any other report stays as it is."""
    if report.failed and (package := needed(report.longreprtext, *(text for _, text in report.sections))):
        report.outcome = "skipped"
        report.longrepr = (report.fspath, 0, f"Skipped: {NEEDS}{package}")
    return report


def needed(*texts: str) -> str | None:
    """Return the package that these texts miss and that is not installed."""
    names = {name for text in texts for name in ABSENT.findall(text)}
    return next((name for name in sorted(names) if importlib.util.find_spec(name) is None), None)


def rooms_without_models() -> list[str]:
    """Return the rooms of src/scribe that may not import torch, as the import rules name them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = text.split(f'name = "{RULES}"')[1].split("forbidden_modules")[0]
    rooms = re.findall(r'"scribe\.(\w+)"', contract)
    return [room for room in rooms if (ROOT / "tests" / room).is_dir()]
