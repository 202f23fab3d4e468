"""C: what somebody sends on purpose. Addresses inside the house, files that read other files, bombs, floods of options."""

from __future__ import annotations

import io
import re
import socket
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.addresses import BLOCKED, PUBLIC, names
from support.loopback import Authority, Loopback, moved, page
from support.shelf import Shelf
from support.sounds import tone, write, write_silence
from support.wiring import answered

from scribe.jobs.intake import MAX_SAMPLE_BYTES, MAX_SAMPLE_SECONDS
from scribe.net.client import blocked_reason

from .healthy import Worker, assert_failed, base64_of, left_in, wav

GOOD = wav(1.0)
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "jobs")


def test_c1_a_name_that_leads_to_any_address_inside_is_blocked(tmp_path: Path) -> None:
    """Written out and behind a name; the addresses open to jobs are only looked up in the table, never called."""
    inside = [address for address in BLOCKED if blocked_reason(address) != "not an IP address" and "%" not in address]
    assert len(inside) >= 40
    answers = {f"n{number}_example": address for number, address in enumerate(inside)}
    worker = Worker(tmp_path / "jobs", resolver=names(**answers))
    for number, address in enumerate(inside):
        literal = f"[{address}]" if ":" in address else address
        for host in (f"n{number}.example", literal):
            answer = worker.refuses("url_blocked", audio_file=f"http://{host}/latest/meta-data/")
            assert host != literal or answer["retryable"] is False
    assert [address for address in PUBLIC if blocked_reason(address)] == []
    worker.assert_healthy()


@pytest.mark.parametrize(
    "url",
    [
        url
        for url in """http://2130706433/ http://0x7f.1/ http://127.1/ http://0177.0.0.1/ http://[::1]/ http://localhost./ http://LOCALHOST/
    http://good@127.0.0.1/ http://127.0.0.1#@good/ http://127。0。0。1/ http://①②⑦.0.0.1/ http://xn--fiqs8s.localhost/
    http://[::ffff:7f00:1]/ http://127.0.0.1\\@good/ http://good\x00.example/ http://good.example/\r\nHost:127.0.0.1""".split(
            " "
        )
        if url.strip()
    ],
)
def test_c2_no_spelling_of_loopback_gets_there(url: str, worker: Worker) -> None:
    """The machine's own resolver reads them; where it knows no such name, that is the answer."""
    answer = worker.ask(audio_file=url.strip("\n "))
    assert answer["code"] == "url_blocked" or answer["details"].get("reason") == "dns", answer
    assert left_in(worker.jobs) == []


@pytest.mark.parametrize(
    "url",
    """file:///etc/passwd ftp://example.com/a gopher://example.com/a data:audio/wav;base64,AAAA javascript:alert(1)
    s3://bucket/key.mp3 example.com/a.mp3 //example.com/a.mp3 /etc/passwd http://example.com:22/a
    https://example.com:8443/a http:///a.mp3""".split(),
)
def test_c3_only_http_and_https_on_their_own_ports(url: str, worker: Worker) -> None:
    worker.refuses("url_blocked", audio_file=url)


def test_c4_every_hop_of_a_redirect_is_checked_as_the_first(tmp_path: Path) -> None:
    for location in ("http://169.254.169.254/latest/", "file:///etc/passwd", "http://[::1]/", "ftp://example.com/"):
        with Loopback(moved(location)) as server:
            worker = Worker(tmp_path / "jobs", [server.host])
            worker.refuses("url_blocked", audio_file=server.url)
            assert len(server.requests) == 1
    with Loopback(moved("/again")) as server:
        worker = Worker(tmp_path / "jobs", [server.host])
        assert worker.refuses("fetch_failed", audio_file=server.url)["details"]["reason"] == "redirects"
        assert len(server.requests) == 6
    with Loopback(page(GOOD)) as other, Loopback(moved(other.url)) as server:
        worker = Worker(tmp_path / "jobs", [server.host, other.host])
        assert "error" not in worker.ask(audio_file=f"http://user:canary@{server.host}/")
        assert b"Authorization" in server.requests[0]
        assert b"Authorization" not in other.requests[0]
    authority = Authority(tmp_path)
    with Loopback(page(GOOD)) as plain, Loopback(moved(plain.url), tls=authority.server("127.0.0.1")) as safe:
        worker = Worker(tmp_path / "jobs", [safe.host, plain.host], trusts=authority.client)
        worker.refuses("url_blocked", audio_file=f"https://{safe.host}/")
        assert plain.requests == []
    worker.assert_healthy()


