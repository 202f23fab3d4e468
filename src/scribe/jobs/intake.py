"""Download and decode a job's recording and voice samples, in a workspace that is always removed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scribe.audio.decode import Audio, decode
from scribe.errors import AudioError, FetchError, InvalidInput, NotAudio, StageFailed, UrlBlocked
from scribe.formats.json import from_dict
from scribe.jobs.workspace import Workspaces
from scribe.net.client import GuardedClient
from scribe.net.download import decode_base64, fetch
from scribe.net.share_links import share_advice
from scribe.pipeline.context import JobContext
from scribe.runtime.monitor import Monitor
from scribe.schema.job import JobInput
from scribe.schema.parsing import JobRequest
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
    """The recording (one Audio, or one for each channel) or the stored transcript, and the voice samples."""

    channels: tuple[Audio, ...] = ()
    stored: Transcript | None = None
    voices: list[VoiceSample] = field(default_factory=list)


class Intake:
    """Downloads and decodes the files of jobs, within the operator's limits."""

    def __init__(
        self, settings: Settings, client: GuardedClient, workspaces: Workspaces, sources: S3Sources | None = None
    ) -> None:
        self._settings = settings
        self._client = client
        self._workspaces = workspaces
        self._sources = sources

    @contextlib.contextmanager
    def open(self, request: JobRequest, context: JobContext) -> Iterator[JobFiles]:
        """Yield the job's files, which exist inside the block. Raises FetchError, AudioError, DiskFull, or what stops the job.

        An unusable voice sample is a warning, or raises StageFailed when the job is `strict`.
        """
        with self._workspaces.open() as folder:
            gathering = _Gathering(self._settings, self._client, self._sources, request.options, context, folder)
            yield gathering.files()


class _Gathering:
    """Downloads one job's files into `folder` and decodes them."""

    def __init__(
        self,
        settings: Settings,
        client: GuardedClient,
        sources: S3Sources | None,
        options: JobInput,
        context: JobContext,
        folder: Path,
    ) -> None:
        self._settings = settings
        self._client = client
        self._sources = sources
        self._options = options
        self._context = context
        self._folder = folder
        self._files = JobFiles()

    def files(self) -> JobFiles:
        """Download all files, then decode them."""
        options, max_bytes = self._options, self._settings.max_audio_bytes
        recording: Path | None = None
        with self._context.stage("fetch") as monitor:
            if options.source is not None:
                target = self._folder / "transcript"
                url = options.source.transcript_url
                self._files.stored = _stored(self._bring(url, None, target, MAX_TRANSCRIPT_BYTES, monitor))
            else:
                with advised(options.audio_file or ""):
                    target = self._folder / "audio"
                    recording = self._bring(options.audio_file, options.audio_base64, target, max_bytes, monitor)
            samples = self._samples() if options.speaker_verification else []
        with self._context.stage("decode") as monitor:
            if recording is not None:
                with advised(options.audio_file or ""):
                    self._decode(recording, monitor)
            for sample, file in samples:
                self._decode_sample(sample, file)
        return self._files

    def _bring(self, url: str | None, text: str | None, target: Path, max_bytes: int, monitor: Monitor) -> Path:
        """Download a URL, or decode base64, into `target`. Raises UrlBlocked, and what `fetch` or `decode_base64` raises."""
        if text is not None:
            return decode_base64(text, target, self._settings.max_base64_bytes).path
        client, address = self._client, (url or "").strip()
        if address.startswith("s3://"):
            if self._sources is None:
                raise UrlBlocked("s3:// is off on this endpoint: presign the object and send its https address")
            client, address = self._sources.client, self._sources.signed(address)
        deadline_s = self._settings.fetch_deadline_s
        fetched = fetch(client, address, target, max_bytes=max_bytes, deadline_s=deadline_s, monitor=monitor)
        for code in fetched.warnings:
            self._context.record.warn(code, "fetch", CODES[code])
        return fetched.path

    def _decode(self, recording: Path, monitor: Monitor) -> None:
        warn, split = self._context.record.warn, self._options.channels == "split"
        max_seconds = self._settings.max_audio_seconds
        decoded = decode(recording, self._folder, max_seconds=max_seconds, split=split, monitor=monitor)
        self._files.channels = decoded.channels
        for code in decoded.warnings:
            warn(code, "decode", CODES[code])
        if split and len(decoded.channels) == 1:
            warn("one_channel", "decode", "channels: split was asked for and the recording has one channel")

    def _samples(self) -> list[tuple[SpeakerSample, Path]]:
        """Download the samples that are recordings and return them; add those that are embeddings to the voices."""
        found, monitor = [], self._context.monitor.silent()
        for number, sample in enumerate(self._options.speaker_samples):
            if (given := sample.embedding) is not None:
                voice = VoiceSample(sample.display_name, None, tuple(given.vector), given.model, given.seconds or 1.0)
                self._files.voices.append(voice)
                continue
            try:
                target = self._folder / f"sample{number}"
                found.append((sample, self._bring(sample.url, sample.audio_base64, target, MAX_SAMPLE_BYTES, monitor)))
            except (FetchError, InvalidInput) as error:
                self._without(sample, error)
        return found

    def _decode_sample(self, sample: SpeakerSample, file: Path) -> None:
        try:
            monitor = self._context.monitor.silent()
            decoded = decode(file, self._folder, max_seconds=MAX_SAMPLE_SECONDS, monitor=monitor)
            self._files.voices.append(VoiceSample(sample.display_name, decoded.channels[0]))
        except AudioError as error:
            self._without(sample, error)

    def _without(self, sample: SpeakerSample, error: FetchError | AudioError | InvalidInput) -> None:
        """Warn that a sample cannot be used. Raises StageFailed when the job is `strict`."""
        message = f"the sample of '{sample.display_name}' cannot be used: {error.message}"
        if self._context.strict:
            raise StageFailed(message, {"stage": "name", "code": error.code}, error.retryable) from error
        self._context.record.warn("sample_unusable", "name", message, private=True)


@contextlib.contextmanager
def advised(url: str) -> Iterator[None]:
    """Add advice to an error about a recording when its URL is a sharing service's page, or when it is any web page."""
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
    """Read the transcript.json of an earlier job. Raises InvalidInput when the file is something else."""
    try:
        shape = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidInput(
            "source.transcript_url does not hold a transcript.json", {"key": "source.transcript_url"}
        ) from None
    return from_dict(shape if isinstance(shape, dict) else {})
