"""Record submitted and finished jobs in a JSON file in the output folder, so that an interrupted run can continue."""

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
    """One recording. `mark` is the digest of its content and its options: if it changes, it is transcribed again."""

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
    # Prefix of the uploads, so that a run never deletes uploads that a run with another output folder needs.
    folder_id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])
    recordings: dict[str, Entry] = Field(default_factory=dict)


class State:
    """The open state file of an output folder. Thread-safe. Every change is written to disk at once."""

    def __init__(self, folder: Path, book: _Book) -> None:
        self._file = folder / STATE_FILE
        self._book = book
        self._lock = threading.Lock()

    @property
    def folder_id(self) -> str:
        return self._book.folder_id

    @property
    def names(self) -> dict[str, str]:
        """The name of each source."""
        with self._lock:
            return {source: entry.name for source, entry in self._book.recordings.items()}

    def submitted(self, sources: set[str]) -> int:
        """Return how many of these recordings have a submitted, unfinished job."""
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
        """Return the keys of uploads that no unfinished recording uses."""
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
    """Create the folder, lock it and yield its state. Raises InvalidInput if another client has locked it, OSError."""
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
    """Lock the folder itself, without a lock file. Without fcntl (Windows) nothing is locked. Raises InvalidInput."""
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
