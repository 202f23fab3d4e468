"""Files of every kind against the real decoder: PyAV writes them here, a real child process reads them."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sounds import tone, write, write_silence, write_video, write_wav

from scribe.audio.decode import SAMPLE_RATE, Audio, decode
from scribe.audio.filetype import foreign_kind
from scribe.errors import Cancelled, DecodeFailed, DiskFull, EmptyAudio, InvalidInput, NoAudioStream, NotAudio, TooLong
from scribe.runtime.monitor import Monitor

SRC = Path(__file__).resolve().parents[2] / "src"
LONG = 36000.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


def pitch(samples: np.ndarray) -> float:
    """The loudest frequency in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / len(samples)


def children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def decoder_pid() -> int | None:
    """The child that is decoding now, once it is past its exec."""
    for pid in children():
        if b"scribe.audio.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


@pytest.fixture(scope="session")
def ten_hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_silence(tmp_path_factory.mktemp("long") / "silence.flac", hours=10)


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp3", "mp3"),
        ("mp4", "aac"),
        ("adts", "aac"),
        ("mp4", "alac"),
        ("flac", "flac"),
        ("ogg", "flac"),
        ("ogg", "opus"),
        ("webm", "libopus"),
        ("matroska", "pcm_s24le"),
        ("mpegts", "mp2"),
        ("wav", "pcm_u8"),
        ("wav", "pcm_s16le"),
        ("wav", "pcm_s24le"),
        ("wav", "pcm_f64le"),
        ("wav", "pcm_alaw"),
        ("aiff", "pcm_s16be"),
        ("caf", "pcm_s16le"),
        ("flv", "mp3"),
        ("asf", "wmav2"),
        ("ac3", "ac3"),
    ],
)
def test_every_allowed_container_becomes_16_khz_with_its_pitch_and_length(
    form: str, codec: str, tmp_path: Path
) -> None:
    rate = 48000 if "opus" in codec else 44100
    source = write(tmp_path / "audio", form, codec, tone(440, 2, rate)[None], rate)
    decoded = decode(source, tmp_path, max_seconds=LONG)
    (audio,) = decoded.channels
    assert audio.seconds == pytest.approx(2, abs=0.1)
    assert pitch(audio.window(0.5, 1.5)) == pytest.approx(440, abs=2)
    assert np.abs(audio.window(0.5, 1.5)).max() == pytest.approx(0.5, abs=0.05)
    assert decoded.warnings == ()


def test_split_keeps_the_channels_of_a_stereo_call_apart(tmp_path: Path) -> None:
    both = np.stack([tone(440, 2, 8000), tone(880, 2, 8000)])
    source = write(tmp_path / "call.wav", "wav", "pcm_s16le", both, 8000, "stereo")
    left, right = decode(source, tmp_path, max_seconds=LONG, split=True).channels
    assert (left.seconds, right.seconds) == (2, 2)
    assert pitch(left[:]) == pytest.approx(440, abs=1)
    assert pitch(right[:]) == pytest.approx(880, abs=1)
    assert left.path != right.path


def test_split_of_a_mono_file_is_one_channel(tmp_path: Path) -> None:
    source = write(tmp_path / "mono.flac", "flac", "flac", tone(440, 1, 16000)[None], 16000)
    assert len(decode(source, tmp_path, max_seconds=LONG, split=True).channels) == 1


def test_split_of_sixteen_channels_is_refused_with_the_way_out(tmp_path: Path) -> None:
    source = write_wav(tmp_path / "wide.wav", np.zeros((16, 4000)), 8000)
    with pytest.raises(InvalidInput, match="mix"):
        decode(source, tmp_path, max_seconds=LONG, split=True)
    assert len(decode(source, tmp_path, max_seconds=LONG).channels) == 1


def test_eight_full_channels_of_192_khz_mix_without_clipping(tmp_path: Path) -> None:
    data = np.tile(tone(440, 1, 192000, level=0.9), (8, 1))
    (audio,) = decode(write_wav(tmp_path / "wide.wav", data, 192000), tmp_path, max_seconds=LONG).channels
    assert audio.seconds == pytest.approx(1, abs=0.01)
    assert np.abs(audio[4000:12000]).max() == pytest.approx(0.9, abs=0.02)


