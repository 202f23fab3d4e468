"""Recordings made on the spot: tones, silence, video, in any container and codec."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np


def tone(hertz: float, seconds: float, rate: int, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, form: str, codec: str, data: np.ndarray, rate: int = 44100, layout: str = "mono") -> Path:
    """Encodes float32 samples of shape (channels, n) into a container."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec == "opus":
            stream.codec_context.options = {"strict": "experimental"}
        if codec == "wmav2":
            stream.bit_rate = 128_000
        for start in range(0, data.shape[1], rate):
            block = np.ascontiguousarray(data[:, start : start + rate])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_wav(path: Path, data: np.ndarray, rate: int) -> Path:
    """IEEE-float WAV, byte for byte: shape (channels, n), so that a sample may be NaN."""
    body = np.ascontiguousarray(data.T.astype("<f4")).tobytes()
    channels = len(data)
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


def write_video(path: Path, sound: bool) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for _ in range(20):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio:
            frame = av.AudioFrame.from_ndarray(tone(440, 2, 44100)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def write_silence(path: Path, hours: int) -> Path:
    """A FLAC of silent hours in a few megabytes: one encoded minute, repeated."""
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4608 * 100), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        packets = [(bytes(packet), packet.duration, packet.time_base) for packet in stream.encode(frame)]
        at = 0
        while at < hours * 3600 * 8000:
            for data, duration, time_base in packets:
                packet = av.Packet(data)
                packet.pts = packet.dts = at
                packet.duration, packet.time_base, packet.stream = duration, time_base, stream
                container.mux(packet)
                at += duration
    return path
