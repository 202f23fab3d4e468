"""Decode a recording to Audio: 16 kHz mono int16 PCM on disk, read in float32 windows.

The file is untrusted, so a child process (child.py) opens it, with FFmpeg's libraries from PyAV's wheel, limits on time,
memory and output, and without the worker's environment. It may crash, hang or be killed without ending the worker.
Models get samples from an Audio, never the path of a downloaded file: a playlist named x.mp3 would make a library's
loader read other files.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scribe.audio.filetype import HEAD_BYTES, foreign_kind, looks_recorded
from scribe.errors import AudioError, DecodeFailed, DiskFull, EmptyAudio, InvalidInput, NoAudioStream, NotAudio, TooLong
from scribe.runtime.digest import file_digest
from scribe.runtime.monitor import UNWATCHED, Monitor

if TYPE_CHECKING:
    from scribe.audio.child import Report

log = logging.getLogger(__name__)
Samples = NDArray[np.float32]

SAMPLE_RATE = 16000  # hertz; the rate that Whisper, the aligners, pyannote and ECAPA are trained on
SAMPLE_BYTES = 2
MAX_SPLIT_CHANNELS = 8
POLL_S = 0.25  # between two checks of the job's stop signal
CPU_SLACK_S = 10  # the child's own limit acts only if the parent's deadline did not
LINE_BYTES = 4096  # no valid line of the child is longer
# Not run by its path: its folder would then be on sys.path, where our modules could shadow a library's.
CHILD = "import sys; sys.path += sys.argv[2:]; from scribe.audio.child import main; main(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class Audio:
    """16 kHz mono audio on disk. A slice returns that window as float32 in [-1, 1); nothing else is in memory."""

    path: Path
    samples: int

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    @property
    def shape(self) -> tuple[int]:
        return (self.samples,)

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, window: slice) -> Samples:
        """Return the samples [start, stop) as float32 of shape (stop - start,). Raises ValueError for a step.

        The file is mapped only during the call, so that its pages do not count as the worker's memory.
        """
        start, stop, step = window.indices(self.samples)
        if step != 1:
            raise ValueError("an Audio is read forwards, every sample")
        if stop <= start:
            return np.zeros(0, np.float32)
        mapped: NDArray[np.int16] = np.memmap(self.path, "<i2", "r", offset=start * SAMPLE_BYTES, shape=(stop - start,))
        found: Samples = np.multiply(mapped, np.float32(1 / 32768), dtype=np.float32)
        return found

    def window(self, start_s: float, end_s: float) -> Samples:
        """Return the samples between two times in seconds, clipped to the recording."""
        start, stop = (min(max(0, round(at * SAMPLE_RATE)), self.samples) for at in (start_s, end_s))
        return self[start:stop]

    def sha256(self) -> str:
        """Return the hex digest of the PCM samples, which does not depend on the container."""
        return file_digest(self.path)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded file: one Audio, or one for each channel; `warnings` holds codes ("audio_damaged")."""

    channels: tuple[Audio, ...]
    warnings: tuple[str, ...] = ()