def test_a_surround_mix_hears_the_centre_and_not_the_effects(tmp_path: Path) -> None:
    data = np.zeros((6, 48000), np.float32)
    data[2], data[3] = tone(440, 1, 48000), tone(60, 1, 48000)
    source = write(tmp_path / "film.flac", "flac", "flac", data, 48000, "5.1")
    (audio,) = decode(source, tmp_path, max_seconds=LONG).channels
    assert pitch(audio[:]) == pytest.approx(440, abs=2)
    spectrum = np.abs(np.fft.rfft(audio[:16000]))
    assert spectrum[60] < spectrum[440] / 100


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38])
def test_float_samples_that_are_no_numbers_become_silence(bad: float, tmp_path: Path) -> None:
    data = tone(440, 1, 16000)[None]
    data[0, 4000:6000] = bad
    (audio,) = decode(write_wav(tmp_path / "odd.wav", data, 16000), tmp_path, max_seconds=LONG).channels
    window = audio[4100:5900]
    assert np.all(window == 0) if not np.isfinite(bad) else np.all(window > 0.99)
    assert pitch(audio[8000:16000]) == pytest.approx(440, abs=2)


def test_two_recordings_of_different_rates_in_one_file_are_both_heard(tmp_path: Path) -> None:
    first = write(tmp_path / "a", "mp3", "mp3", tone(440, 2, 44100)[None], 44100)
    second = write(tmp_path / "b", "mp3", "mp3", tone(880, 2, 22050)[None], 22050)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    (audio,) = decode(joined, tmp_path, max_seconds=LONG).channels
    assert audio.seconds == pytest.approx(4, abs=0.3)
    assert pitch(audio.window(0.5, 1.5)) == pytest.approx(440, abs=3)
    assert pitch(audio.window(2.7, 3.7)) == pytest.approx(880, abs=3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "HTML"),
        (b"\xef\xbb\xbf\n <html lang=en>", "HTML"),
        (b'{"error": "expired"}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04" + bytes(60), "ZIP"),
        (b"\x1f\x8b\x08" + bytes(60), "GZIP"),
        (bytes(257) + b"ustar\x00" + bytes(300), "TAR"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "PNG"),
        (b"Not Found", "plain text"),
        (bytes(range(256)) * 8, "none of the audio"),
    ],
)
def test_a_file_that_is_something_else_is_refused_by_its_kind(content: bytes, found: str, tmp_path: Path) -> None:
    source = tmp_path / "audio.mp3"
    source.write_bytes(content)
    with pytest.raises(NotAudio, match=found):
        decode(source, tmp_path, max_seconds=LONG)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("audio.mp3", b""),
        ("audio.m3u8", b""),
        ("audio.wav", b""),
        ("audio", b""),
        ("audio.mp3", b"ID3\x04\x00\x00\x00\x00\x00\x00"),
        ("audio.m3u8", b"\x00\x01"),
        ("audio.wav", b"RIFF\x00\x00\x00\x00"),
    ],
)
@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{0}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile private.mp3\n",
        "ffconcat version 1.0\nfile '{0}'\n",
    ],
)
def test_a_playlist_in_disguise_reads_no_other_file(name: str, prefix: bytes, playlist: str, tmp_path: Path) -> None:
    private = write(tmp_path / "private.mp3", "mp3", "mp3", tone(440, 1, 16000)[None], 16000)
    source = tmp_path / name
    source.write_bytes(prefix + playlist.format(private).encode())
    with pytest.raises((NotAudio, DecodeFailed)):
        decode(source, tmp_path, max_seconds=LONG)
    assert sorted(tmp_path.iterdir()) == sorted([private, source])


def test_nothing_and_a_header_without_samples_are_empty(tmp_path: Path) -> None:
    nothing = tmp_path / "zero.mp3"
    nothing.write_bytes(b"")
    header = write_wav(tmp_path / "header.wav", np.zeros((1, 0)), 16000)
    for source in (nothing, header):
        with pytest.raises(EmptyAudio):
            decode(source, tmp_path, max_seconds=LONG)


def test_a_video_without_sound_is_refused_and_one_with_sound_is_heard(tmp_path: Path) -> None:
    with pytest.raises(NoAudioStream):
        decode(write_video(tmp_path / "silent.mp4", sound=False), tmp_path, max_seconds=LONG)
    (audio,) = decode(write_video(tmp_path / "film.mp4", sound=True), tmp_path, max_seconds=LONG).channels
    assert pitch(audio.window(0.5, 1.5)) == pytest.approx(440, abs=2)