@linux
def test_c5_the_socket_goes_where_the_check_looked_whatever_the_name_says_next(tmp_path: Path) -> None:
    """The check is told 127.0.0.2; to the machine's own resolver, as to whoever asks again, localhost is 127.0.0.1."""
    with Loopback(page(GOOD), address="127.0.0.2") as checked, Loopback(page(GOOD), port=checked.port) as rebound:
        told = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"])

        def rebinding(host: str, port: int, **_: object) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(told), port))]

        worker = Worker(tmp_path / "jobs", [f"localhost:{checked.port}"], resolver=rebinding)
        assert "error" not in worker.ask(audio_file=f"http://localhost:{checked.port}/a.wav")
        assert (len(checked.requests), len(rebound.requests)) == (1, 0)
    for addresses in (["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"]):
        worker = Worker(tmp_path / "jobs", resolver=names(mixed_example=addresses))
        worker.refuses("url_blocked", audio_file="http://mixed.example/a.wav")
    worker.assert_healthy()


def test_c6_a_proxy_of_the_environment_is_never_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(page(GOOD)) as proxy, Loopback(page(GOOD)) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        worker = Worker(tmp_path / "jobs", [server.host])
        assert "error" not in worker.ask(audio_file=f"{server.url}/a.wav")
        worker.refuses("url_blocked", audio_file="http://169.254.169.254/")
        assert proxy.requests == []
    worker.assert_healthy()


def playlists(private: Path, url: str) -> list[bytes]:
    """Files that name other files. The control character makes text look like data to whoever sniffs for text."""
    hls = "#EXTM3U\n#{mark}\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT1S"><Period><AdaptationSet '
        'mimeType="audio/mp4"><Representation id="a" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )
    concat = "ffconcat version 1.0\n# {mark}\nfile {target}\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={mark}x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n"
    port = url.rsplit(":", 1)[1]
    made = []
    for mark in ("", "\x01"):
        for target in (private, f"{url}/private.mp3", f"concat:{private}|{private}", "sample0"):
            for form in (hls, dash, concat):
                made.append(form.format(mark=mark, target=target).encode())
        made.append(sdp.format(mark=mark, port=port).encode())
    return [*made, f"concat:{private}".encode()]


@pytest.mark.parametrize("suffix", ["mp3", "aac", "ts", "m4a"])
def test_c7_a_playlist_in_disguise_reads_nothing_and_calls_nobody(suffix: str, tmp_path: Path) -> None:
    """Another job's recording lies beside; the job's own sample is a real one, so that a sibling exists by name."""
    forms = {"mp3": ("mp3", "mp3"), "aac": ("adts", "aac"), "ts": ("mpegts", "mp2"), "m4a": ("mp4", "aac")}
    other = tmp_path / "jobs" / "worker-2" / "0123456789abcdef0123456789abcdef"
    other.mkdir(parents=True)
    private = write(other / f"private.{suffix}", *forms[suffix], tone(440, 1, 44100)[None])
    with Loopback(page(GOOD)) as server:
        worker = Worker(tmp_path / "jobs", [server.host])
        rows = playlists(private, server.url)
        for playlist in rows if suffix == "mp3" else rows[:3]:
            answer = worker.ask(
                audio_base64=base64_of(playlist),
                speaker_verification=True,
                speaker_samples=[{"audio_base64": base64_of(GOOD), "name": "Anna"}],
            )
            assert_failed(answer, "not_audio")
            assert list((tmp_path / "jobs" / "worker").iterdir()) == []
        assert worker.predictor.seconds == []
        assert server.requests == []
    private.unlink()
    other.rmdir()
    other.parent.rmdir()
    worker.assert_healthy()


def test_c8_a_name_never_becomes_a_path_or_a_key(tmp_path: Path) -> None:
    shelf = Shelf()
    disposition = page(GOOD, Content_Disposition='attachment; filename="../../etc/cron.d/x"')
    with Loopback(disposition) as server:
        worker = Worker(tmp_path / "jobs", [server.host], storage=shelf)
        for path in ("..%2f..%2fevil.wav", "-i", "concat:a|b", "%00", "x" * 4000):
            answer = answered(
                worker.handler, {"id": f"../../x{path[:9]}", "input": {"audio_file": f"{server.url}/{path}"}}
            )
            assert "error" not in answer, answer
        worker.refuses("invalid_input", audio_file=f"{server.url}/{'x' * 5000}")
    for path in worker.predictor.paths:
        assert re.fullmatch(r"worker/[0-9a-f]{32}/audio\.0\.pcm", str(path.relative_to(tmp_path / "jobs")))
    assert {path.name for path in tmp_path.iterdir()} == {"jobs"}
    assert len(shelf.objects) == 10
    for key in shelf.objects:
        assert re.fullmatch(r"transcripts/[A-Za-z0-9_-]+/[0-9a-f]{16}/(transcript|result)\.json", key)
    worker.assert_healthy()


