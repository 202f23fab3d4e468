"""`scribe transcribe`: transcribe the recordings of the command line, several at a time."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from scribe.cli.display import Display
from scribe.cli.environment import Environment
from scribe.cli.exits import DONE, INTERRUPTED, SOME_FAILED, UNREACHABLE, report
from scribe.cli.failure import Failure, Stopped, Unreachable
from scribe.cli.means import Here, Means, Store, remote
from scribe.cli.order import Order
from scribe.cli.recording import Place, Recording, buffered, gather
from scribe.cli.state import State, opened
from scribe.cli.transcription import Outcome, Transcriber
from scribe.cli.watching import arrivals
from scribe.errors import InvalidInput
from scribe.formats import FORMATS

REMOTE_JOBS, LOCAL_JOBS = 4, 1
# Handled as Ctrl-C, so that temporary copies of recordings are removed. Windows has no SIGHUP.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of the command; the job's options are in `order`."""

    recordings: Sequence[str]
    order: Order
    output: str = "."
    endpoint: str | None = None
    api_base: str | None = None
    parallel: int | None = None
    stdin_name: str = "stdin"
    keep_uploads: bool = False
    force: bool = False
    json: bool = False
    quiet: bool = False
    watch: bool = False
    local: bool = False

    @property
    def to_stdout(self) -> bool:
        return self.output == "-"

    def check(self) -> None:
        """Raise InvalidInput when options contradict each other."""
        if self.recordings.count("-") > 1:
            raise InvalidInput("the standard input is one recording: give - once")
        if self.to_stdout and len(self.order.formats) > 1:
            raise InvalidInput("-o - writes one format to the standard output: give -f with one")
        for clash, given in (("--json", self.json), ("--watch", self.watch)):
            if self.to_stdout and given:
                raise InvalidInput(f"-o - and {clash} cannot be given together")
        if self.watch and "-" in self.recordings:
            raise InvalidInput("--watch and - cannot be given together")
        if self.watch and not any(Path(given).is_dir() for given in self.recordings):
            raise InvalidInput("--watch looks for new recordings in a folder: give one")
        if self.local and (self.endpoint or self.api_base):
            raise InvalidInput("--local runs here: it takes no --endpoint and no --api-base")


def transcribe(request: Request, environment: Environment, here: Here) -> int:
    """Transcribe all recordings and return the exit code. Raises InvalidInput before anything is sent."""
    request.check()
    named = [given for given in request.recordings if given != "-"]
    # A missing file is reported before a missing configuration.
    found = gather(named, {}, output=None if request.to_stdout else Path(request.output), empty=request.watch)
    if request.to_stdout and len(found) + ("-" in request.recordings) != 1:
        raise InvalidInput("-o - writes one transcript to the standard output: give one recording")
    if request.local and (sentence := here.missing()):
        raise InvalidInput(sentence)
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals_as_ctrl_c())
        local = here.local(request.order.options.get("model")) if request.local else None
        means = stack.enter_context(local) if local else remote(environment, request.endpoint, request.api_base)
        stdin = (
            stack.enter_context(buffered(sys.stdin.buffer, request.stdin_name)) if "-" in request.recordings else None
        )
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="scribe-")) if request.to_stdout else None
        folder = Path(scratch or request.output)
        return _Run(request, means, folder, stack.enter_context(opened(folder)), stdin).code()


@contextlib.contextmanager
def signals_as_ctrl_c() -> Iterator[None]:
    """Inside the block ENDING's signals raise KeyboardInterrupt, unless they are ignored (nohup) or handled already."""
    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in ENDING if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


