"""The child program of audio.py: decodes one file that nobody trusts, and is allowed to die of it.

Never imported by the worker. It holds no secret, opens nothing but its source and its targets, and says what happened
in JSON lines on standard output: {"fraction": 0.5} on the way, one {"outcome": ...} at the end. Imports only the
standard library, av, numpy and its own second half, mixdown.py.
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
from typing import TypedDict

import av

from scribe.audio.mixdown import SAMPLE_RATE, LimitReached, Mixdown, TooManyChannels

# Containers that hold recordings. Playlists are not among them: hls, concat, dash and their like read other files.
FORMATS = "aac,ac3,aiff,amr,asf,caf,flac,flv,matroska,webm,mov,mp3,mpegts,ogg,wav,w64"
# Decoders that recordings need. Every other one, all of video's too, is code that only a hostile file would reach.
DECODERS = """
    aac aac_fixed aac_latm ac3 ac3_fixed eac3 alac amrnb amrwb libopencore_amrnb libopencore_amrwb dca flac g723_1 g729
    gsm gsm_ms ilbc libgsm libgsm_ms libopus libspeex libvorbis mp1 mp1float mp2 mp2float mp3 mp3float nellymoser opus
    qcelp speex truehd truespeech vorbis wmalossless wmapro wmav1 wmav2 wmavoice adpcm_g722 adpcm_g726 adpcm_g726le
    adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha
"""
# Containers whose time stamps are stored, not guessed from the bytes: a gap in them is a gap in time.
STAMPED = frozenset({"mov", "matroska", "ogg", "mpegts", "asf", "flv"})
# Codecs that send nothing while nobody speaks (browsers' recordings, telephones): there a gap is no damage.
PAUSING = frozenset({"opus", "libopus", "speex", "libspeex", "amrnb", "amrwb", "g723_1", "g729"})
MIN_GAP_S, MAX_GAP_S = 0.1, 600.0  # shorter is jitter, longer is a clock that was set
MEMORY_MARGIN = 512 << 20  # bytes of address space above what the imports took
REPORT_S = 0.25
# A title in Latin-1 is no reason to refuse a recording; from 19 on PyAV thinks so too and has no such option.
LENIENT = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


class Report(TypedDict, total=False):
    """A line to the parent: either the share that was read, or how it ended."""

    fraction: float
    outcome: str
    channels: int
    damaged: bool


def main(argument: str) -> None:
    """Does one task, in JSON {source, prefix, max_samples, max_channels, parent, cpu_s}, and reports its outcome."""
    task = json.loads(argument)
    bind_to_parent(task["parent"])
    limit(task["cpu_s"], 2 * task["max_samples"] + (1 << 20))
    av.logging.set_level(None)
    say(outcome_of(task["source"], Mixdown(task["prefix"], task["max_samples"], task["max_channels"])))


def outcome_of(source: str, mixdown: Mixdown) -> Report:
    """Decodes, and names how that ended. Whatever is not named here is a crash, which the parent sees by itself."""
    try:
        return decode(source, mixdown)
    except LimitReached:
        return {"outcome": "too_long"}
    except TooManyChannels as error:
        return {"outcome": "too_many_channels", "channels": error.args[0]}
    except MemoryError:
        return {"outcome": "out_of_memory"}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return {"outcome": "disk_full" if full else "failed"}


def decode(source: str, mixdown: Mixdown) -> Report:
    """Decodes the first audio stream of `source` into `mixdown`."""
    known = {*DECODERS.split(), *(name for name in av.codecs_available if name.startswith("pcm_"))}
    allowed = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "codec_whitelist": ",".join(sorted(known))}
    try:
        container = av.open(f"file:{source}", container_options=allowed, **LENIENT)
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError):
        return {"outcome": "not_opened"}
    with container:
        if not container.streams.audio:
            # Without any stream the header itself is cut: nobody knows whether there was sound.
            return {"outcome": "no_audio_stream" if len(container.streams) else "not_opened"}
        stream = container.streams.audio[0]
        codec = stream.codec_context
        if codec is None or codec.name not in known:
            return {"outcome": "unknown_codec"}
        codec.thread_count = 1
        announced = announced_seconds(container, stream)
        errors, damaged = pump(container, stream, mixdown, os.path.getsize(source))
    lengths = mixdown.close()
    if not any(lengths):
        return {"outcome": "undecodable" if errors else "empty"}
    damaged = damaged or max(lengths) / SAMPLE_RATE < 0.95 * announced - 1
    return {"outcome": "decoded", "channels": len(lengths), "damaged": damaged}


def pump(
    container: av.container.InputContainer, stream: av.AudioStream, mixdown: Mixdown, size: int
) -> tuple[int, bool]:
    """Moves every frame into the mixdown. Returns the number of errors, and whether sound was lost.

    One bad packet before the first or after the last frame is a tag or a cut; more, or one between frames, is damage.
    Where time stamps say how long the lost piece was, silence takes its place, so that all later times stay true.
    """
    stamped = is_stamped(container)
    pausing = stream.codec_context.name in PAUSING
    errors = 0
    end: float | None = None
    damaged = False
    packets = container.demux(stream)
    reported = time.monotonic()
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            return errors + 1, True
        if packet is None:
            return errors, damaged or errors > 1
        frames, bad = frames_of(packet)
        damaged = damaged or bool(frames and errors and end is not None)
        errors += bad
        for frame in frames:
            at = frame.time
            start = at if at is not None else end or 0.0
            gap = start - end if end is not None else 0.0
            if gap >= MIN_GAP_S:
                damaged = damaged or not pausing
                if stamped and gap <= MAX_GAP_S:
                    mixdown.add_silence(gap)
            mixdown.add(frame)
            end = start + frame.samples / frame.sample_rate
        if time.monotonic() - reported > REPORT_S:
            reported = time.monotonic()
            say({"fraction": min(1.0, (packet.pos or 0) / size)})


def announced_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """The length that the header gives the sound; 0 when it gives none or one that only guesses."""
    if not is_stamped(container):
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if len(container.streams) != 1 or container.duration is None:
        return 0.0
    return float(container.duration / av.time_base)


def is_stamped(container: av.container.InputContainer) -> bool:
    return not STAMPED.isdisjoint(container.format.name.split(","))


def frames_of(packet: av.Packet) -> tuple[list[av.AudioFrame], bool]:
    """A packet's frames, and whether it was bad. The last packet of a stream is empty and flushes the decoder."""
    try:
        return packet.decode(), packet.is_corrupt
    except MemoryError:
        raise
    except av.error.EOFError:
        return [], False
    except av.error.FFmpegError:
        return [], True


def say(report: Report) -> None:
    """One line to the parent. When that is gone, the broken pipe ends this process."""
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
    caps = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_AS: space,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for which, cap in caps.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (cap, cap))
