"""The child program of audio.py: decodes one file that nobody trusts, and is allowed to die of it.

Run as a script, never imported by the worker. It holds no secret, opens nothing but its source and its targets, and says what
happened in JSON lines on standard output: {"fraction": 0.5} on the way, one {"outcome": ...} at the end. Imports only
the standard library, av and numpy.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    import numpy as np

SAMPLE_RATE = 16000
# Containers that hold recordings. Playlists are not among them: hls, concat, dash and their like read other files.
FORMATS = "aac,ac3,aiff,amr,asf,caf,flac,flv,matroska,webm,mov,mp3,mpegts,ogg,wav,w64"
# Decoders that recordings need; every other one (all of video's, too) is code that a hostile file could only abuse.
DECODERS = frozenset(
    "aac aac_fixed aac_latm ac3 ac3_fixed eac3 alac amrnb amrwb libopencore_amrnb libopencore_amrwb dca flac g723_1 g729 "
    "gsm gsm_ms ilbc libgsm libgsm_ms libopus libspeex libvorbis mp1 mp1float mp2 mp2float mp3 mp3float nellymoser opus "
    "qcelp speex truehd truespeech vorbis wmalossless wmapro wmav1 wmav2 wmavoice adpcm_g722 adpcm_g726 adpcm_g726le "
    "adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha".split()
)
BLOCK_SAMPLES = 32768  # of the source's rate, between two writes
MAX_SPLIT_CHANNELS = 8
MEMORY_MARGIN = 512 << 20  # bytes of address space above what the imports took
# Shares of a channel in the mono mix (ITU-R BS.775 for the front and the sides; effects are not speech).
SHARES = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
OTHER_SHARE = 0.5


class Refused(Exception):
    """The decoding ends here; the arguments are the outcome and its details."""

    def __init__(self, outcome: str, **details: Any) -> None:
        super().__init__(outcome)
        self.report = {"outcome": outcome, **details}


class Track:
    """One mono output: float blocks of any rate in, int16 at 16 kHz on disk. Owns its file."""

    def __init__(self, path: str, max_samples: int) -> None:
        self.samples = 0
        self._max_samples = max_samples
        self._file = open(path, "wb", buffering=1 << 16)  # noqa: SIM115 (closed by close())
        self._resampler: av.AudioResampler | None = None
        self._rate = 0

    def write(self, block: np.ndarray, rate: int) -> None:
        """Appends float32 samples of shape (n,) at `rate` hertz. Raises Refused("too_long") past the limit."""
        import av
        import numpy as np

        if rate != self._rate:
            self._drain()
            self._rate = rate
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), format="fltp", layout="mono")
        frame.sample_rate = rate
        self._append(self._resampler.resample(frame))

    def close(self) -> None:
        """Writes what the resampler still holds and closes the file."""
        with self._file:
            self._drain()

    def _drain(self) -> None:
        if self._resampler:
            self._append(self._resampler.resample(None))

    def _append(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            block = frame.to_ndarray().astype("<i2", copy=False)
            self.samples += block.size
            if self.samples > self._max_samples:
                raise Refused("too_long")
            self._file.write(block.tobytes())


class Mixer:
    """Collects decoded frames and hands them to the tracks in blocks: a frame is 20 ms, too little for a numpy call."""

    def __init__(self, prefix: str, max_samples: int, split: bool) -> None:
        self._prefix, self._max_samples, self._split = prefix, max_samples, split
        self._tracks: list[Track] = []
        self._parts: list[np.ndarray] = []
        self._held = 0
        self._kind: tuple[int, tuple[str, ...]] = (0, ())  # rate in hertz, names of the channels

    def add(self, frame: av.AudioFrame) -> None:
        kind = (frame.sample_rate, tuple(channel.name for channel in frame.layout.channels))
        if kind != self._kind:
            self._flush()
            self._kind = kind
            self._open()
        self._parts.append(samples_of(frame))
        self._held += frame.samples
        if self._held >= BLOCK_SAMPLES:
            self._flush()

    def close(self) -> list[int]:
        """Ends every track; their lengths in samples."""
        self._flush()
        for track in self._tracks:
            track.close()
        return [track.samples for track in self._tracks]

    def _open(self) -> None:
        if self._tracks:
            return
        count = len(self._kind[1]) if self._split else 1
        if count > MAX_SPLIT_CHANNELS:
            raise Refused("too_many_channels", channels=count)
        self._tracks = [Track(f"{self._prefix}.{index}.pcm", self._max_samples) for index in range(count)]

    def _flush(self) -> None:
        import numpy as np

        if not self._held:
            return
        rate, names = self._kind
        block = np.concatenate(self._parts, axis=1)
        self._parts, self._held = [], 0
        np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(block, -1.0, 1.0, out=block)
        if not self._split:
            block = (shares(names) @ block)[None]
        silence = np.zeros(block.shape[1], np.float32)
        for index, track in enumerate(self._tracks):
            track.write(block[index] if index < len(block) else silence, rate)


def samples_of(frame: av.AudioFrame) -> np.ndarray:
    """A frame's samples as float32 of shape (channels, n), full scale at 1."""
    import numpy as np

    data = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, len(frame.layout.channels)).T
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - 128) / 128
    if data.dtype.kind == "i":
        return data.astype(np.float32) * np.float32(2.0 ** (1 - 8 * data.dtype.itemsize))
    with np.errstate(over="ignore"):
        return data.astype(np.float32)