def test_a_codec_outside_the_closed_list_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "odd.mkv", "matroska", "wavpack", tone(440, 1, 16000)[None], 16000)
    with pytest.raises(DecodeFailed, match="coded"):
        decode(source, tmp_path, max_seconds=LONG)


def test_ten_hours_in_a_small_file_stop_at_the_limit_of_decoded_samples(ten_hours: Path, tmp_path: Path) -> None:
    assert ten_hours.stat().st_size < 10_000_000
    with pytest.raises(TooLong, match="60 seconds"):
        decode(ten_hours, tmp_path, max_seconds=60)
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_claims_a_thousand_hours_does_not_count(tmp_path: Path) -> None:
    source = write(tmp_path / "liar.m4a", "mp4", "aac", tone(440, 3, 44100)[None])
    data = bytearray(source.read_bytes())
    for box in (b"mvhd", b"mdhd", b"tkhd"):
        at = data.find(box)
        field = at + (24 if box == b"tkhd" else 20)
        data[field : field + 4] = struct.pack(">I", 0x7FFFFFFF)
    source.write_bytes(data)
    (audio,) = decode(source, tmp_path, max_seconds=10).channels
    assert audio.seconds == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("form", "codec"), [("mp3", "mp3"), ("matroska", "mp3"), ("flac", "flac"), ("mp4", "aac")])
def test_damage_in_the_middle_keeps_what_decodes_and_says_so(form: str, codec: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (1, 44100 * 4)).astype(np.float32)
    source = write(tmp_path / "audio", form, codec, noise)
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = np.random.default_rng(2).bytes(6000)
    source.write_bytes(data)
    decoded = decode(source, tmp_path, max_seconds=LONG)
    assert decoded.warnings == ("audio_damaged",)
    assert 1.9 < decoded.channels[0].seconds < 4.5


