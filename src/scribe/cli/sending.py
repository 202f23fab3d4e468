"""Build the job of a recording: upload the recording and the voices to the store, or put them into the job."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any

from scribe.audio.filetype import HEAD_BYTES, foreign_kind, looks_recorded
from scribe.cli.failure import Failure
from scribe.cli.means import Store
from scribe.cli.order import Order
from scribe.cli.recording import Place

UPLOADS = "uploads"
# RunPod's limit for /run is 10 MB.
REQUEST_BYTES = 10_000_000


class Sender:
    """Builds jobs. Thread-safe. Uploads are stored under `folder_id`.

    `progress(name, doing, percent)` and `say(name, sentence)` show what happens; `wait(0)` may raise to stop.
    """

    def __init__(
        self,
        order: Order,
        store: Store | None,
        folder_id: str,
        progress: Callable[[str, str, float], None],
        say: Callable[[str, str], None],
        wait: Callable[[float], None],
    ) -> None:
        self._order = order
        self._store = store
        self._folder_id = folder_id
        self._progress = progress
        self._say = say
        self._wait = wait
        self._voices_lock = threading.Lock()

    def job(self, place: Place, name: str, uploads: list[str]) -> dict[str, Any]:
        """Return the job of a recording or a stored transcript; add the keys that it reads from the store to `uploads`.

        Raises Failure when something cannot be sent.
        """
        options = dict(self._order.options)
        if place.is_transcript and place.path is not None and not self._uploads:
            raise Failure("no_storage", "A transcript cannot travel inside the job: configure STORAGE_*.")
        field, value = self._sent(place, name, uploads)
        if place.is_transcript:
            options["source"] = {"transcript_url": value}
        else:
            options["audio_file" if field == "url" else field] = value
        with self._voices_lock:
            sent = [(voice.name, self._sent(voice.place, name, uploads)) for voice in self._order.voices]
        if sent:
            named = [{field: value, "name": voice} for voice, (field, value) in sent]
            options["speaker_samples"] = [*options.get("speaker_samples", []), *named]
        if self._store is None or not self._store.keeps_results:
            options.setdefault("inline", "full")
        job = {"input": options, **self._order.job_level}
        if (size := len(json.dumps(job))) > REQUEST_BYTES:
            raise Failure(
                "too_large",
                f"The job has {size / 1e6:.0f} MB and RunPod takes 10: configure STORAGE_*, or give an address.",
            )
        return job

    def refuse_what_is_no_recording(self, place: Place) -> None:
        """Raise Failure for a file that is not a recording by its first bytes, before anything is uploaded or billed."""
        for each in (place, *(voice.place for voice in self._order.voices)):
            if each.path is None or each.is_transcript:
                continue
            with each.path.open("rb") as file:
                head = file.read(HEAD_BYTES)
            kind = None if looks_recorded(head) else foreign_kind(head)
            if kind or not head:
                what = f"is no recording but {kind}" if kind else "is empty"
                raise Failure("not_audio", f"{each.path.name} {what}: nothing was sent.")

    def _sent(self, place: Place, name: str, uploads: list[str]) -> tuple[str, str]:
        """Return ("url", URL) or ("audio_base64", text); the key of an uploaded file is added to `uploads`."""
        if place.path is None:
            return "url", str(place.url)
        if self._store is None or not self._uploads:
            size = place.path.stat().st_size
            if size > REQUEST_BYTES:
                raise Failure(
                    "too_large", f"{place.path.name} has {size / 1e6:.0f} MB: configure STORAGE_*, or give an address."
                )
            why = "there is no storage to upload it to"
            self._say(name, f"{place.path.name} travels inside the job ({size / 1e6:.1f} MB): {why}")
            return "audio_base64", base64.b64encode(place.path.read_bytes()).decode()
        # The folder is the content's digest, so that nothing is uploaded twice; the file's name is kept for the HTML page.
        key = f"{UPLOADS}/{self._folder_id}/{place.content()}/{place.file_name}"
        size, sent = max(place.path.stat().st_size, 1), 0

        def tick(count: int) -> None:
            nonlocal sent
            sent += count
            self._wait(0)
            self._progress(name, f"uploading {place.file_name}", min(100.0, 100 * sent / size))

        self._store.upload(place.path, key, tick)
        uploads.append(key)
        return "url", self._store.link(key)

    @property
    def _uploads(self) -> bool:
        """Whether there is a store with presigned links, which a worker can read."""
        return self._store is not None and self._store.signs_links
