"""Transcribe one recording: upload it, submit and watch its job, write its files; continue after a restart."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scribe.cli.answer import Answer, json_of, place_next_to, render
from scribe.cli.display import Display
from scribe.cli.failure import Broken, Failure, Stopped, Unreachable
from scribe.cli.means import Connection, Means
from scribe.cli.order import Order
from scribe.cli.recording import Recording
from scribe.cli.sending import Sender
from scribe.cli.state import Entry, State
from scribe.formats import FORMATS

# Number of submissions after which a job that the platform keeps losing fails.
SUBMISSIONS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one recording. `status` is done, skipped, failed or stopped."""

    recording: Recording
    status: str
    entry: Entry | None = None
    failure: Failure | None = None

    def report(self, folder: Path) -> dict[str, Any]:
        """Return the JSON object of the recording."""
        entry, error = self.entry, self.failure
        finished = entry is not None and self.status in ("done", "skipped")
        return {
            "source": self.recording.source,
            "name": self.recording.name,
            "status": self.status,
            "job_id": entry.job_id if entry else None,
            "files": [str(folder / file) for file in entry.files] if finished and entry else [],
            "error": {"code": error.code, "message": error.message} if error else None,
            **(entry.summary if finished and entry else {}),
        }


class Transcriber:
    """Transcribes one recording for each call. Thread-safe. `copy_recording`: put the recording next to its HTML page."""

    def __init__(
        self,
        order: Order,
        folder: Path,
        state: State,
        means: Means,
        display: Display,
        stop: threading.Event,
        force: bool = False,
        copy_recording: bool = True,
    ) -> None:
        self._order = order
        self._folder = folder
        self._state = state
        self._store = means.store
        self._connect = means.connect
        self._display = display
        self._stop = stop
        self._force = force
        self._copy_recording = copy_recording
        self._sender = Sender(
            order,
            means.store,
            state.folder_id,
            display.progress,
            lambda name, sentence: display.say(name, sentence, "dim"),
            self._wait,
        )
        self._reached = False
        self._lost: Unreachable | None = None
        self._voices: list[str] | None = None
        self._voices_lock = threading.Lock()
        self._copy_lock = threading.Lock()

    def __call__(self, recording: Recording) -> Outcome:
        """Transcribe a recording; never raises. The state keeps a job that may still succeed, and marks a failed one."""
        try:
            outcome = self._run(recording)
        except Stopped:
            outcome = Outcome(recording, "stopped", self._state.get(recording.source))
        except Failure as failure:
            outcome = Outcome(recording, "failed", self._state.get(recording.source), failure)
            if isinstance(failure, Unreachable):
                self._lost = None if self._reached else failure
            elif outcome.entry is not None and outcome.entry.status == "submitted":
                self._state.put(recording.source, outcome.entry.model_copy(update={"status": "failed"}))
            if isinstance(failure, Broken):
                self._stop.set()  # the next recordings would fail too
        except OSError as error:
            where = error.filename or "a file on this machine"
            unread = Failure("file_error", f"{error.strerror or type(error).__name__}: {where}")
            outcome = Outcome(recording, "failed", self._state.get(recording.source), unread)
        # An unexpected error of one recording must not end the others.
        except Exception as error:
            unexpected = Failure("client_internal", f"unexpected {type(error).__name__}: {error}")
            outcome = Outcome(recording, "failed", self._state.get(recording.source), unexpected)
        return outcome

    def _run(self, recording: Recording) -> Outcome:
        self._wait(0)
        self._display.progress(recording.name, "reading")
        mark = self._order.mark(recording.place.content(), self._voice_contents())
        entry = self._state.get(recording.source)
        if entry is not None and (entry.mark, entry.status) == (mark, "done") and not self._force:
            kept = json_of(self._folder, recording.name)
            if kept.is_file():
                return self._again(recording, entry, kept)
        if recording.place.is_transcript and recording.place.path is not None and not self._renames:
            return self._rendered_only(recording, mark, recording.place.path)
        self._sender.refuse_what_is_no_recording(recording.place)
        if self._lost is not None:
            raise self._lost
        endpoint = self._connect()
        if entry is None or (entry.mark, entry.status, entry.endpoint) != (mark, "submitted", endpoint.identity):
            entry = self._submitted(recording, mark, endpoint)
        for attempt in range(SUBMISSIONS):
            answer = endpoint.watch(entry.job_id, lambda body: self._display.job(recording.name, body), self._wait)
            self._reached = True
            if answer is None and self._store is not None:
                answer = self._store.committed(entry.job_id)
            if answer is not None:
                return self._delivered(recording, entry, answer)
            if attempt + 1 < SUBMISSIONS:
                self._display.say(
                    recording.name, f"the platform no longer knows job {entry.job_id}; it is submitted again", "yellow"
                )
                entry = self._submitted(recording, mark, endpoint)
        raise Failure("job_lost", "The platform forgets the job again and again.")

    def _submitted(self, recording: Recording, mark: str, endpoint: Connection) -> Entry:
        """Submit the job and record its id at once. Raises Failure."""
        before = self._state.get(recording.source)
        if before is None:
            self._refuse_to_overwrite(recording)
        uploads = list(before.uploads) if before else []
        job = self._sender.job(recording.place, recording.name, uploads)
        self._display.progress(recording.name, "submitting")
        job_id = endpoint.submit(job)
        self._reached = True
        entry = Entry(
            name=recording.name,
            mark=mark,
            status="submitted",
            endpoint=endpoint.identity,
            job_id=job_id,
            uploads=list(dict.fromkeys(uploads)),
            ours=[*before.ours, *before.files] if before else [],
        )
        self._state.put(recording.source, entry)
        return entry

    def _delivered(self, recording: Recording, entry: Entry, answer: dict[str, Any]) -> Outcome:
        self._display.progress(recording.name, "fetching the files")
        finished = Answer(answer, self._order, self._store, self._wait)
        finished.keep(self._folder, recording.name)
        entry = entry.model_copy(update={"status": "done", "summary": finished.summary()})
        return self._written(recording, entry, json_of(self._folder, recording.name))

    def _again(self, recording: Recording, entry: Entry, kept: Path) -> Outcome:
        """Handle a finished recording: skip it, or render missing formats from its transcript."""
        wanted = [f"{recording.name}.{FORMATS[form].extension}" for form in self._order.formats]
        ours = {kept.name, *entry.ours, *entry.files}
        if entry.text == self._order.text and all(f in ours and (self._folder / f).is_file() for f in wanted):
            return Outcome(recording, "skipped", entry)
        return self._written(recording, entry, kept)

    def _rendered_only(self, recording: Recording, mark: str, transcript: Path) -> Outcome:
        """Render a local transcript in other formats, without a job."""
        entry = Entry(name=recording.name, mark=mark, status="done", endpoint="", job_id="")
        return self._written(recording, entry, transcript)

    def _written(self, recording: Recording, entry: Entry, transcript: Path) -> Outcome:
        order, place, sound = self._order, recording.place, recording.place.file_name
        known = self._state.get(recording.source)
        self._refuse_to_overwrite(recording, [*known.ours, *known.files] if known else [], transcript)
        if self._copy_recording and "html" in order.formats and place.path is not None and not place.is_transcript:
            with self._copy_lock:
                sound = place_next_to(self._folder / f"{recording.name}.html", place.path)
        files = render(transcript, order, self._folder, recording.name, sound, entry.summary)
        ours = dict.fromkeys([*(known.ours if known else ()), *files])
        done = entry.model_copy(update={"files": files, "ours": list(ours), "text": order.text})
        self._state.put(recording.source, done)
        return Outcome(recording, "done", done)

    @property
    def _renames(self) -> bool:
        return bool(self._order.options.get("speaker_verification"))

    def _voice_contents(self) -> list[str]:
        with self._voices_lock:
            if self._voices is None:
                self._voices = [voice.place.content() for voice in self._order.voices]
            return self._voices

    def _refuse_to_overwrite(
        self, recording: Recording, ours: Collection[str] = (), transcript: Path | None = None
    ) -> None:
        """Raise Failure if an output file exists that is none of `ours` and not the transcript itself."""
        for extension in dict.fromkeys(["json", *(FORMATS[form].extension for form in self._order.formats)]):
            path = self._folder / f"{recording.name}.{extension}"
            if path.exists() and path.name not in ours and not (transcript and path.samefile(transcript)):
                raise Failure("file_exists", f"{path} is there already: move it, or choose another folder with -o.")

    def _wait(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as the user stops the run."""
        if self._stop.wait(seconds) if seconds else self._stop.is_set():
            raise Stopped
