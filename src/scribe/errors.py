"""The tree of errors that end a job. A caller sees `code`, a sentence and `retryable` (marked here by a star).

WorkerError
├── InvalidInput     invalid_input
├── FetchError       url_blocked, not_found, fetch_failed*, fetch_incomplete*, too_large
├── AudioError       not_audio, no_audio_stream, empty_audio, too_long, decode_failed
├── ModelError       gated_model, model_not_found, weights_corrupt, hub_unreachable*, out_of_memory*
├── GpuError         gpu_out_of_memory*, gpu_broken*, gpu_unsuited
├── StorageError     storage_denied, storage_unavailable*, disk_full*
├── Stopped          cancelled, shutting_down*
├── StageFailed      stage_failed (and DeadlineReached: deadline_reached)
└── Internal         internal*
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import ClassVar


class WorkerError(Exception):
    """Base class. `message` is safe to show: it holds no path, token or signed query. `details` is small and JSON-ready."""

    code: ClassVar[str] = "internal"
    retryable: bool = False
    remedy: ClassVar[str] = ""

    def __init__(
        self, message: str, details: Mapping[str, object] | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})
        self.retryable = type(self).retryable if retryable is None else retryable

    def to_dict(self) -> dict[str, object]:
        """Return the failure as JSON-ready values. RunPod marks a job FAILED when its answer holds `error`."""
        return {
            "error": f"{self.code}: {self.message}",
            "code": self.code,
            "retryable": self.retryable,
            "details": self.details,
            "error_id": uuid.uuid4().hex[:12],
        }


class InvalidInput(WorkerError):
    """The job's input breaks the contract; every problem is listed at once in `details.problems`."""

    code = "invalid_input"
    remedy = "Correct the named keys; the table of inputs lists types, ranges and defaults."

    def __init__(
        self, message: str, details: Mapping[str, object] | None = None, retryable: bool | None = None
    ) -> None:
        """Set `details.problems` from `details.key` and `message` when there is a single problem."""
        given = dict(details or {})
        key = given.pop("key", "input")
        given.setdefault("problems", [{"key": key, "problem": message}])
        super().__init__(message, given, retryable)


class FetchError(WorkerError):
    """A file that the job names could not be downloaded."""


class UrlBlocked(FetchError):
    """The address is private, a metadata service, or has a scheme or port that jobs may not use."""

    code = "url_blocked"
    remedy = "Give a public http or https address, or send the audio as audio_base64."


class NotFound(FetchError):
    """The server answered that there is nothing at this address, or that access is denied."""

    code = "not_found"
    remedy = "Check the address; a presigned link may have expired while the job waited: sign it for longer."


class FetchFailed(FetchError):
    """The server could not be reached, or kept answering with an error."""

    code = "fetch_failed"
    retryable = True
    remedy = "Send the job again; if it happens again, check that the server is reachable from the internet."


class FetchIncomplete(FetchError):
    """The download ended before the announced length."""

    code = "fetch_incomplete"
    retryable = True
    remedy = "Send the job again; if it happens again, upload the file to the server again."


class TooLarge(FetchError):
    """The file has more bytes than the worker accepts."""

    code = "too_large"
    remedy = "Compress or split the recording, or raise MAX_AUDIO_BYTES (MAX_BASE64_BYTES for audio_base64)."


class AudioError(WorkerError):
    """The file was downloaded and is not usable audio."""


class NotAudio(AudioError):
    """The file is not one of the audio or video containers that the worker reads."""

    code = "not_audio"
    remedy = "Send mp3, m4a, wav, flac, ogg, opus, webm, mkv, mp4 or a similar recording, not a page or a playlist."


class NoAudioStream(AudioError):
    """The file has no audio track."""

    code = "no_audio_stream"
    remedy = "Export the video with its sound track."


class EmptyAudio(AudioError):
    """The file is valid and its audio track is empty."""

    code = "empty_audio"
    remedy = "Check that the recording was finished and uploaded whole."


class TooLong(AudioError):
    """The recording is longer than the worker accepts."""

    code = "too_long"
    remedy = "Split the recording, or raise MAX_AUDIO_SECONDS."


