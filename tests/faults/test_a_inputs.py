"""A: bad inputs. Each is answered by a code and a sentence, or transcribed; the worker takes the next job."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import srt
import webvtt
from support.demo import SAMPLES, predictor
from support.loopback import Loopback, page
from support.predictor import FakePredictor
from support.shelf import Shelf
from support.sounds import tone, write, write_video, write_wav
from support.wiring import answered

from scribe.transcript import Segment, Transcript, Word

from .healthy import Worker, assert_failed, base64_of, left_in, wav


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "jobs")


def problems(answer: dict[str, Any]) -> dict[str, str]:
    return {problem["key"]: problem["problem"] for problem in answer["details"]["problems"]}


@pytest.mark.parametrize("job", [{}, {"id": "x"}, {"input": None}, {"input": []}, {"input": "x"}, {"input": {}}])
def test_a1_what_is_no_job_is_told_what_a_job_needs_and_nobody_is_called(job: dict[str, Any], tmp_path: Path) -> None:
    asked: list[str] = []
    worker = Worker(tmp_path / "jobs", resolver=lambda host, *_, **__: asked.append(host))
    assert "audio_file" in problems(assert_failed(answered(worker.handler, job), "invalid_input"))
    assert asked == []
    worker.assert_healthy()


def test_a2_an_unknown_key_is_named_with_the_nearest_known_one(worker: Worker) -> None:
    told = problems(worker.refuses("invalid_input", audio_ulr="https://example.com/a.mp3"))
    assert told["audio_ulr"] == "is not a known key; did you mean audio_file?"
    worker.assert_healthy()


def test_a3_every_value_out_of_type_or_range_is_told_in_one_answer(worker: Worker) -> None:
    wrong = {
        "batch_size": True,
        "beam_size": "eight",
        "chunk_size": 0,
        "max_line_width": 10**9,
        "temperature": float("nan"),
        "language": "xx",
        "min_speakers": 3,
        "max_speakers": 2,
        "formats": ["exe"],
        "deadline_s": -1,
        "vad_onset": -0.5,
    }
    told = problems(worker.refuses("invalid_input", audio_file="https://example.com/a.mp3", **wrong))
    assert set(wrong) - {"max_speakers", "formats"} <= set(told)
    assert "formats.0" in told
    worker.assert_healthy()


def test_a4_a_job_has_one_recording_and_base64_is_measured_before_it_is_unpacked(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "jobs", max_base64_bytes=20_000)
    whole = base64_of(wav(0.25))
    worker.refuses("invalid_input", audio_file="https://example.com/a.mp3", audio_base64=whole)
    worker.refuses("invalid_input", language="en")
    assert "longer" in problems(worker.refuses("invalid_input", audio_base64=base64_of(wav(2))))["audio_base64"]
    assert not worker.jobs.exists(), "nothing has been written anywhere"
    for broken in ("!!!!", "a", whole[:-4] + "*==="):
        worker.refuses("invalid_input", audio_base64=broken)
    worker.assert_healthy()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "HTML"),
        (b'{"message": "expired"}', "JSON"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    ],
)
def test_a5_a_page_served_as_mp3_is_not_audio_and_is_named(body: bytes, found: str, tmp_path: Path) -> None:
    with Loopback(page(body, Content_Type="audio/mpeg")) as server:
        worker = Worker(tmp_path / "jobs", [server.host])
        assert found in worker.refuses("not_audio", audio_file=f"{server.url}/talk.mp3")["error"]
    worker.assert_healthy()


def test_a6_a_header_without_sound_and_a_file_of_no_bytes_are_empty(tmp_path: Path) -> None:
    with Loopback(page(b""), page(wav(0))) as server:
        worker = Worker(tmp_path / "jobs", [server.host])
        for _ in range(2):
            worker.refuses("empty_audio", audio_file=f"{server.url}/a.wav")
    worker.assert_healthy()


def test_a7_a_video_is_heard_if_it_has_sound(worker: Worker, tmp_path: Path) -> None:
    silent, film = (write_video(tmp_path / f"{sound}.mp4", sound).read_bytes() for sound in (False, True))
    worker.refuses("no_audio_stream", audio_base64=base64_of(silent))
    assert "error" not in worker.ask(audio_base64=base64_of(film))
    assert worker.predictor.seconds[-1] == [pytest.approx(2, abs=0.1)]
    worker.assert_healthy()


def odd_sounds(folder: Path) -> dict[str, bytes]:
    noise = np.random.default_rng(8).normal(0, 0.2, (1, 16000 * 3)).astype(np.float32)
    broken = noise[:, :16000].copy()
    broken[0, 4000:9000] = np.nan
    wide = np.tile(tone(440, 0.5, 192000), (8, 1))
    click = np.zeros((1, 800), np.float32)
    click[0, 400] = 0.9
    silence = np.zeros((1, 16000 * 30), np.float32)
    return {
        "silence": write(folder / "a", "flac", "flac", silence, 16000).read_bytes(),
        "click": write(folder / "b", "flac", "flac", click, 16000).read_bytes(),
        "noise": write(folder / "c", "flac", "flac", noise, 16000).read_bytes(),
        "not a number": write_wav(folder / "d", broken, 16000).read_bytes(),
        "8 channels of 192 kHz": write_wav(folder / "e", wide, 192000).read_bytes(),
    }


def test_a8_odd_sound_is_a_success_with_valid_files_also_when_nothing_is_said(tmp_path: Path) -> None:
    """The demo models hear these: silence, a click, noise, samples that are no numbers, a studio's format."""
    shelf = Shelf()
    worker = Worker(tmp_path / "jobs", predictor=predictor(), storage=shelf, max_base64_bytes=20_000_000)
    for name, data in odd_sounds(tmp_path).items():
        shelf.objects.clear()
        answer = worker.ask(
            audio_base64=base64_of(data), formats=["json", "srt", "vtt", "tsv", "txt", "html"], inline="full"
        )
        assert "error" not in answer, (name, answer)
        files = {
            key.rsplit(".", 1)[1]: text.decode("utf-8") for key, text in shelf.objects.items() if "transcript." in key
        }
        assert json.loads(files["json"])["segments"] == [] or answer["segments"], name
        assert files["vtt"].startswith("WEBVTT"), name
        assert len(list(srt.parse(files["srt"]))) == len(list(webvtt.from_string(files["vtt"])))
        assert files["tsv"].startswith("start\tend\t"), name
        if not answer["segments"]:
            assert files["srt"].strip() == ""
            assert answer["warnings"], name
    worker.assert_healthy()


