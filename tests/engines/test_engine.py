"""Both recognizers, the worker's own and whisperX's: one job's options never reach the next, memory that runs out, stops."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from support.demo import before_decoding, models, recording, stock_models

from scribe.engines import base
from scribe.engines.base import Abilities, Engine, SpeechOptions, TranscriptionRequest
from scribe.engines.faster_whisper import WhisperEngine, vote
from scribe.engines.whisperx import WhisperXEngine
from scribe.errors import Cancelled, GpuOutOfMemory
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.transcript import Chunk, Segment

PECULIAR = SpeechOptions(
    batch_size=2,
    beam_size=1,
    patience=0.5,
    length_penalty=0.5,
    repetition_penalty=1.1,
    no_repeat_ngram_size=3,
    initial_prompt="a secret of the first customer",
    hotwords="Zebulon",
    suppress_numerals=True,
)
QUICK = SpeechOptions(batch_size=2, beam_size=1)


@pytest.fixture(params=["own", "whisperX's"])
def engine(request: pytest.FixtureRequest) -> WhisperEngine:
    own = models() if request.param == "own" else stock_models()
    return own.engine(own.model_set.speech())


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    """The first three, of three seconds at most."""
    (audio,) = recording("conversation.mp3")
    return models().detector("silero").chunks(audio, 0.5, 0.363, 3)[:3]


@pytest.fixture(scope="module")
def words(chunks: list[Chunk]) -> list[Segment]:
    """What is heard in them with the options of `QUICK`."""
    return heard(models().engine(models().model_set.speech()), chunks)[0]


@pytest.fixture
def inner(engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Puts a stand-in before the model's decoder: stand_in(real, features, prompts, **options)."""
    return functools.partial(before_decoding, monkeypatch, engine)


def heard(
    engine: WhisperEngine,
    chunks: Sequence[Chunk],
    options: SpeechOptions | None = None,
    monitor: Monitor = UNWATCHED,
    language: str = "en",
) -> tuple[list[Segment], int]:
    found: list[Segment] = []
    return found, engine.transcribe(asked(chunks, options or QUICK, language), found.append, monitor)


def asked(chunks: Sequence[Chunk], options: SpeechOptions, language: str = "en") -> TranscriptionRequest:
    return TranscriptionRequest(recording("conversation.mp3")[0], chunks, language, options)


def texts(segments: Sequence[Segment]) -> list[tuple[float, float, str]]:
    return [(s.start, s.end, s.text) for s in segments]


def state(engine: WhisperEngine) -> tuple[Any, ...]:
    """What a job could leave behind in whisperX's pipeline; the worker's own engine has nothing of the kind."""
    if not isinstance(engine, WhisperXEngine):
        return ()
    pipeline = engine._pipeline
    return (
        dataclasses.astuple(pipeline.options),
        pipeline.suppress_numerals,
        pipeline.tokenizer,
        tuple(pipeline.vad_model.chunks),
    )


def test_a_chunk_becomes_a_segment_on_the_recordings_clock(chunks: list[Chunk], words: list[Segment]) -> None:
    assert [(s.start, s.end) for s in words] == [(round(c.start, 3), round(c.end, 3)) for c in chunks]
    assert "orange garden" in words[0].text.lower()
    assert all(s.avg_logprob is not None and s.avg_logprob <= 0 for s in words)


def test_the_batch_size_does_not_change_the_words(
    engine: WhisperEngine, chunks: list[Chunk], words: list[Segment]
) -> None:
    one_by_one, _ = heard(engine, chunks, SpeechOptions(batch_size=1, beam_size=1))
    assert [s.text for s in one_by_one] == [s.text for s in words]


def test_options_reach_the_model(engine: WhisperEngine, chunks: list[Chunk], inner: Callable[..., None]) -> None:
    seen: list[Any] = []

    def watch(real: Callable[..., Any], features: Any, prompts: Any, **options: Any) -> Any:
        seen.append((prompts, options))
        return real(features, prompts, **options)

    inner(watch)
    heard(engine, chunks[:1], dataclasses.replace(PECULIAR, task="translate"), language="de")
    ((prompt,), options), *_ = seen
    tokenizer = engine._model.hf_tokenizer
    names = ("startoftranscript", "de", "translate", "notimestamps")
    assert prompt[-4:] == [tokenizer.token_to_id(f"<|{name}|>") for name in names]
    assert tokenizer.decode(prompt[:-4]).split() == f"{PECULIAR.hotwords} {PECULIAR.initial_prompt}".split()
    for name in "beam_size patience length_penalty repetition_penalty no_repeat_ngram_size".split():
        assert options[name] == getattr(PECULIAR, name)
    numerals = [tokenizer.decode([n]) for n in options["suppress_tokens"] if n >= 0]
    assert numerals
    assert all(set(text) & set("0123456789%$£") for text in numerals)


