"""`make demo`: the real worker under a stand-in of the RunPod platform, one job, its transcript in colour.

Starts src/init_and_run.py as its own process, submits samples/jobs/conversation.json (or your own recording with
--audio) the way RunPod would, shows the progress that the worker reports, prints who said what, and writes the files
to out/. Without a model in the environment it runs on the small demo models that the repository carries.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from contract.files import FileServer
from contract.platform import Platform
from contract.record import Record
from contract.worker import NotReady, WorkerProcess
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from scribe.formats import FORMATS, TextOptions, render_all
from scribe.formats.json import from_dict
from scribe.formats.paragraphs import paragraphs
from scribe.formats.text import join
from scribe.transcript import Transcript

STARTED = time.monotonic()
REPOSITORY = Path(__file__).resolve().parents[1]
JOB = REPOSITORY / "samples" / "jobs" / "conversation.json"
RECORDING = REPOSITORY / "samples" / "conversation.mp3"
OUT = REPOSITORY / "out"
MODEL_VARIABLES = ("MODEL_SET", "WHISPERX_MODEL", "WHISPERX_MODEL_NAME", "WHISPERX_MODEL_DIR")
# The first start with real models downloads gigabytes; a long recording on a CPU takes hours.
READY_SECONDS = 3600.0
JOB_SECONDS = 6 * 3600.0
LOG_LINES = 40
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
STAGES = {
    "fetch": "Fetching the recording",
    "decode": "Decoding it",
    "load": "Loading the models",
    "transcribe": "Transcribing",
    "align": "Aligning the words",
    "diarize": "Separating the speakers",
    "name": "Naming the speakers",
    "publish": "Writing the answer",
}


class JobFailed(RuntimeError):
    """The worker answered with an error, or did not answer."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", type=Path, help="a recording of your own, instead of the sample conversation")
    parser.add_argument("--verbose", action="store_true", help="show the worker's log as it comes")
    options = parser.parse_args()
    if options.audio and not options.audio.is_file():
        parser.error(f"there is no file {options.audio}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(highlight=False)
    try:
        run(console, options.audio, options.verbose)
    except KeyboardInterrupt:
        console.print("Stopped, and the worker with it.")
        return 130
    except (NotReady, JobFailed) as failure:
        console.print(Text(str(failure), "red"), soft_wrap=True)
        return 1
    return 0


def run(console: Console, audio: Path | None, verbose: bool) -> None:
    """The whole demo. Raises NotReady or JobFailed with the last lines of the worker's log in the message."""
    env = environment(os.environ)
    console.print(f"[bold]One job through the real worker[/] ({describe(env, audio)})")
    with tempfile.TemporaryDirectory() as scratch, served(audio) as (files, job), Platform() as platform:
        env["FETCH_ALLOW_HOSTS"] = ",".join(filter(None, (env.get("FETCH_ALLOW_HOSTS"), files.host)))
        env["JOBS_DIR"] = scratch
        on_line = (lambda line: console.print(Text(line, "dim"), soft_wrap=True)) if verbose else None
        status = console.status("Starting the worker: it imports the models' libraries …")
        begun = time.monotonic()
        with status, WorkerProcess(platform, env, REPOSITORY, ready_timeout=READY_SECONDS, on_line=on_line) as worker:
            ready = time.monotonic() - begun
            status.stop()
            console.print(f"The worker is ready after {ready:.1f} s.")
            record = watch(console, platform, worker, platform.submit(job))
            show(console, record.output)
            written = write(record.output, audio or RECORDING)
    total = time.monotonic() - STARTED
    console.print(f"\nFrom process start to ready {ready:.1f} s, the whole demo {total:.1f} s.")
    console.print("[bold]Your files:[/]")
    for path in written:
        console.print(f"  {os.path.relpath(path)}  [dim]{path.stat().st_size:,} bytes[/]", soft_wrap=True)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables without the platform's own; the demo models unless the caller chose a model."""
    env = {name: value for name, value in given.items() if not name.startswith("RUNPOD_")}
    if not any(env.get(name) for name in MODEL_VARIABLES):
        env["MODEL_SET"] = "demo"
    if env.get("MODEL_SET") == "demo":
        env.setdefault("OMP_NUM_THREADS", "1")  # contract.worker.demo_environment says why
    # Nothing is too large for loopback; an empty endpoint id keeps the log readable for a person.
    return {"RESULT_MAX_BYTES": "20000000"} | env | {"RUNPOD_ENDPOINT_ID": ""}


def describe(env: Mapping[str, str], audio: Path | None) -> str:
    if env.get("MODEL_SET") != "demo":
        return f"model {next((env[name] for name in MODEL_VARIABLES[1:] if env.get(name)), 'of the default set')}"
    if audio is None:
        return "small demo models"
    return (
        "small demo models, which know a hundred-odd English words in synthetic voices and will make nonsense of a real"
        " recording: add WHISPERX_MODEL=small, on a machine that reaches the internet"
    )


@contextmanager
def served(audio: Path | None) -> Iterator[tuple[FileServer, dict[str, Any]]]:
    """The job, and the loopback server that its addresses point at. Of your folder only `audio` itself is served."""
    if audio is None:
        with FileServer(REPOSITORY / "samples") as files:
            yield files, files.localize(json.loads(JOB.read_text()))
        return
    with tempfile.TemporaryDirectory() as folder:
        name = f"recording{audio.suffix}"
        (Path(folder) / name).symlink_to(audio.resolve())
        with FileServer(Path(folder)) as files:
            wanted = {"audio_file": files.url + name, "align_output": True, "diarization": True, "inline": "full"}
            yield files, {"input": wanted}


def watch(console: Console, platform: Platform, worker: WorkerProcess, job_id: str) -> Record:
    """Show the job's progress until it is done. Raises JobFailed."""
    record, deadline = platform.record(job_id), time.monotonic() + JOB_SECONDS
    shown = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*shown, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, seen, stage = bar.add_task("Handing the job over", total=100), 0, None
        while not record.final and not worker.ended and time.monotonic() < deadline:
            left = deadline - time.monotonic()
            platform.until(lambda seen=seen: record.final or worker.ended or len(record.progress) > seen, left)
            for event in record.progress[seen:]:
                seen += 1
                words = STAGES.get(event["stage"], event["stage"])
                bar.update(task, description=words, completed=event["percent"])
                if event["stage"] != stage and not console.is_terminal:
                    console.print(f"  {event['percent']:3.0f} %  {words}")
                stage = event["stage"]
    if record.status == "COMPLETED":
        return record
    if record.final and not str(record.error).startswith("internal"):
        raise JobFailed(f"The job failed: {record.error}")  # a sentence to act on; the log would only hide it
    if record.final:
        what = f"The job failed: {record.error}"
    else:
        what = "The worker ended before it had answered." if worker.ended else "The worker did not answer in time."
    raise JobFailed(f"{what}\n\nThe worker's last lines:\n{worker.tail(LOG_LINES)}")


def transcript_of(answer: Mapping[str, Any]) -> Transcript:
    """The inline transcript of an answer; `inline: full` carries all that the files need."""
    return from_dict({**answer, "language": answer["detected_language"] or "und"})


def show(console: Console, answer: Mapping[str, Any]) -> None:
    """The transcript as a person reads it, then who was named, what it cost, and what was left out."""
    transcript = transcript_of(answer)
    colour = {s.label: COLOURS[i % len(COLOURS)] for i, s in enumerate(transcript.speakers)}
    lines = Table.grid(Column(no_wrap=True, style="dim"), Column(no_wrap=True), Column(), padding=(0, 2, 0, 0))
    for paragraph in paragraphs(transcript):
        minutes, seconds = divmod(int(paragraph.start), 60)
        name = Text(transcript.display(paragraph.label) or "", f"bold {colour.get(paragraph.label or '', 'default')}")
        said = join(segment.text.strip() for segment in paragraph.segments)
        lines.add_row(f"{minutes:02d}:{seconds:02d}", name, Text(said))
    console.print()
    console.print(lines if lines.row_count else "Nobody says anything in this recording.")
    console.print()
    for speaker in transcript.speakers:
        known = f"is {speaker.name}" if speaker.name else f"has no name ({speaker.reason or 'not asked for'})"
        score = f", score {speaker.score:.2f}" if speaker.score is not None else ""
        console.print(Text(f"{speaker.label} {known}{score}; talks {speaker.seconds:.0f} s", colour[speaker.label]))
    timings = dict(answer["timings"])
    factor, total = timings.pop("real_time_factor"), timings.pop("total")
    costs = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in timings.items() if seconds >= 0.05)
    console.print(f"{transcript.duration:.1f} s of sound in {total:.1f} s (real-time factor {factor:.2f}): {costs}")
    for warning in answer["warnings"]:
        if warning["code"] == "storage_not_configured":
            continue  # the demo writes the files itself
        console.print(Text(f"Warning ({warning['stage']}): {warning['message']}", "yellow"))


def write(answer: Mapping[str, Any], source: Path) -> list[Path]:
    """Render the inline transcript to out/<stem>.<format>, put the whole answer and the recording beside it, list the files."""
    OUT.mkdir(exist_ok=True)
    warnings = tuple(
        w["message"] for w in answer["warnings"] if w["code"] not in ("storage_not_configured", "suspect_text")
    )
    rendered = render_all(transcript_of(answer), FORMATS, TextOptions(audio_name=source.name, warnings=warnings))
    files = {OUT / f"{source.stem}.{FORMATS[name].extension}": data for name, data in rendered.items()}
    files[OUT / f"{source.stem}.answer.json"] = json.dumps(answer, ensure_ascii=False, indent=1).encode()
    for path, data in files.items():
        path.write_bytes(data)
    beside = OUT / source.name
    if beside.resolve() != source.resolve():
        shutil.copyfile(source, beside)  # the page plays the file of that name in its folder
    return [*files, beside]


if __name__ == "__main__":
    sys.exit(main())
