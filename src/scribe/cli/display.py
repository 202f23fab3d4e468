"""Show progress: live bars on a terminal, a line for each stage without one, or failures only with --quiet."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from scribe.cli.exits import printable

STAGES = {
    "fetch": "the worker fetches it",
    "decode": "decoding",
    "load": "loading the models",
    "transcribe": "transcribing",
    "align": "aligning the words",
    "diarize": "separating the speakers",
    "name": "naming the speakers",
    "publish": "writing the files",
}


class Display:
    """Shows progress and results. Thread-safe. `as_json` writes a JSON object for each recording to stdout.

    `on_stderr`: write everything else to stderr, because stdout is for the JSON or the transcript.
    """

    def __init__(self, quiet: bool, as_json: bool, on_stderr: bool) -> None:
        self._quiet = quiet
        self._as_json = as_json
        self._console = Console(stderr=on_stderr, markup=False, highlight=False, soft_wrap=True)
        self._errors = (
            self._console
            if on_stderr or not quiet
            else Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        )
        columns = (
            SpinnerColumn(),
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
        )
        self._live = Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
            # With bars on stderr, rich would redirect the JSON there too.
            redirect_stdout=not on_stderr,
        )
        self._bars: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def __enter__(self) -> Display:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def progress(self, name: str, doing: str, percent: float | None = None) -> None:
        """Show what is being done with the recording; `percent` of the whole job, None if unknown."""
        if not self._live.disable:
            if name not in self._bars:
                self._bars[name] = self._live.add_task(doing, total=None, name=name)
            self._live.update(
                self._bars[name], description=doing, completed=percent or 0, total=None if percent is None else 100
            )
        elif self._said.get(name) != doing:
            self._said[name] = doing
            self.say(name, f"{doing} ({percent:.0f} %)" if percent and percent < 100 else doing, "dim")

    def job(self, name: str, body: Mapping[str, Any]) -> None:
        """Show a job's progress from the platform's /status."""
        event = body.get("output")
        if isinstance(event, dict) and isinstance(event.get("percent"), int | float):
            stage = str(event.get("stage", ""))
            self.progress(name, STAGES.get(stage, stage), float(event["percent"]))
        else:
            self.progress(name, "waiting in the queue" if body.get("status") == "IN_QUEUE" else "a worker has it")

    def say(self, name: str, sentence: str, style: str = "") -> None:
        if not self._quiet:
            self._console.print(Text(f"{name}: {printable(sentence)}", style))

    def fail(self, name: str, code: str, sentence: str) -> None:
        """Show a failure, in every mode."""
        self._errors.print(Text(f"{name}: {code}: {printable(sentence)}", "red"))

    def finish(self, name: str, report: Mapping[str, Any]) -> None:
        """Remove the recording's bar, and with `as_json` write `report`, its JSON object."""
        if name in self._bars:
            self._live.remove_task(self._bars.pop(name))
        if self._as_json:
            sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
            sys.stdout.flush()