@pytest.mark.parametrize(
    "error", [Cancelled("the platform cancelled the job"), RuntimeError("CUDA error: unspecified launch failure")]
)
def test_a_job_that_dies_half_way_leaves_nothing_to_the_next(
    engine: WhisperEngine, chunks: list[Chunk], words: list[Segment], error: Exception
) -> None:
    before = state(engine)

    def stop_at_the_second_batch(fraction: float) -> None:
        if fraction > 0.5:
            raise error

    with pytest.raises(type(error)):
        heard(engine, chunks, PECULIAR, Monitor(report=stop_at_the_second_batch), language="fr")
    assert state(engine) == before
    assert engine.detect_language(recording("conversation.mp3")[0], chunks, 2, 0.0)[0] == "en"
    assert texts(heard(engine, chunks)[0]) == texts(words)


def test_a_job_that_succeeds_leaves_nothing_to_the_next(
    engine: WhisperEngine, chunks: list[Chunk], inner: Callable[..., None]
) -> None:
    before = state(engine)
    heard(engine, chunks, PECULIAR, language="fr")
    assert state(engine) == before
    seen: list[Any] = []

    def watch(real: Callable[..., Any], features: Any, prompts: Any, **options: Any) -> Any:
        seen.append((prompts[0], options))
        return real(features, prompts, **options)

    inner(watch)
    heard(engine, chunks[:1])
    (prompt, options), *_ = seen
    token = engine._model.hf_tokenizer.token_to_id
    assert prompt == [token(f"<|{name}|>") for name in ("startoftranscript", "en", "transcribe", "notimestamps")]
    assert options["suppress_tokens"] == [-1]


def test_memory_that_runs_out_halves_the_batch_and_loses_no_words(
    engine: WhisperEngine, chunks: list[Chunk], words: list[Segment], inner: Callable[..., None]
) -> None:
    sizes = []

    def out_of_memory_above_one(real: Callable[..., Any], features: Any, prompts: Any, **more: Any) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise RuntimeError("CUDA failed with error out of memory")
        return real(features, prompts, **more)

    inner(out_of_memory_above_one)
    segments, batch = heard(engine, chunks, SpeechOptions(batch_size=4, beam_size=1))
    assert [s.text for s in segments] == [s.text for s in words]
    assert batch == 1
    assert sizes[:3] == [3, 3, 2]


def test_a_batch_that_fits_once_idle_models_left_stays_as_large_as_it_was(
    engine: WhisperEngine, chunks: list[Chunk], inner: Callable[..., None]
) -> None:
    sizes: list[int] = []
    idle = ["align:de", "diarize"]

    def full_beside_others(real: Callable[..., Any], features: Any, prompts: Any, **more: Any) -> Any:
        sizes.append(len(prompts))
        if idle:
            raise RuntimeError("CUDA failed with error out of memory")
        return real(features, prompts, **more)

    inner(full_beside_others)
    found: list[Segment] = []
    request = asked(chunks, SpeechOptions(batch_size=4, beam_size=1))
    clear = lambda: bool(idle and idle.pop())  # noqa: E731
    assert engine.transcribe(request, found.append, clear=clear) == 4
    assert (sizes[:4], len(found)) == ([3] * 4, 3)