def shares(names: tuple[str, ...]) -> np.ndarray:
    """Each channel's share in the mono mix, summing to 1, so that no mix can clip."""
    import numpy as np

    weights = np.array([SHARES.get(name, OTHER_SHARE) for name in names], np.float32)
    if not weights.any():
        weights[:] = 1
    return weights / weights.sum()


def decode(source: str, prefix: str, max_samples: int, split: bool) -> dict[str, Any]:
    """Decodes the first audio stream of `source` into `<prefix>.<n>.pcm`. Raises Refused."""
    import av

    known = DECODERS | {name for name in av.codecs_available if name.startswith("pcm_")}
    whitelists = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "codec_whitelist": ",".join(sorted(known)),
    }
    try:
        container = av.open(f"file:{source}", container_options=whitelists, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise Refused("not_opened", reason=type(error).__name__) from error
    with container:
        if not container.streams.audio:
            raise Refused("no_audio_stream")
        stream = container.streams.audio[0]
        codec = stream.codec_context
        if codec is None or codec.name not in known:
            raise Refused("unknown_codec", codec=codec.name if codec else "unknown")
        codec.thread_count = 1
        mixer = Mixer(prefix, max_samples, split)
        errors, damaged = pump(container, stream, mixer)
        lengths = mixer.close()
    if not any(lengths):
        raise Refused("undecodable" if errors else "empty")
    return {"outcome": "decoded", "channels": len(lengths), "damaged": damaged}


def pump(container: av.container.InputContainer, stream: av.AudioStream, mixer: Mixer) -> tuple[int, bool]:
    """Moves every frame into the mixer. Returns the number of errors, and whether they cost audio.

    A single bad packet before the first or after the last frame is a tag or a cut; more, or one between two frames, is damage.
    """
    import av

    size = max(1, os.path.getsize(container.name.removeprefix("file:")))
    errors = frames = 0
    damaged = False
    packets = container.demux(stream)
    said = time.monotonic()
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return errors + 1, True
        if packet is None:
            return errors, damaged or errors > 1
        try:
            decoded = packet.decode()
            bad = packet.is_corrupt
        except EOFError:
            decoded, bad = [], False
        except av.error.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from error
            decoded, bad = [], True
        if decoded and errors and frames:
            damaged = True
        errors += bad
        frames += len(decoded)
        for frame in decoded:
            mixer.add(frame)
        if time.monotonic() - said > 0.25:
            said = time.monotonic()
            say({"fraction": min(1.0, (packet.pos or 0) / size)})


def say(report: dict[str, Any]) -> None:
    """One line to the parent. A parent that is gone ends this process through the broken pipe."""
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def bind_to_parent(parent: int) -> None:
    """Linux kills this process with its parent. Elsewhere the broken pipe and the CPU limit end it."""
    if sys.platform == "linux":
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def limit(cpu_s: int, file_bytes: int) -> None:
    """Caps CPU seconds, address space and file size, as far as the platform lets itself be asked."""
    space = resource.RLIM_INFINITY
    if sys.platform == "linux":
        with open("/proc/self/statm") as statm:
            space = int(statm.read().split()[0]) * resource.getpagesize() + MEMORY_MARGIN
    wanted = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_AS: space,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for which, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (value, value))


def main(task: dict[str, Any]) -> None:
    bind_to_parent(task["parent"])
    sys.path.extend(task["path"])
    import av
    import numpy  # noqa: F401 (before the limits: its libraries take most of the address space)

    av.logging.set_level(None)
    limit(task["cpu_s"], 2 * task["max_samples"] + (1 << 20))
    try:
        report = decode(task["source"], task["prefix"], task["max_samples"], task["split"])
    except Refused as refused:
        report = refused.report
    except MemoryError:
        report = {"outcome": "out_of_memory"}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        report = {"outcome": "disk_full"} if full else {"outcome": "failed", "reason": type(error).__name__}
    say(report)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