def write_opus_silence(path: Path, hours: float) -> Path:
    """Ogg/Opus of silence: one encoded packet of 120 ms, repeated."""
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono", options={"frame_duration": "120"})
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 5760 * 4), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        data = bytes(stream.encode(frame)[-1])
        for at in range(0, int(hours * 3600 * 48000), 5760):
            packet = av.Packet(data)
            packet.pts = packet.dts = at
            packet.duration, packet.time_base, packet.stream = 5760, Fraction(1, 48000), stream
            container.mux(packet)
    return path


def test_c9_hours_packed_into_megabytes_stop_at_the_limit_and_a_false_header_counts_for_nothing(tmp_path: Path) -> None:
    """The wall clock has no part in it: what stops the decoder is the number of samples that came out of it."""
    flac = write_silence(tmp_path / "flac", hours=10)
    opus = write_opus_silence(tmp_path / "opus", hours=4)
    assert (flac.stat().st_size < 10_000_000, opus.stat().st_size < 3_000_000) == (True, True)
    liar = bytearray(write(tmp_path / "m4a", "mp4", "aac", tone(440, 3, 44100)[None]).read_bytes())
    for box in (b"mvhd", b"mdhd"):
        at = liar.find(box) + 20
        liar[at : at + 4] = struct.pack(">I", 0x7FFFFFFF)
    with Loopback(page(flac.read_bytes()), page(opus.read_bytes()), page(bytes(liar))) as server:
        worker = Worker(tmp_path / "jobs", [server.host], max_audio_seconds=60)
        for _ in range(2):
            assert worker.refuses("too_long", audio_file=server.url)["details"] == {"max_seconds": 60}
        assert "error" not in worker.ask(audio_file=server.url)
    assert worker.predictor.seconds == [[pytest.approx(3, abs=0.1)]]
    worker.assert_healthy()


def element(name: str, body: bytes) -> bytes:
    """An EBML element; its size in eight bytes."""
    return bytes.fromhex(name) + (len(body) | 1 << 56).to_bytes(8, "big") + body


def many_streams(_: Path) -> bytes:
    """A Matroska file of 4096 PCM tracks, written element by element."""
    rate = element("b5", struct.pack(">d", 8000.0))
    tracks = b"".join(
        element("ae", element("d7", struct.pack(">H", n)) + element("73c5", struct.pack(">H", n)) + element("83", b"\x02")
                + element("86", b"A_PCM/INT/LIT") + element("e1", rate + element("9f", b"\x01") + element("6264", b"\x10")))
        for n in range(1, 4097)
    )  # fmt: skip
    block = element("a3", b"\x81\x00\x00\x80" + bytes(16000))
    info = element("1549a966", element("2ad7b1", (1_000_000).to_bytes(3, "big")))
    segment = info + element("1654ae6b", tracks) + element("1f43b675", element("e7", b"\x00") + block)
    return element("1a45dfa3", element("4282", b"matroska")) + element("18538067", segment)


def many_chapters(folder: Path) -> bytes:
    path = folder / "chapters.mka"
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        chapter = {"time_base": Fraction(1, 1000), "metadata": {"title": "x" * 50}}
        container.set_chapters([{"id": n + 1, "start": n, "end": n + 1, **chapter} for n in range(10_000)])
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
    return path.read_bytes()


def giant_cover(folder: Path) -> bytes:
    """An mp3 behind an ID3 picture of 40 MB."""
    sound = write(folder / "plain.mp3", "mp3", "mp3", tone(440, 1, 44100)[None]).read_bytes()
    sound = sound[sound.index(b"\xff\xfb") :]

    def size(number: int) -> bytes:
        return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))

    picture = b"\x00image/png\x00\x03\x00\x89PNG\r\n\x1a\n" + bytes(40_000_000)
    frame = b"APIC" + size(len(picture)) + b"\0\0" + picture
    return b"ID3\x04\x00\x00" + size(len(frame)) + frame + sound