def decode(
    source: Path,
    folder: Path,
    *,
    max_seconds: float,
    split: bool = False,
    timeout_s: float = 600,
    monitor: Monitor = UNWATCHED,
) -> Decoded:
    """Decode the first audio stream of `source` into `folder`.

    `max_seconds` counts decoded samples, because a header's duration can be wrong. `monitor` is asked four times a second
    whether to stop, which ends the child, and gets the fraction of the file that was read.
    Raises NotAudio, NoAudioStream, EmptyAudio, TooLong, DecodeFailed, DiskFull; InvalidInput for too many channels to
    split.
    """
    with source.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise EmptyAudio("the file has 0 bytes")
    found = foreign_kind(head)
    if found:
        raise NotAudio(f"the file is no recording but {found}", {"found": found})
    prefix = folder / source.name
    max_samples = int(max_seconds * SAMPLE_RATE)
    try:
        report = _run_child(source, prefix, max_samples, split, timeout_s, monitor)
        if report["outcome"] != "decoded":
            raise _error_of(report, head, max_seconds)
        paths = [Path(f"{prefix}.{channel}.pcm") for channel in range(report["channels"])]
        channels = tuple(Audio(path, path.stat().st_size // SAMPLE_BYTES) for path in paths)
    except BaseException:
        for channel in range(MAX_SPLIT_CHANNELS):
            Path(f"{prefix}.{channel}.pcm").unlink(missing_ok=True)
        raise
    return Decoded(channels, ("audio_damaged",) if report["damaged"] else ())


@functools.cache
def _library_folders() -> list[str]:
    """Return the folders of scribe, av and numpy for the child's sys.path; it starts without PYTHONPATH and site."""
    folders = []
    for name in ("scribe", "av", "numpy"):
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise DecodeFailed(f"the worker's installation lacks {name}")
        folders.append(str(Path(spec.submodule_search_locations[0]).parent))
    return list(dict.fromkeys(folders))


def _run_child(
    source: Path,
    prefix: Path,
    max_samples: int,
    split: bool,
    timeout_s: float,
    monitor: Monitor,
) -> Report:
    """Run child.py until it ends or its deadline passes, and return its last report. Raises DecodeFailed."""
    task = {
        "source": str(source.absolute()),
        "prefix": str(prefix.absolute()),
        "max_samples": max_samples,
        "max_channels": MAX_SPLIT_CHANNELS if split else 0,
        "parent": os.getpid(),
        "cpu_s": int(timeout_s) + CPU_SLACK_S,
    }
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", CHILD, json.dumps(task), *_library_folders()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"OPENBLAS_NUM_THREADS": "1"},  # no secrets, and no thread pool that uses address space
        start_new_session=True,
        cwd="/",
    )
    report: Report = {}
    try:
        for report in _reports(child, timeout_s, monitor):
            if "fraction" in report:
                monitor.progress(float(report["fraction"]))
        code = child.wait(timeout=5)
    except subprocess.TimeoutExpired as error:
        raise DecodeFailed("the decoder closed its output and did not end") from error
    finally:
        _kill(child)
    if code < 0:
        name = signal.Signals(-code).name
        log.warning("the decoder died by %s", name)
        raise DecodeFailed("the decoder crashed on this file", {"signal": name})
    if "outcome" not in report:
        raise DecodeFailed("the decoder ended without a result", {"exit_code": code})
    return report


def _reports(child: subprocess.Popen[bytes], timeout_s: float, monitor: Monitor) -> Iterator[Report]:
    """Yield the child's reports until it closes its output. Raises DecodeFailed at the deadline."""
    assert child.stdout is not None
    deadline = time.monotonic() + timeout_s
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            monitor.raise_if_stopped()
            if time.monotonic() > deadline:
                raise DecodeFailed(f"decoding took more than {timeout_s:g} seconds", {"timeout_s": timeout_s})
            if not selector.select(POLL_S):
                continue
            block = os.read(child.stdout.fileno(), LINE_BYTES)
            *lines, held = (held + block).split(b"\n")
            yield from map(json.loads, lines)
            if not block or len(held) > LINE_BYTES:
                return


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the child's process group, reap the child and close its pipe."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.stdout:
        child.stdout.close()


def _error_of(report: Report, head: bytes, max_seconds: float) -> AudioError | DiskFull | InvalidInput:
    """Return the error for the child's outcome, with a message for the caller."""
    outcome = report["outcome"]
    if outcome == "not_opened" and looks_recorded(head):
        return DecodeFailed("the file begins like a recording and cannot be opened: it is damaged or cut short")
    if outcome == "too_many_channels":
        count = int(report["channels"])
        return InvalidInput(
            f"{count} channels are too many to split; use channels = mix", {"key": "channels", "channels": count}
        )
    if outcome == "too_long":
        return TooLong(f"the recording is longer than {max_seconds:g} seconds", {"max_seconds": max_seconds})
    kind, sentence = _OUTCOMES.get(outcome, (DecodeFailed, "the decoder gave up on this file"))
    return kind(sentence)


_OUTCOMES: dict[str, tuple[type[AudioError | DiskFull], str]] = {
    "not_opened": (NotAudio, "the file is none of the audio and video formats that the worker reads"),
    "no_audio_stream": (NoAudioStream, "the file holds no sound"),
    "empty": (EmptyAudio, "the file has a header and not one sample of sound"),
    "undecodable": (DecodeFailed, "not one piece of the file's sound could be decoded"),
    "unknown_codec": (DecodeFailed, "the sound is coded in a way that the worker does not decode"),
    "out_of_memory": (DecodeFailed, "the file needs more memory than its decoding is given"),
    "disk_full": (DiskFull, "the worker's disk has no room for the decoded audio"),
}
