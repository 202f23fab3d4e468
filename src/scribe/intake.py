"""What a job brings: its recording and its voice samples, fetched and decoded into a workspace that is always removed."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speaker_processing import VoiceSample

from .audio import Audio, decode
from .errors import AudioError, FetchError, InvalidInput, NotAudio, StageFailed, UrlBlocked
from .fetch import decode_base64, fetch
from .formats.json import from_dict
from .job import JobInput, Notice
from .links import share_advice
from .net import GuardedClient
from .notice import CODES
from .progress import Progress
from .s3source import S3Sources
from .sample import SpeakerSample
from .settings import Settings
from .transcript import Transcript
from .workspace import Workspaces

MAX_SAMPLE_SECONDS = 300.0
MAX_SAMPLE_BYTES = 50_000_000
MAX_TRANSCRIPT_BYTES = 100_000_000


@dataclass(slots=True)
class Gathered:
    """The recording (its mix, or an Audio a channel) or the stored transcript, the voices, notices and seconds."""

    channels: tuple[Audio, ...] = ()
    stored: Transcript | None = None
    voices: list[VoiceSample] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
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
    def open(self, task: JobInput, progress: Progress, check: Callable[[], None]) -> Iterator[Gathered]:
        """The job's audio, valid inside the block. Raises FetchError, AudioError, DiskFull, or what `check` raises.

        A voice sample that cannot be had is a notice (StageFailed when the job is `strict`): the transcript needs none.
        """
        gathered = Gathered()

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
        gathered: Gathered,
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
        gathered.notices += [Notice(code, "decode", CODES[code]) for code in decoded.warnings]
        if task.channels == "split" and len(decoded.channels) == 1:
            gathered.notices.append(
                Notice("one_channel", "decode", "channels: split was asked for and the recording has one channel")
            )

    def _bring(
        self,
        url: str | None,
        text: str | None,
        target: Path,
        gathered: Gathered,
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
        gathered.notices += [Notice(code, "fetch", CODES[code]) for code in fetched.warnings]
        return fetched.path

    def _samples(
        self, task: JobInput, folder: Path, gathered: Gathered, check: Callable[[], None]
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
        gathered: Gathered,
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
    task: JobInput, sample: SpeakerSample, gathered: Gathered, error: FetchError | AudioError | InvalidInput
) -> None:
    message = f"the sample of '{sample.display_name}' cannot be used: {error.message}"
    if task.strict:
        raise StageFailed(message, {"stage": "name", "code": error.code}, error.retryable) from error
    gathered.notices.append(Notice("sample_unusable", "name", message))
