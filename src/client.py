"""Recordings in, transcripts out: `python src/client.py transcribe FILE_OR_URL... --diarize --format srt,html -o out/`.

Uploads what lies on this disk to the storage named by STORAGE_*, submits to the RunPod endpoint, shows what happens,
and fetches the files. It may be killed at any time: the same command goes on where it was.

Exit codes: 0 all done, 1 some failed, 2 the command is wrong, 3 nothing could be reached, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from pydantic import ValidationError

from scribe.cli.bucket import Bucket
from scribe.cli.display import Display
from scribe.cli.endpoint import Endpoint
from scribe.cli.environment import Environment
from scribe.cli.failure import Failure, Unreachable
from scribe.cli.order import order_of
from scribe.cli.recording import gather
from scribe.cli.state import State, opened
from scribe.cli.transcription import Outcome, Transcriber
from scribe.errors import InvalidInput

DONE, SOME_FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. What goes wrong is a sentence on stderr."""
    program = parser()
    options = program.parse_args(arguments)
    if options.command is None:
        program.print_help(sys.stderr)
        return USAGE
    try:
        environment = Environment()
        return transcribe(options, environment) if options.command == "transcribe" else delete(options, environment)
    except InvalidInput as error:
        return told(USAGE, error.message)
    except ValidationError as error:
        return told(
            USAGE, "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors(include_input=False))
        )
    except Unreachable as failure:
        return told(UNREACHABLE, f"{failure.code}: {failure.message}")
    except Failure as failure:
        return told(SOME_FAILED, f"{failure.code}: {failure.message}")
    except OSError as error:
        return told(USAGE, f"{error.strerror or type(error).__name__}: {error.filename or 'a file on this machine'}")
    except KeyboardInterrupt:
        return INTERRUPTED


def told(code: int, sentence: str) -> int:
    print(f"client.py: {sentence}", file=sys.stderr)
    return code


def transcribe(options: argparse.Namespace, environment: Environment) -> int:
    """Every recording of the command line. Raises InvalidInput before anything is sent."""
    order = order_of(options)
    gather(options.recording, {})  # a file that is not there is told before what is missing to send it
    bucket = bucket_of(environment)
    endpoint_id = options.endpoint or environment.runpod_endpoint_id
    if not endpoint_id:
        raise InvalidInput("which endpoint? Give --endpoint or set RUNPOD_ENDPOINT_ID")
    key, base = api_key(environment), options.api_base or environment.runpod_endpoint_base_url
    folder = Path(options.output)
    with opened(folder) as state:
        recordings = gather(options.recording, state.names)
        stop = threading.Event()
        with Display(options.quiet, options.json) as display, ThreadPoolExecutor(options.parallel) as pool:
            work = Transcriber(
                order, folder, state, bucket, lambda: Endpoint(endpoint_id, key, base), display, stop, options.force
            )
            outcomes = []
            try:
                for future in as_completed([pool.submit(work, recording) for recording in recordings]):
                    outcomes.append(future.result())
                    show(display, outcomes[-1], folder)
            except KeyboardInterrupt:
                stop.set()
                # A second Ctrl-C ends the process where it stands; the state file is whole at any moment.
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                pool.shutdown(cancel_futures=True)
                going = sum(1 for r in recordings if (entry := state.get(r.source)) and entry.status == "submitted")
                return told(
                    INTERRUPTED,
                    f"stopped; {going} submitted jobs go on at the endpoint. The same command continues with them.",
                )
        if bucket is not None and not options.keep_uploads:
            remove_uploads(bucket, state)
    return summed_up(outcomes, options.quiet or options.json)


def show(display: Display, outcome: Outcome, folder: Path) -> None:
    """The recording's last line, its warnings, and with --json its object."""
    name = outcome.recording.name
    if outcome.failure is not None:
        display.fail(name, outcome.failure.code, outcome.failure.message)
    elif outcome.status == "skipped":
        display.say(name, "finished before, nothing to do", "dim")
    elif outcome.entry is not None and outcome.status == "done":
        for warning in outcome.entry.summary.get("warnings", ()):
            display.say(name, f"warning ({warning['stage']}): {warning['message']}", "yellow")
        display.say(name, f"done: {', '.join(str(folder / file) for file in outcome.entry.files)}", "green")
    display.finish(name, outcome.report(folder))


def summed_up(outcomes: Sequence[Outcome], silent: bool) -> int:
    counts = Counter(outcome.status for outcome in outcomes)
    if not silent and len(outcomes) > 1:
        print(", ".join(f"{number} {status}" for status, number in sorted(counts.items())))
    if not counts["failed"]:
        return DONE
    unreached = all(isinstance(o.failure, Unreachable) for o in outcomes if o.status == "failed")
    return UNREACHABLE if unreached and not counts["done"] else SOME_FAILED


def remove_uploads(bucket: Bucket, state: State) -> None:
    """Take back what only finished jobs have read. A failure is said, and tried again by the next run."""
    keys = state.needless_uploads()
    try:
        bucket.delete(sorted(keys))
    except Failure as failure:
        told(DONE, f"the uploads could not be removed, the next run tries again: {failure.message}")
        return
    if keys:
        state.forget_uploads(keys)


