"""What was submitted and what is finished, in one JSON file of the output folder, so that a killed client can go on."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scribe.errors import InvalidInput

STATE_FILE = "transcribe-state.json"


class Entry(BaseModel):
    """One recording. `mark` is the digest of its content and its options: with another one it is transcribed anew."""

    model_config = ConfigDict(frozen=True)

    name: str
    mark: str
    status: Literal["submitted", "done", "failed"]
    endpoint: str
    job_id: str
    uploads: list[str] = Field(default_factory=list, description="keys in the storage that this job reads")
    files: list[str] = Field(default_factory=list, description="relative to the output folder")
    ours: list[str] = Field(default_factory=list, description="every file that was ever written for it, likewise")
    text: dict[str, Any] = Field(default_factory=dict, description="how those files look")
    summary: dict[str, Any] = Field(default_factory=dict)


class _Book(BaseModel):
    version: Literal[1] = 1
    # Uploads lie under it, so that the end of one run never removes what a run into another folder still needs.
    folder_id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])
    recordings: dict[str, Entry] = Field(default_factory=dict)


class State:
    """The open state file of one output folder; safe to use from several threads. Every change is on disk at once."""

    def __init__(self, folder: Path, book: _Book) -> None:
        self._file = folder / STATE_FILE
        self._book = book
        self._lock = threading.Lock()

    @property
    def folder_id(self) -> str:
        return self._book.folder_id

    @property
    def names(self) -> dict[str, str]:
        """The name that each source got."""
        with self._lock:
            return {source: entry.name for source, entry in self._book.recordings.items()}

    def submitted(self, sources: set[str]) -> int:
        """How many of these recordings have a job on its way."""
        with self._lock:
            return sum(e.status == "submitted" for source, e in self._book.recordings.items() if source in sources)

    def get(self, source: str) -> Entry | None:
        with self._lock:
            return self._book.recordings.get(source)

    def put(self, source: str, entry: Entry) -> None:
        with self._lock:
            self._book.recordings[source] = entry
            self._write()

    def needless_uploads(self) -> set[str]:
        """Keys that only finished recordings have read."""
        with self._lock:
            entries = list(self._book.recordings.values())
        done = {key for e in entries if e.status == "done" for key in e.uploads}
        return done - {key for e in entries if e.status != "done" for key in e.uploads}

    def forget_uploads(self, keys: set[str]) -> None:
        with self._lock:
            for source, entry in self._book.recordings.items():
                left = [key for key in entry.uploads if key not in keys]
                self._book.recordings[source] = entry.model_copy(update={"uploads": left})
            self._write()

    def _write(self) -> None:
        fresh = self._file.with_suffix(".tmp")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(self._book.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[State]:
    """Make the folder and read its state; nobody else may open it meanwhile. Raises InvalidInput, or OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        try:
            book = _Book.model_validate_json((folder / STATE_FILE).read_bytes())
        except FileNotFoundError:
            book = _Book()
        except ValidationError:
            where = folder / STATE_FILE
            raise InvalidInput(
                f"{where} is no state file of this client: move it, or choose a folder with -o"
            ) from None
        yield State(folder, book)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder itself, which leaves no lock file behind. Where there is no fcntl (Windows) nothing is held."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InvalidInput(f"another client works in {folder}: wait, or choose another folder with -o") from None
    finally:
        os.close(held)