@pytest.mark.parametrize("attack", [many_streams, many_chapters, giant_cover])
def test_c10_a_header_made_to_exhaust_the_decoder_costs_one_job(
    attack: Callable[[Path], bytes], tmp_path: Path
) -> None:
    with Loopback(page(attack(tmp_path))) as server:
        worker = Worker(tmp_path / "jobs", [server.host])
        answer = worker.ask(audio_file=server.url, deadline_s=60)
    assert answer.get("code") in (None, "decode_failed", "not_audio"), answer
    worker.assert_healthy()


@pytest.mark.parametrize(("form", "codec"), [("mp4", "aac"), ("mp3", "mp3"), ("flac", "flac")])
def test_c10_a_file_cut_at_any_sixteenth_is_heard_or_refused_by_name(form: str, codec: str, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", form, codec, tone(440, 2, 16000)[None], 16000).read_bytes()
    worker = Worker(tmp_path / "jobs")
    for sixteenth in range(1, 16):
        answer = worker.ask(audio_base64=base64_of(whole[: len(whole) * sixteenth // 16]), deadline_s=60)
        assert answer.get("code") in (None, "decode_failed", "empty_audio"), (sixteenth, answer)
        assert left_in(worker.jobs) == []
    worker.assert_healthy()


def test_c11_an_archive_is_never_opened(worker: Worker) -> None:
    def zipped(name: str, data: bytes) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(name, data)
        return target.getvalue()

    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("../../evil.wav")
        entry.size = len(GOOD)
        archive.addfile(entry, io.BytesIO(GOOD))
    inner = zipped("../../evil.wav", GOOD)
    for data, found in ((inner, "ZIP"), (zipped("inner.zip", inner), "ZIP"), (tar.getvalue(), "TAR")):
        assert found in worker.refuses("not_audio", audio_base64=base64_of(data))["error"]
    worker.assert_healthy()


def test_c12_no_model_engine_or_trust_comes_from_a_job(worker: Worker) -> None:
    for option in (
        {"engine": "../x"},
        {"model": "evil/repo"},
        {"model": "../../weights"},
        {"trust_remote_code": True},
        {"diarization_model": "evil/repo"},
        {"vad_method": "evil"},
        {"speaker_samples": [{"embedding": {"model": "m", "vector": [0.0] * 9, "code": "x"}, "name": "a"}]},
    ):
        worker.refuses("invalid_input", audio_base64=base64_of(GOOD), **option)
    worker.assert_healthy()


def test_c13_no_option_is_larger_than_its_range(worker: Worker) -> None:
    sample = {"url": "http://example.com/a.wav", "name": "a"}
    for option in (
        {"formats": ["json"] * 100},
        {"speaker_verification": True, "speaker_samples": [sample] * 10_000},
        {"initial_prompt": "x" * 10_000_000},
        {"hotwords": "x" * 10_000_000},
        {"channel_names": ["x"] * 1000},
        {"speaker_samples": [{"embedding": {"model": "m", "vector": [0.0] * 100_000}, "name": "a"}]},
        {f"key{number}": 1 for number in range(200_000)},
    ):
        answer = worker.refuses("invalid_input", audio_base64=base64_of(GOOD), **option)
        assert len(answer["error"]) < 3000
        assert len(answer["details"]["problems"]) <= 50
    worker.assert_healthy()


def test_c13_a_sample_too_long_or_too_large_is_left_out_or_with_strict_an_error(tmp_path: Path) -> None:
    hours = write_silence(tmp_path / "hours", hours=1).read_bytes()
    assert MAX_SAMPLE_SECONDS < 3600
    large = page(b"", Content_Length=MAX_SAMPLE_BYTES + 1)
    for answer_of_server, code in ((page(hours), "too_long"), (large, "too_large")):
        with Loopback(answer_of_server) as server:
            worker = Worker(tmp_path / "jobs", [server.host])
            voices = {"speaker_verification": True, "speaker_samples": [{"url": server.url, "name": "Anna"}]}
            lenient = worker.ask(audio_base64=base64_of(GOOD), **voices)
            assert "sample_unusable" in [warning["code"] for warning in lenient["warnings"]]
            strict = worker.refuses("stage_failed", audio_base64=base64_of(GOOD), strict=True, **voices)
            assert strict["details"] == {"stage": "name", "code": code}
    worker.assert_healthy()
