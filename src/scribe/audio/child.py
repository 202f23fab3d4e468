"""The decoder process of decode.py: decode one untrusted file, which may crash this process.

The worker never imports it. It has no secrets, opens only its source and its output files, and reports by JSON lines on
standard output: {"fraction": 0.5} on the way, one {"outcome": ...} at the end. It imports only the standard library, av,
numpy and mixdown.py.
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

# Containers of recordings. Playlists (hls, concat, dash) are left out, because they read other files.
FORMATS = "aac,ac3,aiff,amr,asf,caf,flac,flv,matroska,webm,mov,mp3,mpegts,ogg,wav,w64"
# Decoders that recordings need. All others, video included, are attack surface for hostile files.
DECODERS = """
    aac aac_fixed aac_latm ac3 ac3_fixed eac3 alac amrnb amrwb libopencore_amrnb libopencore_amrwb dca flac g723_1 g729
    gsm gsm_ms ilbc libgsm libgsm_ms libopus libspeex libvorbis mp1 mp1float mp2 mp2float mp3 mp3float nellymoser opus
    qcelp speex truehd truespeech vorbis wmalossless wmapro wmav1 wmav2 wmavoice adpcm_g722 adpcm_g726 adpcm_g726le
    adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha
"""
# Containers that store time stamps, so that a gap between them is a gap in time.
STAMPED = frozenset({"mov", "matroska", "ogg", "mpegts", "asf", "flv"})
# Codecs that send nothing during silence (browsers' recordings, telephones), so that a gap is no damage.
PAUSING = frozenset({"opus", "libopus", "speex", "libspeex", "amrnb", "amrwb", "g723_1", "g729"})
MIN_GAP_S, MAX_GAP_S = 0.1, 600.0  # shorter is jitter, longer is a reset clock
MEMORY_MARGIN = 512 << 20  # bytes of address space besides what the imports use
REPORT_S = 0.25
# Accept tags that are not UTF-8, such as a title in Latin-1. From version 19 on PyAV does so and has no such option.
LENIENT = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


class Report(TypedDict, total=False):
    """A line to the parent: the fraction of the file that was read, or the outcome."""

    fraction: float
    outcome: str
    channels: int
    damaged: bool


def main(argument: str) -> None:
    """Run one task, the JSON {source, prefix, max_samples, max_channels, parent, cpu_s}, and report its outcome."""
    task = json.loads(argument)
    bind_to_parent(task["parent"])
    limit(task["cpu_s"], 2 * task["max_samples"] + (1 << 20))
    av.logging.set_level(None)
    say(outcome_of(task["source"], Mixdown(task["prefix"], task["max_samples"], task["max_channels"])))


def outcome_of(source: str, mixdown: Mixdown) -> Report:
    """Decode and return the outcome. Any other exception ends the process, and the parent sees its exit code."""
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
    """Decode the first audio stream of `source` into `mixdown` and return the outcome."""
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
            # Without any stream the header itself is cut, so it is unknown whether there was an audio track.
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
    """Decode every frame into the mixdown. Return the number of errors, and whether audio was lost.

    One bad packet before the first or after the last frame is a tag or a cut; more, or one between frames, is damage. If
    time stamps say how long the lost part was, it is replaced by silence, so that later times stay correct.
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
    """Return the length in seconds that the header states; 0 if it states none or only an estimate."""
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
    """Return a packet's frames, and whether it was bad. The last packet of a stream is empty and flushes the decoder."""
    try:
        return packet.decode(), packet.is_corrupt
    except MemoryError:
        raise
    except av.error.EOFError:
        return [], False
    except av.error.FFmpegError:
        return [], True


def say(report: Report) -> None:
    """Write one line to the parent. If the parent has ended, the broken pipe ends this process."""
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def bind_to_parent(parent: int) -> None:
    """Have Linux kill this process when its parent ends. Elsewhere the broken pipe and the CPU limit end it."""
    if sys.platform == "linux":
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the line above
        os._exit(1)


def limit(cpu_s: int, file_bytes: int) -> None:
    """Limit CPU seconds, address space and file size, as far as the platform supports it."""
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