def test_a9_no_aligner_for_the_language_and_a_single_speaker_are_no_failures(tmp_path: Path) -> None:
    """The demo models know English only, and anna.flac has one voice."""
    worker = Worker(tmp_path / "jobs", predictor=predictor())
    spoken = write(tmp_path / "anna", "flac", "flac", one_voice(), 16000).read_bytes()
    german = worker.ask(audio_base64=base64_of(spoken), language="de", align_output=True)
    assert "align" in [w["stage"] for w in german["warnings"]]
    assert german["segments"]
    alone = worker.ask(audio_base64=base64_of(spoken), language="en", diarization=True, max_speakers=1)
    assert [speaker["label"] for speaker in alone["speakers"]] == ["SPEAKER_00"]
    assert {segment["speaker"] for segment in alone["segments"]} == {"SPEAKER_00"}
    worker.assert_healthy()


def one_voice() -> np.ndarray:
    """Six seconds of one speaker, float32 of shape (1, n) at 16 kHz."""
    import av

    with av.open(str(SAMPLES / "voices" / "anna.flac")) as container:
        resampler = av.AudioResampler("fltp", "mono", 16000)
        parts = [part.to_ndarray() for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate(parts, axis=1)[:, : 6 * 16000]


NASTY = (
    "00:00:01,000 --> 00:00:02,000",
    "tab\there",
    "line\nbreak\r\n\r\nnext",
    "שלום עולם",
    "👩‍👩‍👧 🏳️‍🌈",
    "half \ud83d pair",
    "<b>&amp;",
)


def test_a10_text_that_looks_like_syntax_comes_back_from_every_format(tmp_path: Path) -> None:
    segments = tuple(
        Segment(n * 5.0, n * 5.0 + 4.0, f" {text}", (Word(text, n * 5.0, n * 5.0 + 4.0, 0.9),))
        for n, text in enumerate(NASTY)
    )
    shelf = Shelf()
    stand_in = FakePredictor(Transcript("en", 40.0, segments, (), 0.9))
    worker = Worker(tmp_path / "jobs", predictor=stand_in, storage=shelf)
    answer = worker.ask(
        audio_base64=base64_of(wav(0.25)),
        formats=["json", "srt", "vtt", "tsv", "txt", "html"],
        inline="full",
        max_line_width=200,
        max_line_count=4,
    )
    assert "error" not in answer
    files = {key.rsplit(".", 1)[1]: text.decode("utf-8") for key, text in shelf.objects.items() if "transcript." in key}
    stored = [segment["text"] for segment in json.loads(files["json"])["segments"]]
    assert [text.split() for text in stored] == [text.replace("\ud83d", "\ufffd").split() for text in NASTY]
    assert [segment["text"] for segment in answer["segments"]] == stored
    for cues in (list(srt.parse(files["srt"])), list(webvtt.from_string(files["vtt"]))):
        assert len(cues) == len(NASTY)
    rows = list(csv.reader(io.StringIO(files["tsv"]), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) == 1 + len(NASTY)
    assert {len(row) for row in rows} == {len(rows[0])}
    assert all(word in files["txt"] for word in ("tab", "שלום", "👩‍👩‍👧"))
    assert "<b>" not in files["html"]
    assert left_in(worker.jobs) == []
    worker.assert_healthy()