@pytest.mark.parametrize(
    ("at_first", "free", "batch"),
    [
        (16, 18, 16),  # the other models are loaded by now
        (16, 6, 8),  # another process took the rest
        (4, 30, 32),  # another process has left
        (16, 0.1, 1),
        (16, None, 16),
    ],
)
def test_a_jobs_batch_goes_by_the_memory_that_is_free_when_it_begins(
    at_first: int, free: float | None, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = models().engine(models().model_set.speech())
    monkeypatch.setattr(engine, "_device", "cuda")
    monkeypatch.setattr(engine, "_batch_at_load", at_first)
    monkeypatch.setattr(base, "free_gpu_memory", lambda: None if free is None else int(free * 1e9))
    assert engine.batch_size == batch


def test_memory_for_not_even_one_chunk_is_an_error_with_a_code(
    engine: WhisperEngine, chunks: list[Chunk], inner: Callable[..., None]
) -> None:
    before = state(engine)

    def out_of_memory(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    inner(out_of_memory)
    with pytest.raises(GpuOutOfMemory) as failed:
        heard(engine, chunks, SpeechOptions(batch_size=4))
    assert failed.value.code == "gpu_out_of_memory"
    assert failed.value.retryable
    assert state(engine) == before


def test_another_fault_is_not_taken_for_missing_memory(
    engine: WhisperEngine, chunks: list[Chunk], inner: Callable[..., None]
) -> None:
    calls = []

    def broken(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise RuntimeError("device-side assert triggered")

    inner(broken)
    with pytest.raises(RuntimeError, match="device-side"):
        heard(engine, chunks)
    assert len(calls) == 1


def test_a_stop_keeps_the_groups_that_are_done(
    engine: WhisperEngine, chunks: list[Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "GROUP_CHUNKS", 2)
    found: list[Segment] = []

    def stop_late(fraction: float) -> None:
        if fraction > 0.9:
            raise Cancelled("x")

    request = asked(chunks, SpeechOptions(batch_size=1, beam_size=1))
    with pytest.raises(Cancelled):
        engine.transcribe(request, found.append, Monitor(report=stop_late))
    assert [s.start for s in found] == [round(c.start, 3) for c in chunks[:2]]  # the third chunk's group was stopped


def test_groups_give_the_same_words_and_a_fraction_that_only_grows(
    engine: WhisperEngine, chunks: list[Chunk], words: list[Segment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "GROUP_CHUNKS", 2)
    ticks: list[float] = []
    assert texts(heard(engine, chunks, monitor=Monitor(report=ticks.append))[0]) == texts(words)
    assert ticks == sorted(ticks)
    assert ticks[-1] == pytest.approx(1.0)


def test_without_chunks_there_is_nothing_to_hear(engine: WhisperEngine) -> None:
    assert heard(engine, []) == ([], 2)


def test_the_language_is_heard_on_speech_and_stops_when_it_is_sure(engine: WhisperEngine, chunks: list[Chunk]) -> None:
    (audio,) = recording("conversation.mp3")
    looks: list[int] = []
    monitor = Monitor(lambda: looks.append(1))
    language, probability = engine.detect_language(audio, chunks, 3, 0.0, monitor)
    assert language == "en"
    assert probability is None or 0 < probability <= 1
    if probability is not None:
        assert len(looks) == 3
        looks.clear()
        engine.detect_language(audio, chunks, 5, 1e-9, monitor)
        assert len(looks) == 1


def test_the_language_is_the_one_of_the_highest_mean_probability() -> None:
    assert vote([{"en": 0.5, "de": 0.4}, {"en": 0.1, "de": 0.8}]) == ("de", pytest.approx(0.6))
    assert vote([]) == ("en", 0.0)


def test_nothing_is_printed_while_a_model_loads(capfd: pytest.CaptureFixture[str]) -> None:
    place = models().model_set.speech()
    WhisperXEngine(place.source, "cpu", "int8", 1, local_only=True)
    assert "vad" not in capfd.readouterr().out.lower()


def test_a_model_declares_what_it_can_do(engine: WhisperEngine) -> None:
    can = engine.abilities
    assert can.languages >= {"en", "de"} or can.languages == {"en"}
    assert can.tells_language == can.translates == (len(can.languages) > 1)
    parity = isinstance(engine, WhisperXEngine)
    assert ("temperature" in can.options) == can.doubts == (not parity)


def test_an_engine_brings_its_decoding_and_nothing_of_batches_groups_or_memory() -> None:
    class Loud(Engine):
        chunk_bytes = 1_000_000_000
        abilities = Abilities("loud", frozenset(("en",)))

        def detect_language(self, *_: Any) -> tuple[str, float | None]:
            return "en", None

        def _recognized(self, request: TranscriptionRequest, batch: int, monitor: Monitor) -> list[Segment]:
            if batch > 2:
                raise RuntimeError("CUDA failed with error out of memory")
            monitor.progress(1.0)
            return [Segment(chunk.start, chunk.end, "LOUD") for chunk in request.chunks]

    found: list[Segment] = []
    shares: list[float] = []
    chunks = [Chunk(n, n + 1.0, ((n, n + 1.0),)) for n in range(40)]
    request = TranscriptionRequest(recording("conversation.mp3")[0], chunks, "en", SpeechOptions(batch_size=8))
    assert Loud("cpu").transcribe(request, found.append, Monitor(report=shares.append)) == 2
    assert [segment.start for segment in found] == list(range(40))
    assert shares == [0.8, 1.0]
