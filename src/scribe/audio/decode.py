"""A file of any kind -> Audio: 16 kHz mono int16 PCM on disk, read in float32 windows.

The file comes from a stranger, so a child process (decoder.py) opens it, with FFmpeg's libraries from PyAV's wheel,
limits on time, memory and output, and none of the worker's environment. It may crash, hang or be killed; the worker
goes on. Whoever needs samples takes them from an Audio: no path of a downloaded file ever reaches a model's own loader,
because a playlist named x.mp3 makes such a loader read other files.
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

SAMPLE_RATE = 16000  # hertz; what Whisper, the aligners, pyannote and ECAPA are trained on
SAMPLE_BYTES = 2
MAX_SPLIT_CHANNELS = 8
POLL_S = 0.25  # between two looks at the job's stop signal
CPU_SLACK_S = 10  # the child's own limit acts only when the parent's clock did not
LINE_BYTES = 4096  # no honest line of the child is longer
# Not run by its path: then its folder would be on the path, where our log.py or errors.py could pass for a library's.
CHILD = "import sys; sys.path += sys.argv[2:]; from scribe.audio.child import main; main(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class Audio:
    """16 kHz mono sound on disk. A slice is a float32 copy of that window, in [-1, 1); nothing else is in memory."""

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
        """Samples [start, stop) as float32 of shape (stop - start,). The mapping ends with the call, its pages too."""
        start, stop, step = window.indices(self.samples)
        if step != 1:
            raise ValueError("an Audio is read forwards, every sample")
        if stop <= start:
            return np.zeros(0, np.float32)
        mapped: NDArray[np.int16] = np.memmap(self.path, "<i2", "r", offset=start * SAMPLE_BYTES, shape=(stop - start,))
        found: Samples = np.multiply(mapped, np.float32(1 / 32768), dtype=np.float32)
        return found

    def window(self, start_s: float, end_s: float) -> Samples:
        """The samples between two times in seconds, cut to the recording's ends."""
        start, stop = (min(max(0, round(at * SAMPLE_RATE)), self.samples) for at in (start_s, end_s))
        return self[start:stop]

    def sha256(self) -> str:
        """Hex digest of the PCM: the same sound has the same digest, whatever container it came in."""
        return file_digest(self.path)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a file held: one Audio, or one a channel; `warnings` holds codes ("audio_damaged")."""

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
    """Decodes the first audio stream of `source` into `folder`.

    The limit counts decoded samples, because a header's duration may be a lie in both directions. `monitor` is asked
    four times a second whether to stop, which ends the child, and gets the share of the file that was read.
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
    """Where scribe, av and numpy live: all that the child may import from, as it starts without PYTHONPATH and site."""
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
    """Runs decoder.py to its end, or to its deadline, and returns its last line."""
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
        env={"OPENBLAS_NUM_THREADS": "1"},  # nothing secret, and no pool of threads in the address space
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
    """The child's lines, until it closes its output or its time is over."""
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
    """Ends the child and whatever it started, and buries it."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.stdout:
        child.stdout.close()


def _error_of(report: Report, head: bytes, max_seconds: float) -> AudioError | DiskFull | InvalidInput:
    """The child's outcome as an error with a sentence for the caller."""
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