class _Run:
    """One run of the command, with its output folder opened."""

    def __init__(self, request: Request, means: Means, folder: Path, state: State, stdin: Place | None) -> None:
        self._request = request
        self._means = means
        self._folder = folder
        self._state = state
        self._look = functools.partial(gather, request.recordings, stdin=stdin, output=folder, empty=request.watch)
        self._stop = threading.Event()
        self._futures: list[Future[Outcome]] = []
        self._taken: list[Recording] = []

    def code(self) -> int:
        """Transcribe until all is done, or until Ctrl-C, and return the exit code."""
        request = self._request
        self._taken = [] if request.watch else self._look(self._state.names)
        on_stderr = request.json or request.to_stdout
        most = request.parallel or (REMOTE_JOBS if self._means.outlives else LOCAL_JOBS)
        with Display(request.quiet, request.json, on_stderr) as display, ThreadPoolExecutor(most) as pool:
            work = Transcriber(
                request.order,
                self._folder,
                self._state,
                self._means,
                display,
                self._stop,
                request.force,
                copy_recording=not request.to_stdout,
            )
            try:
                if request.watch:
                    self._watch(work, display, pool)
                    return SOME_FAILED
                self._futures = [pool.submit(work, recording) for recording in self._taken]
                outcomes = []
                for future in as_completed(self._futures):
                    outcomes.append(future.result())
                    show(display, outcomes[-1], None if request.to_stdout else self._folder)
            except KeyboardInterrupt:
                return self._interrupted(pool)
        self._tidy()
        if request.to_stdout:
            write_out(self._folder, request.order.formats[0], outcomes)
        return summed_up(outcomes, request.quiet or on_stderr)

    def _watch(self, work: Transcriber, display: Display, pool: ThreadPoolExecutor) -> None:
        """Transcribe new recordings until Ctrl-C, or until the worker on this machine is broken."""
        display.say(", ".join(self._request.recordings), "waiting for recordings, until Ctrl-C", "dim")

        def shown(recording: Recording) -> Outcome:
            outcome = work(recording)
            show(display, outcome, self._folder)
            return outcome

        def wait(seconds: float) -> None:
            busy = [future for future in self._futures if not future.done()]
            if self._futures and not busy:
                self._tidy()  # only while nothing runs, because a job that is being sent may use the upload of another one
            self._futures = busy
            if self._stop.wait(seconds):
                raise Stopped

        away = False

        def look(names: Mapping[str, str]) -> list[Recording]:
            nonlocal away
            try:
                found = self._look(names)
            except (InvalidInput, OSError) as error:  # a network folder may come back
                if not away:
                    display.say(", ".join(self._request.recordings), f"not readable now: {error}", "yellow")
                away = True
                return []
            away = False
            return found

        with contextlib.suppress(Stopped):
            for recording in arrivals(look, self._state.names, wait):
                self._taken.append(recording)
                self._futures.append(pool.submit(shown, recording))

    def _interrupted(self, pool: ThreadPoolExecutor) -> int:
        self._stop.set()
        # A second Ctrl-C or signal ends the process at once; the state file is always written atomically.
        for number in (signal.SIGINT, *ENDING):
            if signal.getsignal(number) is signal.default_int_handler:
                signal.signal(number, signal.SIG_DFL)
        report(INTERRUPTED, "stopping… (Ctrl-C again ends it at once)")  # a model that is being loaded is waited for
        pool.shutdown(cancel_futures=True)
        if not self._means.outlives:
            return report(INTERRUPTED, "stopped. The same command begins again with what is not finished.")
        if self._request.to_stdout:
            return report(INTERRUPTED, "stopped; a submitted job goes on at the endpoint.")
        going = self._state.submitted({recording.source for recording in self._taken})
        if self._request.watch and not going:
            self._tidy()
            return report(INTERRUPTED, "stopped; nothing is under way.")
        return report(
            INTERRUPTED,
            f"stopped; {going} submitted jobs go on at the endpoint. The same command continues with them.",
        )

    def _tidy(self) -> None:
        if self._means.store is not None and not self._request.keep_uploads:
            remove_uploads(self._means.store, self._state)


def show(display: Display, outcome: Outcome, folder: Path | None) -> None:
    """Show a recording's result, warnings and files, and with --json its object. Without `folder` no files are shown."""
    name = outcome.recording.name
    if outcome.failure is not None:
        display.fail(name, outcome.failure.code, outcome.failure.message)
    elif outcome.status == "skipped":
        display.say(name, "finished before, nothing to do", "dim")
    elif outcome.entry is not None and outcome.status == "done":
        for warning in outcome.entry.summary.get("warnings", ()):
            display.say(name, f"warning ({warning['stage']}): {warning['message']}", "yellow")
        files = [str(folder / file) for file in outcome.entry.files] if folder else []
        display.say(name, f"done: {', '.join(files)}" if files else "done", "green")
    display.finish(name, outcome.report(folder or Path()))


def write_out(folder: Path, form: str, outcomes: Sequence[Outcome]) -> None:
    """Write the single transcript to the standard output."""
    for outcome in outcomes:
        if outcome.status == "done":
            data = (folder / f"{outcome.recording.name}.{FORMATS[form].extension}").read_bytes()
            sys.stdout.buffer.write(data)
            sys.stdout.flush()


def summed_up(outcomes: Sequence[Outcome], silent: bool) -> int:
    """Print how many recordings ended with which status, and return the exit code."""
    counts = Counter(outcome.status for outcome in outcomes)
    if not silent and len(outcomes) > 1:
        print(", ".join(f"{number} {status}" for status, number in sorted(counts.items())))
    if not counts["failed"]:
        return DONE
    unreached = all(isinstance(o.failure, Unreachable) for o in outcomes if o.status == "failed")
    return UNREACHABLE if unreached and not counts["done"] else SOME_FAILED


def remove_uploads(store: Store, state: State) -> None:
    """Delete uploads that only finished jobs have read. A failure is reported, and the next run tries again."""
    keys = state.needless_uploads()
    try:
        store.delete(sorted(keys))
    except Failure as failure:
        report(DONE, f"the uploads could not be removed, the next run tries again: {failure.message}")
        return
    if keys:
        state.forget_uploads(keys)