@pytest.mark.parametrize(("form", "codec"), [("mp4", "aac"), ("mpegts", "mp2"), ("ogg", "flac")])
def test_a_lost_piece_leaves_silence_so_that_later_times_stay_true(form: str, codec: str, tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(0, 0.1, 44100 * 5).astype(np.float32)
    data[44100 * 4 :] = tone(440, 1, 44100)
    source = write(tmp_path / "audio", form, codec, data[None])
    encoded = bytearray(source.read_bytes())
    at = len(encoded) // 3
    encoded[at : at + 6000] = np.random.default_rng(2).bytes(6000)
    source.write_bytes(encoded)
    decoded = decode(source, tmp_path, max_seconds=LONG)
    (audio,) = decoded.channels
    assert decoded.warnings == ("audio_damaged",)
    assert audio.seconds == pytest.approx(5, abs=0.1)
    assert pitch(audio.window(4.1, 4.9)) == pytest.approx(440, abs=2)


def test_a_browsers_recording_that_sends_nothing_in_silence_keeps_its_times(tmp_path: Path) -> None:
    path = tmp_path / "paused.webm"
    with av.open(str(path), "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(440, 3, 48000)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            if not 0.98 < packet.pts * packet.time_base < 2.02:
                container.mux(packet)
    decoded = decode(path, tmp_path, max_seconds=LONG)
    (audio,) = decoded.channels
    assert decoded.warnings == ()
    assert audio.seconds == pytest.approx(3, abs=0.05)
    assert np.abs(audio.window(1.1, 1.9)).max() == 0
    assert pitch(audio.window(2.2, 2.9)) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("form", "codec"), [("mp3", "mp3"), ("mp4", "aac"), ("flac", "flac")])
def test_a_file_cut_anywhere_decodes_or_fails_by_name(form: str, codec: str, tmp_path: Path) -> None:
    data = write(tmp_path / "whole", form, codec, tone(440, 1, 16000)[None], 16000).read_bytes()
    source = tmp_path / "cut"
    for sixteenth in range(1, 16, 3):
        source.write_bytes(data[: len(data) * sixteenth // 16])
        with contextlib.suppress(DecodeFailed, EmptyAudio):  # but not NotAudio: a piece is still recognisable
            decode(source, tmp_path, max_seconds=LONG)


def test_a_silent_recording_and_a_click_are_audio(tmp_path: Path) -> None:
    for seconds in (2.0, 0.05):
        source = write(tmp_path / "quiet.flac", "flac", "flac", np.zeros((1, int(16000 * seconds)), np.float32), 16000)
        assert decode(source, tmp_path, max_seconds=LONG).channels[0].seconds == seconds


@pytest.mark.parametrize("name", ["-i", "concat:a|b", "a b%41*?[x].mp3", "é日本", "x" * 240])
def test_a_files_name_means_nothing(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "plain", "flac", "flac", tone(440, 1, 16000)[None], 16000).rename(tmp_path / name)
    assert decode(source, tmp_path, max_seconds=LONG).channels[0].samples == 16000


@pytest.mark.parametrize(("form", "codec"), [("matroska", "flac"), ("flac", "flac"), ("mp4", "aac")])
def test_a_title_in_another_encoding_does_not_matter(form: str, codec: str, tmp_path: Path) -> None:
    source = tmp_path / "audio"
    with av.open(str(source), "w", format=form) as container:
        container.metadata["title"] = "TITLETITLE"
        stream = container.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(440, 1, 16000)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = source.read_bytes()
    assert b"TITLETITLE" in data
    source.write_bytes(data.replace(b"TITLETITLE", b"\xff\xfe\xe9\x80" + b"TITLET"))
    assert decode(source, tmp_path, max_seconds=LONG).channels[0].seconds == pytest.approx(1, abs=0.1)


def test_the_fraction_rises_to_one_at_most(ten_hours: Path, tmp_path: Path) -> None:
    said: list[float] = []
    with pytest.raises(TooLong):
        decode(ten_hours, tmp_path, max_seconds=1800, monitor=Monitor(report=said.append))
    assert said == sorted(said)
    assert all(0 <= fraction <= 1 for fraction in said)


@linux
def test_a_cancelled_decoding_ends_its_child_and_leaves_nothing(ten_hours: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def stop_once_it_runs() -> None:
        pid = decoder_pid()
        if pid and list(tmp_path.iterdir()):
            seen.append(pid)
            raise Cancelled("the job was cancelled")

    with pytest.raises(Cancelled):
        decode(ten_hours, tmp_path, max_seconds=LONG, monitor=Monitor(stop_once_it_runs))
    assert not Path(f"/proc/{seen[0]}").exists()
    assert list(tmp_path.iterdir()) == []


@linux
def test_a_decoder_killed_by_a_signal_is_a_failed_decoding(ten_hours: Path, tmp_path: Path) -> None:
    def shoot() -> None:
        if pid := decoder_pid():
            os.kill(pid, signal.SIGSEGV)

    with pytest.raises(DecodeFailed) as caught:
        decode(ten_hours, tmp_path, max_seconds=LONG, monitor=Monitor(shoot))
    assert caught.value.details == {"signal": "SIGSEGV"}
    assert list(tmp_path.iterdir()) == []


@linux
def test_the_child_has_none_of_the_workers_environment_and_a_session_of_its_own(
    ten_hours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_SECRET_KEY", "canary")
    seen: list[bytes] = []

    def look() -> None:
        if pid := decoder_pid():
            seen.append(Path(f"/proc/{pid}/environ").read_bytes())
            assert os.getsid(pid) == pid
            raise Cancelled("seen")

    with pytest.raises(Cancelled):
        decode(ten_hours, tmp_path, max_seconds=LONG, monitor=Monitor(look))
    assert b"canary" not in seen[0]
    assert b"PATH" not in seen[0]


def test_a_decoding_past_its_time_is_killed(ten_hours: Path, tmp_path: Path) -> None:
    with pytest.raises(DecodeFailed, match="0.01 seconds"):
        decode(ten_hours, tmp_path, max_seconds=LONG, timeout_s=0.01)
    assert list(tmp_path.iterdir()) == []


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    head = f"import sys; sys.path.insert(0, {str(SRC)!r})\n"
    command = [sys.executable, "-c", head + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@linux
def test_the_child_dies_with_its_parent(ten_hours: Path, tmp_path: Path) -> None:
    done = run(
        """
import os, signal
from pathlib import Path
from scribe.audio.decode import decode
from scribe.runtime.monitor import Monitor
folder = Path(sys.argv[2])
def die_once_it_decodes():
    if list(folder.iterdir()):
        print(Path("/proc/self/task", str(os.getpid()), "children").read_text(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
decode(Path(sys.argv[1]), folder, max_seconds=36000, monitor=Monitor(die_once_it_decodes))
""",
        ten_hours,
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL
    child = Path("/proc", done.stdout.strip())
    assert done.stdout.strip()
    for _ in range(2000):
        if not child.exists() or b"State:\tZ" in child.joinpath("status").read_bytes():
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


@linux
@pytest.mark.long
def test_parent_and_child_stay_under_50_megabytes_above_their_imports(tmp_path: Path) -> None:
    done = run(
        """
import resource, subprocess
from pathlib import Path
from scribe.audio.decode import decode
def peak(who):
    return resource.getrusage(who).ru_maxrss
subprocess.run([sys.executable, "-c", "import av, numpy"], check=True)
child, parent = peak(resource.RUSAGE_CHILDREN), peak(resource.RUSAGE_SELF)
audio = decode(Path(sys.argv[1]), Path(sys.argv[2]), max_seconds=36000).channels[0]
audio.sha256()
for start in range(0, 7200, 60):
    audio.window(start, start + 30)
print(audio.seconds, peak(resource.RUSAGE_CHILDREN) - child, peak(resource.RUSAGE_SELF) - parent)
""",
        write_silence(tmp_path / "two.flac", hours=2),
        tmp_path,
    )
    seconds, child, parent = map(float, done.stdout.split())
    assert seconds == pytest.approx(7200, abs=60)
    assert child < 50_000
    assert parent < 50_000


@linux
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "audio", "flac", "flac", tone(440, 20, 16000)[None], 16000)
    (tmp_path / "audio.0.pcm").symlink_to("/dev/full")
    with pytest.raises(DiskFull):
        decode(source, tmp_path, max_seconds=LONG)
    assert list(tmp_path.iterdir()) == [source]


def test_the_same_sound_has_the_same_digest_in_every_container(tmp_path: Path) -> None:
    data = tone(440, 1, 16000)[None]
    digests = set()
    for form, codec in (("wav", "pcm_s16le"), ("flac", "flac"), ("matroska", "pcm_s16le")):
        source = write(tmp_path / form, form, codec, data, 16000)
        digests.add(decode(source, tmp_path, max_seconds=LONG).channels[0].sha256())
    assert len(digests) == 1


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Audio:
    path = tmp_path_factory.mktemp("ramp") / "ramp.pcm"
    np.arange(-32768, 32768, 64, dtype="<i2").tofile(path)
    return Audio(path, 1024)


@settings(max_examples=50, deadline=None)
@given(
    start=st.none() | st.integers(-3000, 3000),
    stop=st.none() | st.integers(-3000, 3000),
)
def test_a_slice_is_the_window_that_an_array_would_give(ramp: Audio, start: int | None, stop: int | None) -> None:
    reference = np.arange(-32768, 32768, 64, dtype=np.float32) / 32768
    window = ramp[start:stop]
    assert window.dtype == np.float32
    assert np.array_equal(window, reference[start:stop])
    window += 1  # a copy: the file is not written through it
    assert np.array_equal(ramp[start:stop], reference[start:stop])


def test_an_audio_knows_its_measures_and_cuts_windows_at_its_ends(ramp: Audio) -> None:
    assert (len(ramp), ramp.shape, ramp.seconds) == (1024, (1024,), 0.064)
    assert len(ramp.window(-1, 0.01)) == 160
    assert len(ramp.window(0.06, 9)) == 64
    assert len(ramp.window(0.05, 0.01)) == 0
    with pytest.raises(ValueError, match="forwards"):
        ramp[::2]


@given(st.binary(max_size=200))
def test_the_kind_of_any_bytes_is_a_phrase_or_none(head: bytes) -> None:
    kind: str | None = foreign_kind(head)
    assert kind is None or kind.isprintable()


@pytest.mark.parametrize("encoder", [lambda text: text.encode(), lambda text: text.encode("utf-8-sig")])
def test_text_of_any_language_is_text(encoder: Callable[[str], bytes]) -> None:
    assert foreign_kind(encoder("Сервер не найден " * 100)[:1024]) == "plain text"
