"""What a job brings: its recording and its voice samples, fetched and decoded into a workspace that is always removed."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scribe.audio.decode import Audio, decode
from scribe.errors import AudioError, FetchError, InvalidInput, NotAudio, StageFailed, UrlBlocked
from scribe.formats.json import from_dict
from scribe.jobs.workspace import Workspaces
from scribe.net.client import GuardedClient
from scribe.net.download import decode_base64, fetch
from scribe.net.share_links import share_advice
from scribe.pipeline.progress import Progress
from scribe.schema.job import JobInput, JobWarning
from scribe.schema.speaker_sample import SpeakerSample
from scribe.schema.warnings import CODES
from scribe.settings import Settings
from scribe.speakers.ecapa import VoiceSample
from scribe.storage.sources import S3Sources
from scribe.transcript import Transcript

MAX_SAMPLE_SECONDS = 300.0
MAX_SAMPLE_BYTES = 50_000_000
MAX_TRANSCRIPT_BYTES = 100_000_000


@dataclass(slots=True)
class JobFiles:
    """The recording (its mix, or an Audio a channel) or the stored transcript, the voices, notices and seconds."""

    channels: tuple[Audio, ...] = ()
    stored: Transcript | None = None
    voices: list[VoiceSample] = field(default_factory=list)
    notices: list[JobWarning] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)


class Intake:
    """Brings jobs' files here, within the operator's limits."""

    def __init__(
        self, settings: Settings, client: GuardedClient, workspaces: Workspaces, sources: S3Sources | None = None
    ) -> None:
        self._settings = settings
        self._client = client
        self._workspaces = workspaces
        self._sources = sources

    @contextlib.contextmanager
    def open(self, task: JobInput, progress: Progress, check: Callable[[], None]) -> Iterator[JobFiles]:
        """The job's audio, valid inside the block. Raises FetchError, AudioError, DiskFull, or what `check` raises.

        A voice sample that cannot be had is a notice (StageFailed when the job is `strict`): the transcript needs none.
        """
        gathered = JobFiles()

        def tick(fraction: float | None) -> None:
            check()
            progress.tick(fraction)

        with self._workspaces.open() as folder:
            began = time.monotonic()
            progress.stage("fetch")
            if task.source is not None:
                file = self._bring(
                    task.source.transcript_url, None, folder / "transcript", gathered, check, tick, MAX_TRANSCRIPT_BYTES
                )
                gathered.stored = _stored(file)
            else:
                with advised(task.audio_file or ""):
                    file = self._bring(
                        task.audio_file,
                        task.audio_base64,
                        folder / "audio",
                        gathered,
                        check,
                        tick,
                        self._settings.max_audio_bytes,
                    )
            samples = self._samples(task, folder, gathered, check) if task.speaker_verification else []
            gathered.timings["fetch"], began = time.monotonic() - began, time.monotonic()
            progress.stage("decode")
            if task.source is None:
                with advised(task.audio_file or ""):
                    self._decode(task, file, folder, gathered, check, tick)
            for sample, file in samples:
                self._decode_sample(task, sample, file, folder, gathered, check)
            gathered.timings["decode"] = time.monotonic() - began
            yield gathered

    def _decode(
        self,
        task: JobInput,
        file: Path,
        folder: Path,
        gathered: JobFiles,
        check: Callable[[], None],
        tick: Callable[[float | None], None],
    ) -> None:
        decoded = decode(
            file,
            folder,
            max_seconds=self._settings.max_audio_seconds,
            split=task.channels == "split",
            check=check,
            tick=tick,
        )
        gathered.channels = decoded.channels
        gathered.notices += [JobWarning(code, "decode", CODES[code]) for code in decoded.warnings]
        if task.channels == "split" and len(decoded.channels) == 1:
            gathered.notices.append(
                JobWarning("one_channel", "decode", "channels: split was asked for and the recording has one channel")
            )

    def _bring(
        self,
        url: str | None,
        text: str | None,
        target: Path,
        gathered: JobFiles,
        check: Callable[[], None],
        tick: Callable[[float | None], None],
        max_bytes: int,
    ) -> Path:
        if text is not None:
            return decode_base64(text, target, self._settings.max_base64_bytes).path
        client, address = self._client, url or ""
        if address.startswith("s3://"):
            if self._sources is None:
                raise UrlBlocked("s3:// is off on this endpoint: presign the object and send its https address")
            client, address = self._sources.client, self._sources.signed(address)
        fetched = fetch(
            client,
            address,
            target,
            max_bytes=max_bytes,
            deadline_s=self._settings.fetch_deadline_s,
            check=check,
            tick=tick,
        )
        gathered.notices += [JobWarning(code, "fetch", CODES[code]) for code in fetched.warnings]
        return fetched.path

    def _samples(
        self, task: JobInput, folder: Path, gathered: JobFiles, check: Callable[[], None]
    ) -> list[tuple[SpeakerSample, Path]]:
        found = []
        for number, sample in enumerate(task.speaker_samples):
            if sample.embedding is not None:
                print_ = sample.embedding
                gathered.voices.append(
                    VoiceSample(sample.display_name, None, tuple(print_.vector), print_.model, print_.seconds or 1.0)
                )
                continue
            try:
                path = self._bring(
                    sample.url,
                    sample.audio_base64,
                    folder / f"sample{number}",
                    gathered,
                    check,
                    lambda fraction: check(),
                    MAX_SAMPLE_BYTES,
                )
                found.append((sample, path))
            except (FetchError, InvalidInput) as error:
                _lost(task, sample, gathered, error)
        return found

    def _decode_sample(
        self,
        task: JobInput,
        sample: SpeakerSample,
        file: Path,
        folder: Path,
        gathered: JobFiles,
        check: Callable[[], None],
    ) -> None:
        try:
            decoded = decode(file, folder, max_seconds=MAX_SAMPLE_SECONDS, check=check)
            gathered.voices.append(VoiceSample(sample.display_name, decoded.channels[0]))
        except AudioError as error:
            _lost(task, sample, gathered, error)


@contextlib.contextmanager
def advised(url: str) -> Iterator[None]:
    """Add to what is wrong with a recording what its address tells: a sharing service's page, or any page at all."""
    try:
        yield
    except (FetchError, NotAudio) as error:
        advice = share_advice(url)
        if advice is None and error.details.get("found") == "an HTML page":
            advice = "give the address of the file itself, not of the page that shows it"
        if advice is not None:
            error.message += f"; {advice}"
            error.args = (error.message,)
        raise


def _stored(file: Path) -> Transcript:
    """The transcript that an earlier job left. Raises InvalidInput when the file is something else."""
    try:
        shape = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidInput(
            "source.transcript_url does not hold a transcript.json", {"key": "source.transcript_url"}
        ) from None
    return from_dict(shape if isinstance(shape, dict) else {})


def _lost(
    task: JobInput, sample: SpeakerSample, gathered: JobFiles, error: FetchError | AudioError | InvalidInput
) -> None:
    message = f"the sample of '{sample.display_name}' cannot be used: {error.message}"
    if task.strict:
        raise StageFailed(message, {"stage": "name", "code": error.code}, error.retryable) from error
    gathered.notices.append(JobWarning("sample_unusable", "name", message))