class DecodeFailed(AudioError):
    """The decoder crashed, exceeded its time or memory limit, or stopped before the end."""

    code = "decode_failed"
    remedy = "Convert the file (for example to flac) and send it again; it may be damaged."


class ModelError(WorkerError):
    """A model could not be loaded or run."""


class GatedModel(ModelError):
    """The model hub serves this model only to accounts that accepted its terms."""

    code = "gated_model"
    remedy = "Accept the terms on the page that the message names, and set HF_TOKEN to a token of that account."


class ModelNotFound(ModelError):
    """There is no such model under the configured name or path."""

    code = "model_not_found"
    remedy = "Check the model's name or path in the endpoint's settings."


class WeightsCorrupt(ModelError):
    """The model's files exist and cannot be loaded."""

    code = "weights_corrupt"
    remedy = "Delete the cached copy of the model, so that it is downloaded again, or rebuild the image."


class HubUnreachable(ModelError):
    """The model hub did not answer."""

    code = "hub_unreachable"
    retryable = True
    remedy = "Try again; bake the weights into the image to be independent of the hub."


class MemoryExhausted(ModelError):
    """The worker has too little main memory (not GPU memory) to load or run a model."""

    code = "out_of_memory"
    retryable = True
    remedy = "Give the worker more memory, or choose a smaller model."


class GpuError(WorkerError):
    """The accelerator failed."""


class GpuOutOfMemory(GpuError):
    """The GPU has too little memory even for the smallest batch."""

    code = "gpu_out_of_memory"
    retryable = True
    remedy = "Use a GPU with more memory or a smaller model."

    def __init__(
        self,
        message: str,
        details: Mapping[str, object] | None = None,
        retryable: bool | None = None,
        doubtful: bool = False,
        final: bool = False,
    ) -> None:
        """`doubtful`: the library's message may also mean that the GPU is broken. `final`: no more memory can be freed."""
        super().__init__(message, details, retryable)
        self.doubtful = doubtful
        self.final = final


class GpuBroken(GpuError):
    """The GPU is in a state that only a new process can reset; the worker asks to be replaced."""

    code = "gpu_broken"
    retryable = True
    remedy = "Send the job again; another worker will take it."


class GpuUnsuited(GpuError):
    """The GPU, its driver or its CUDA libraries cannot run the worker's packages; a new worker on it fails too."""

    code = "gpu_unsuited"
    remedy = "Choose another GPU and CUDA 12.8 or newer for the endpoint; `--check` shows what is missing."


class StorageError(WorkerError):
    """The result could not be stored."""


class StorageDenied(StorageError):
    """The storage refused: wrong key, wrong bucket or missing permission."""

    code = "storage_denied"
    remedy = "Check STORAGE_ENDPOINT, STORAGE_BUCKET and that the keys may put and get under PREFIX_TRANSCRIPTS."


class StorageUnavailable(StorageError):
    """The storage did not answer in time, or kept failing."""

    code = "storage_unavailable"
    retryable = True
    remedy = "Send the job again."


class DiskFull(StorageError):
    """The worker's own disk is full."""

    code = "disk_full"
    retryable = True
    remedy = (
        "Give the endpoint a larger container disk, or JOBS_DIR and TMPDIR a place with room that no one else reads."
    )


class Stopped(WorkerError):
    """The job was stopped from outside before it finished."""


class Cancelled(Stopped):
    """The platform cancelled the job."""

    code = "cancelled"
    remedy = "Nothing to do: the job was cancelled or ran into its execution timeout."


class ShuttingDown(Stopped):
    """The worker is shutting down."""

    code = "shutting_down"
    retryable = True
    remedy = "Send the job again; another worker will take it."


class DeadlineReached(WorkerError):
    """The job's `deadline_s` passed before any part was finished; if it passes later, the answer is `partial`."""

    code = "deadline_reached"
    remedy = "Raise deadline_s, or split the recording."


class StageFailed(WorkerError):
    """A stage that the job asked for failed, and the job set `strict`."""

    code = "stage_failed"
    remedy = "Correct what the message names, or leave `strict` out to get the transcript without that stage."


class Internal(WorkerError):
    """An unexpected error of the worker itself; the log has the traceback under the same `error_id`."""

    code = "internal"
    retryable = True
    remedy = "Send the job again; if it happens again, report the error_id."
