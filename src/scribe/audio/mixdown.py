"""Mix and resample decoded frames of any rate, format and layout to 16 kHz int16 files. Part of the decoder process."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Raw = NDArray[np.generic]  # of the codec's own sample type

SAMPLE_RATE = 16000
BLOCK_SAMPLES = 32768  # at the source's rate, between two writes: frames of 20 ms are too small for single numpy calls
# Shares of a channel in the mono mix (ITU-R BS.775 for front and sides; low-frequency effects are not speech).
SHARES = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
OTHER_SHARE = 0.5


class LimitReached(Exception):
    """The recording has more samples than allowed."""


class TooManyChannels(Exception):
    """The recording has more channels than allowed; the argument is their number."""


class Mixdown:
    """Writes one file for the mono mix (`max_channels` 0), or one for each channel: `<prefix>.<n>.pcm`."""

    def __init__(self, prefix: str, max_samples: int, max_channels: int) -> None:
        self._prefix, self._max_samples, self._max_channels = prefix, max_samples, max_channels
        self._tracks: list[_Track] = []
        self._parts: list[Raw] = []
        self._held = 0
        self._kind: tuple[int, str, str] = (0, "", "")  # of the buffered parts: rate in hertz, layout, format
        self._like: av.AudioFrame | None = None  # a frame of that kind

    def add(self, frame: av.AudioFrame) -> None:
        """Add a frame, whose rate and layout may differ from the last one's. Raises LimitReached, TooManyChannels."""
        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if kind != self._kind:
            self._flush()
            self._kind, self._like = kind, frame
            self._open(len(frame.layout.channels))
        self._parts.append(frame.to_ndarray())
        self._held += frame.samples
        if self._held >= BLOCK_SAMPLES:
            self._flush()

    def add_silence(self, seconds: float) -> None:
        """Append silence for a missing part of the recording. Raises LimitReached."""
        self._flush()
        rate = self._kind[0]
        left = round(seconds * rate)
        while left > 0:
            block = np.zeros(min(left, rate), np.float32)
            for track in self._tracks:
                track.write(block, rate)
            left -= block.size

    def close(self) -> list[int]:
        """Write the buffered samples, close all files and return their lengths in samples."""
        self._flush()
        for track in self._tracks:
            track.close()
        return [track.samples for track in self._tracks]

    def _open(self, channels: int) -> None:
        if self._tracks:
            return
        count = channels if self._max_channels else 1
        if count > max(1, self._max_channels):
            raise TooManyChannels(count)
        self._tracks = [_Track(f"{self._prefix}.{index}.pcm", self._max_samples) for index in range(count)]

    def _flush(self) -> None:
        like = self._like
        if like is None or not self._held:
            return
        layout = like.layout.channels
        block = full_scale(np.concatenate(self._parts, axis=1), len(layout), like.format.is_planar)
        self._parts, self._held = [], 0
        np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(block, -1.0, 1.0, out=block)
        if not self._max_channels:
            block = (shares(tuple(channel.name for channel in layout)) @ block)[None]
        silence = np.zeros(block.shape[1], np.float32)
        for index, track in enumerate(self._tracks):
            track.write(block[index] if index < len(block) else silence, like.sample_rate)


class _Track:
    """Writes one mono file of int16 at 16 kHz."""

    def __init__(self, path: str, max_samples: int) -> None:
        self.samples = 0
        self._max_samples = max_samples
        self._file = open(path, "wb", buffering=1 << 16)  # noqa: SIM115 (it stays open until close())
        self._resampler: av.AudioResampler | None = None
        self._rate = 0

    def write(self, block: Samples, rate: int) -> None:
        """Append float32 samples of shape (n,) at `rate` hertz. Raises LimitReached."""
        if self._resampler is None or rate != self._rate:
            self._drain()
            self._rate = rate
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), format="fltp", layout="mono")
        frame.sample_rate = rate
        self._append(self._resampler.resample(frame))

    def close(self) -> None:
        with self._file:
            self._drain()

    def _drain(self) -> None:
        """Write the samples that the resampler still buffers."""
        if self._resampler:
            self._append(self._resampler.resample(None))

    def _append(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            block = frame.to_ndarray().astype("<i2", copy=False)
            self.samples += block.size
            if self.samples > self._max_samples:
                raise LimitReached
            self._file.write(block.tobytes())


def full_scale(data: Raw, channels: int, planar: bool) -> Samples:
    """Convert samples of any type, planar or interleaved in one row, to float32 of shape (channels, n), full scale 1."""
    if not planar:
        data = data.reshape(-1, channels).T
    with np.errstate(over="ignore", invalid="ignore"):
        found = data.astype(np.float32)
    if data.dtype == np.uint8:
        found -= 128
        found /= 128
    elif data.dtype.kind == "i":
        found *= np.float32(2.0 ** (1 - 8 * data.dtype.itemsize))
    return found


def shares(names: tuple[str, ...]) -> Samples:
    """Return the weight of each channel in the mono mix, float32 of shape (channels,), summing to 1 to avoid clipping."""
    weights = np.array([SHARES.get(name, OTHER_SHARE) for name in names], np.float32)
    if not weights.any():
        weights[:] = 1
    found: Samples = weights / weights.sum()
    return found
