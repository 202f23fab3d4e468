"""The order of the stages: what is skipped, what stops a job, and one job on the GPU at a time. On eight seconds of speech."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.demo import asked, configured, excerpt, models, predicted, predictor, recording, renamed, voice

from scribe.audio.decode import Audio
from scribe.engines.base import TranscriptionRequest
from scribe.engines.batched import BatchedEngine
from scribe.errors import Cancelled, DeadlineReached, GatedModel, GpuBroken, ModelNotFound, StageFailed
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.predictor import Predictor
from scribe.pipeline.recognition import speech_detection, speech_options
from scribe.speakers.ecapa import VoiceSample
from scribe.transcript import Segment, Speaker, Transcript, Voiceprint

NAMING = {"speaker_verification": True, "speaker_samples": [{"url": "http://h/anna.flac"}]}
QUICK = {"language": "en", "quality": "fast"}


@pytest.fixture(scope="module")
def clip() -> Audio:
    return excerpt("predict-clip", recording("conversation.mp3")[0], 0.0, 8.5)


@pytest.fixture(scope="module")
def plain(clip: Audio) -> list[Segment]:
    return list(predicted([clip], QUICK).transcript.segments)


def counting(limit: int, error: Exception) -> Callable[[], None]:
    """A check that raises from its call number `limit` on."""
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) >= limit:
            raise error

    return check


def test_a_plain_job_recognizes_and_nothing_else(clip: Audio) -> None:
    found = predicted([clip], QUICK)
    assert set(found.timings) == {"transcribe", "vad", "load"}
    assert set(found.models) == {"transcribe"}
    assert found.transcript.speakers == ()
    assert all(s.words == () and s.label is None for s in found.transcript.segments)
    assert found.transcript.language_probability is None


@pytest.mark.parametrize("limit", [1, 3, 6, 10, 14, 20, 26])
def test_a_stopped_job_ends_wherever_it_is_and_the_next_one_runs(clip: Audio, limit: int, plain: list[Segment]) -> None:
    options = {**QUICK, **NAMING, "align_output": True}
    try:
        predicted([clip], options, [voice("Anna")], counting(limit, Cancelled("x")))
    except Cancelled:
        pass
    else:
        assert limit > 15
    assert not predictor().gpu.taken
    if limit == 10:
        assert list(predicted([clip], QUICK).transcript.segments) == plain


def test_a_deadline_before_anything_is_recognized_fails_the_job(clip: Audio) -> None:
    with pytest.raises(DeadlineReached):
        predicted([clip], QUICK, check=counting(1, DeadlineReached("deadline_s: 1 seconds have passed")))


def test_a_deadline_after_recognition_keeps_the_words_and_says_partial(
    clip: Audio, plain: list[Segment], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    real = models().engine(models().model_set.speech()).transcribe

    def transcribe(*args: Any) -> int:
        batch = real(*args)
        over.set()
        return batch

    def check() -> None:
        if over.is_set():
            raise DeadlineReached("deadline_s: 1 seconds have passed")

    monkeypatch.setattr(models().engine(models().model_set.speech()), "transcribe", transcribe)
    found = predicted([clip], {**QUICK, "align_output": True, "diarization": True}, check=check)
    assert found.partial
    assert [s.text for s in found.transcript.segments] == [s.text for s in plain]
    assert {(n.code, n.stage) for n in found.warnings} == {
        ("deadline_reached", "align"),
        ("deadline_reached", "diarize"),
    }


class Gated(Models):
    """The demo models, but the hub refuses the diarization model, and there is no aligner."""

    def diarizer(self) -> Any:
        raise GatedModel("diarization model: accept the terms of pyannote/x", {"model": "pyannote/x"})

    def aligner(self, language: str) -> Any:
        raise ModelNotFound(f"the model set has no alignment model for '{language}'")


@pytest.fixture(scope="module")
def gated() -> Predictor:
    without = Gated(models().model_set, "cpu")
    without._cache = models()._cache
    return Predictor(without)


def run(this: Predictor, clip: Audio, options: dict[str, Any], voices: list[VoiceSample] | None = None) -> Any:
    return predicted([clip], options, voices or [], by=this)


def test_without_aligner_and_diarizer_the_transcript_comes_with_warnings(
    gated: Predictor, clip: Audio, plain: list[Segment]
) -> None:
    found = run(gated, clip, {**QUICK, **NAMING, "align_output": True}, [voice("Anna")])
    assert list(found.transcript.segments) == plain
    assert [(n.stage, n.code) for n in found.warnings] == [("align", "model_not_found"), ("diarize", "gated_model")]
    assert "pyannote/x" in found.warnings[1].message
    assert set(found.models) == {"transcribe"}


def test_with_strict_the_first_skipped_stage_fails_the_job(gated: Predictor, clip: Audio) -> None:
    with pytest.raises(StageFailed) as failed:
        run(gated, clip, {**QUICK, "diarization": True, "strict": True})
    assert failed.value.details == {"stage": "align", "code": "model_not_found"}
    assert not gated.gpu.taken


@pytest.mark.parametrize(
    ("words", "kind"), [("CUDA error: device-side assert triggered", GpuBroken), ("something else", RuntimeError)]
)
def test_a_gpu_that_breaks_in_recognition_is_told_from_other_faults(
    clip: Audio, monkeypatch: pytest.MonkeyPatch, words: str, kind: type[Exception]
) -> None:
    def broken(self: BatchedEngine, *_: Any) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(BatchedEngine, "transcribe", broken)
    with pytest.raises(kind):
        predicted([clip], QUICK)
    assert not predictor().gpu.taken


def test_a_job_that_waits_for_the_gpu_can_be_stopped(clip: Audio) -> None:
    with predictor().gpu.turn(), pytest.raises(Cancelled):
        predicted([clip], QUICK, check=counting(2, Cancelled("x")))


def test_two_jobs_never_use_the_models_at_once(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    most: list[int] = []

    def transcribe(self: BatchedEngine, request: TranscriptionRequest, emit: Callable[[Segment], None], *_: Any) -> int:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        for chunk in request.chunks:
            emit(Segment(chunk.start, chunk.end, "said"))
        return 1

    monkeypatch.setattr(BatchedEngine, "transcribe", transcribe)
    jobs = [threading.Thread(target=predicted, args=([clip], QUICK)) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert most == [1, 1, 1]


def test_a_language_without_an_aligner_keeps_its_segments(clip: Audio) -> None:
    found = predicted([clip], {"language": "de", "quality": "fast", "align_output": True})
    assert [(n.stage, n.code) for n in found.warnings] == [("align", "model_not_found")]
    assert found.transcript.segments
    assert found.transcript.language == "de"


def test_a_language_of_which_only_the_aligner_is_there_has_words(clip: Audio) -> None:
    """No sentence tables of it come with the set (whisperX's German ones are downloaded): they never cost the words."""
    given_one = Models(ModelSet(configured(align_model=models().model_set.aligner("en").source)), "cpu")
    german = {"language": "de", "quality": "fast", "align_output": True, "strict": True}
    found = predicted([clip], german, by=Predictor(given_one))
    assert found.warnings == []
    assert found.transcript.segments
    assert all(s.words for s in found.transcript.segments)


@pytest.mark.parametrize(("meant", "told"), [(True, ["sentence_rules"]), (False, [])])
def test_a_set_that_is_meant_to_have_sentence_tables_and_has_none_says_so_once(
    clip: Audio, monkeypatch: pytest.MonkeyPatch, meant: bool, told: list[str]
) -> None:
    monkeypatch.setattr(ModelSet, "is_local", property(lambda self: not meant))
    monkeypatch.setattr(models().model_set, "punkt", lambda tables: None)
    found = predicted([clip, clip], {**QUICK, "align_output": True, "channels": "split"})
    assert [n.code for n in found.warnings] == told


def test_a_translation_is_not_aligned_to_the_words_of_another_language(clip: Audio) -> None:
    options = {"quality": "fast", "align_output": True, "task": "translate"}
    found = predicted([clip], {**options, "language": "de"})
    assert [(n.stage, n.code) for n in found.warnings] == [("align", "invalid_input")]
    assert all(s.words == () for s in found.transcript.segments)
    assert predicted([clip], {**options, "language": "en"}).warnings == []


def test_embeddings_come_back_and_name_the_same_voice_in_the_next_job(clip: Audio) -> None:
    first = predicted([clip], {**QUICK, "diarization": True, "num_speakers": 1, "return_speaker_embeddings": True})
    (speaker,) = first.transcript.speakers
    assert isinstance(speaker.embedding, Voiceprint)
    assert (speaker.name, speaker.score) == (None, None)
    known = VoiceSample("Anna", None, speaker.embedding.vector, speaker.embedding.model)
    again = predicted([clip], {**QUICK, **NAMING, "num_speakers": 1}, [known])
    assert [(s.name, s.embedding) for s in again.transcript.speakers] == [("Anna", None)]
    assert again.transcript.speakers[0].score == pytest.approx(1.0, abs=0.01)


def test_an_embedding_of_another_model_is_a_warning(clip: Audio) -> None:
    known = VoiceSample("Anna", None, (1.0,) * 192, "another@1")
    found = predicted([clip], {**QUICK, **NAMING, "num_speakers": 1}, [known])
    assert [(n.stage, n.code) for n in found.warnings] == [("name", "sample_unusable")]
    assert [s.name for s in found.transcript.speakers] == [None]


def test_samples_of_one_name_are_pooled_and_one_without_speech_is_told(clip: Audio) -> None:
    silent = VoiceSample("Ghost", recording("silence.flac")[0])
    halves = [
        VoiceSample("Anna", excerpt(f"anna-half-{n}", recording("voices/anna.flac")[0], n, n + 5.0)) for n in (0.0, 5.0)
    ]
    found = predicted([clip], {**QUICK, **NAMING, "num_speakers": 1}, [*halves, silent, voice("Mark")])
    assert [s.name for s in found.transcript.speakers] == ["Anna"]
    assert [(n.code, "Ghost" in n.message) for n in found.warnings] == [("sample_without_speech", True)]


def test_the_job_s_threshold_wins_over_the_models(clip: Audio) -> None:
    found = predicted([clip], {**QUICK, **NAMING, "num_speakers": 1, "speaker_threshold": 1.0}, [voice("Anna")])
    (speaker,) = found.transcript.speakers
    assert (speaker.name, speaker.reason) == (None, "no enrolled voice is close enough")
    assert speaker.score is not None


@pytest.mark.parametrize(("calibrated", "told"), [(False, ["speaker_uncalibrated"]), (True, [])])
def test_whoever_is_named_by_an_uncalibrated_threshold_is_warned(
    calibrated: bool, told: list[str], clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models().model_set._set["speaker"], "calibrated", calibrated)
    encoder = models().encoder()
    heard = encoder.enrolled(recording("voices/anna.flac")[0], lambda: [(0.0, 9.0)])
    assert heard
    known = Speaker("SPEAKER_00", embedding=Voiceprint(encoder.identity, 9.0, heard.vector))
    anew = renamed(Transcript("en", 20.0, (), (known,)), [voice("Anna")])
    named = predicted([clip], {**QUICK, **NAMING, "num_speakers": 1}, [voice("Anna")])
    unnamed = predicted([clip], {**QUICK, "diarization": True, "num_speakers": 1})
    for found in (anew, named):
        assert [n.code for n in found.warnings] == told
        assert all("SPEAKER_THRESHOLD" in n.message for n in found.warnings)
    assert not unnamed.warnings


def test_a_stored_transcript_is_named_anew_without_its_audio() -> None:
    encoder = models().encoder()
    heard = {n: encoder.enrolled(recording(f"voices/{n}.flac")[0], lambda: [(0.0, 9.0)]) for n in ("anna", "mark")}
    speakers = tuple(
        Speaker(f"SPEAKER_{i:02}", f"wrong {n}", embedding=Voiceprint(encoder.identity, 9.0, v.vector))
        for i, (n, v) in enumerate(heard.items())
        if v
    )
    stored = Transcript("en", 20.0, (Segment(0, 1, "Hello", label="SPEAKER_01"),), speakers)
    found = renamed(stored, [voice("Mark"), voice("Anna")])
    assert [s.name for s in found.transcript.speakers] == ["Anna", "Mark"]
    assert found.transcript.display("SPEAKER_01") == "Mark"


def test_a_stored_transcript_without_embeddings_keeps_its_names_and_says_why() -> None:
    stored = Transcript("en", 20.0, (), (Speaker("SPEAKER_00", "Anna"),))
    found = renamed(stored, [])
    assert found.transcript is stored
    assert "return_speaker_embeddings" in found.warnings[0].message


def test_the_batch_suits_the_device_unless_the_job_names_one() -> None:
    assert speech_options(asked().options, models().model_set, 16).batch_size == 16
    assert speech_options(asked(batch_size=7).options, models().model_set, 16).batch_size == 7


def test_voice_activity_is_the_sets_unless_the_job_says_otherwise() -> None:
    how = speech_detection(asked().options, models())
    assert (how.vad_method, how.vad_onset, how.vad_offset, how.chunk_size) == ("silero", 0.5, 0.35, 15)
    own = {"vad_method": "pyannote", "vad_onset": 0.6, "vad_offset": 0.2, "chunk_size": 9}
    wanted = speech_detection(asked(**own).options, models())
    assert {name: getattr(wanted, name) for name in own} == own


def test_the_default_set_listens_as_whisperx_does() -> None:
    class Real:
        model_set = ModelSet(configured(model_set="default"))

    how = speech_detection(asked().options, Real())  # type: ignore[arg-type]
    assert (how.vad_method, how.vad_onset, how.vad_offset, how.chunk_size) == ("pyannote", 0.5, 0.363, 30)
