"""`scribe render`: render stored transcripts in other formats, without a job."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scribe.cli.answer import place_next_to
from scribe.cli.answer import render as write
from scribe.cli.exits import DONE, SOME_FAILED, report
from scribe.cli.failure import Failure
from scribe.cli.order import Order
from scribe.cli.recording import SUFFIXES
from scribe.errors import InvalidInput
from scribe.formats import FORMATS


def render(transcripts: Sequence[str], order: Order, output: str | None, audio: str | None, force: bool) -> int:
    """Write each transcript in the formats of the order and return the exit code. Raises InvalidInput."""
    to_stdout = output == "-"
    if to_stdout and (len(transcripts) > 1 or len(order.formats) > 1):
        raise InvalidInput("-o - writes one format of one transcript to the standard output")
    if audio and (len(transcripts) > 1 or not Path(audio).is_file()):
        raise InvalidInput(f"--audio {audio}: one file, for one transcript")
    for path in map(Path, transcripts):
        if not path.is_file():
            raise InvalidInput(f"there is no file {path}")
    code = DONE
    for path in map(Path, transcripts):
        try:
            if to_stdout:
                _print(path, order, audio)
            else:
                files = _written(path, order, Path(output) if output else path.parent, audio, force)
                print(f"{path}: {', '.join(map(str, files))}")
        except Failure as failure:
            code = report(SOME_FAILED, f"{path}: {failure.code}: {failure.message}")
    return code


def _written(path: Path, order: Order, folder: Path, audio: str | None, force: bool) -> list[Path]:
    """Write the files and return them. Raises Failure when one exists already, or the transcript is invalid."""
    files = [folder / f"{path.stem}.{FORMATS[form].extension}" for form in order.formats]
    for file in files:
        if not force and file.exists() and not file.samefile(path):
            raise Failure("file_exists", f"{file} is there already: --force replaces it, -o takes another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    recording = Path(audio) if audio else _recording_of(path)
    name = recording.name if recording else ""
    if recording and "html" in order.formats:
        name = place_next_to(folder / f"{path.stem}.html", recording)
    write(path, order, folder, path.stem, name, {})
    return files


def _print(path: Path, order: Order, audio: str | None) -> None:
    recording = Path(audio) if audio else _recording_of(path)
    with tempfile.TemporaryDirectory(prefix="scribe-") as folder:
        write(path, order, Path(folder), path.stem, recording.name if recording else "", {})
        (file,) = Path(folder).iterdir()
        sys.stdout.buffer.write(file.read_bytes())
        sys.stdout.flush()


def _recording_of(transcript: Path) -> Path | None:
    """Return the recording of the same name in the transcript's folder; None if there is none."""
    recordings = (file for file in sorted(transcript.parent.glob("*")) if file.suffix.lower() in SUFFIXES)
    return next((file for file in recordings if transcript.stem in (file.stem, file.name)), None)