def delete(options: argparse.Namespace, environment: Environment) -> int:
    """Remove all that the worker stored for a job. Raises InvalidInput where there is no storage or no such id."""
    if not JOB_ID.fullmatch(options.job_id):
        raise InvalidInput("that is no job id: letters, digits, - and _ only")
    bucket = bucket_of(environment)
    if bucket is None:
        raise InvalidInput(
            "which storage? Set STORAGE_BUCKET, STORAGE_ACCESS_KEY, STORAGE_SECRET_KEY and STORAGE_ENDPOINT"
        )
    keys = bucket.job_keys(options.job_id)
    if not keys:
        return told(SOME_FAILED, f"nothing is stored for job {options.job_id}")
    bucket.delete(keys)
    print(f"{len(keys)} objects of job {options.job_id} are removed.")
    return DONE


def bucket_of(environment: Environment) -> Bucket | None:
    """The storage, None where none is named."""
    if environment.storage_bucket is None:
        return None
    if not (environment.storage_access_key and environment.storage_secret_key):
        raise InvalidInput("STORAGE_ACCESS_KEY and STORAGE_SECRET_KEY are needed when STORAGE_BUCKET is set")
    return Bucket(environment)


def api_key(environment: Environment) -> str:
    import runpod

    key = environment.runpod_api_key.get_secret_value() if environment.runpod_api_key else runpod.api_key
    if not key:
        raise InvalidInput("set RUNPOD_API_KEY: https://console.runpod.io/user/settings makes one")
    return str(key)


EXAMPLES = """examples:
  client.py transcribe talk.mp3 --diarize -f srt,html -o out/
  client.py transcribe meetings/ --name Anna=anna.wav --name Mark=mark.wav -f html -o out/
  client.py transcribe https://example.com/talk.mp4 --language de --set deadline_s=600
  client.py transcribe talk.mp3 --diarize -f vtt -o out/     (done before: made from out/talk.json, nothing is paid)
"""


class Parser(argparse.ArgumentParser):
    """Names the flag that was meant where one is unknown."""

    flags: ClassVar[set[str]] = set()

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        self.flags.update(name for name in names if name.startswith("--"))
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        near = difflib.get_close_matches(unknown[1], self.flags, n=1) if unknown else []
        super().error(f"{message}; did you mean {near[0]}?" if near else message)


def parser() -> argparse.ArgumentParser:
    program = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = program.add_subparsers(dest="command", parser_class=Parser)
    run = commands.add_parser(
        "transcribe",
        help="transcribe recordings",
        description="Transcribe files, folders and addresses.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "recording",
        nargs="+",
        metavar="FILE_OR_URL",
        help="a recording, a folder of them, an address, or a transcript.json",
    )
    run.add_argument(
        "-o", "--output", default=".", help="folder of the transcripts and of the state file (default: this one)"
    )
    run.add_argument(
        "-f", "--format", action="append", metavar="LIST", help="of json,srt,vtt,tsv,txt,html (default: json)"
    )
    run.add_argument("--diarize", action="store_true", help="tell the speakers apart")
    run.add_argument(
        "--name", action="append", default=[], metavar="NAME=FILE_OR_URL", help="name this voice; implies --diarize"
    )
    run.add_argument("--speakers", type=int, metavar="N", help="how many there are")
    run.add_argument("--min-speakers", type=int, metavar="N")
    run.add_argument("--max-speakers", type=int, metavar="N")
    run.add_argument("--channels", metavar="mix|split", help="split: each channel is one speaker")
    run.add_argument("--align", action="store_true", help="words with their times: for subtitles and the page")
    run.add_argument("--language", metavar="CODE", help="en, de, ... (default: the worker listens)")
    run.add_argument("--task", metavar="transcribe|translate", help="translate writes English")
    run.add_argument("--model")
    run.add_argument("--quality", metavar="fast|balanced|best")
    run.add_argument("--prompt", help="the job's initial_prompt")
    run.add_argument("--hotwords", help="words to expect")
    run.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any option of the job; VALUE is JSON or text"
    )
    run.add_argument("--endpoint", metavar="ID", help="its id (default: RUNPOD_ENDPOINT_ID); RUNPOD_API_KEY is the key")
    run.add_argument("--api-base", metavar="URL", help="the API's address without the id (default: RunPod's)")
    run.add_argument("--parallel", type=_jobs, default=4, metavar="N", help="jobs at once, 1 to 64 (default: 4)")
    run.add_argument("--keep-uploads", action="store_true", help="leave uploaded recordings in the storage")
    run.add_argument("--force", action="store_true", help="transcribe anew what is finished")
    run.add_argument("--json", action="store_true", help="one JSON object a recording on stdout")
    run.add_argument("--quiet", action="store_true", help="say nothing but what failed")
    gone = commands.add_parser(
        "delete", help="remove a job's files from the storage", description="Remove a job's files from the storage."
    )
    gone.add_argument("job_id", metavar="JOB_ID")
    return program


def _jobs(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError("a number from 1 to 64")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
