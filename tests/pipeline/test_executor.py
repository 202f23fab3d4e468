"""Diarization concurrent with recognition: the same answer, the same faults at the same place, and no thread that stays behind."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.demo import Predicted, excerpt, models, predicted, recording, voice

from scribe.alignment.aligner import Aligner
from scribe.audio.decode import Audio
from scribe.diarization.diarizer import Diarizer
from scribe.engines.batched import BatchedEngine
from scribe.engines.faster_whisper import WhisperEngine
from scribe.errors import Cancelled, DeadlineReached, GpuBroken, GpuOutOfMemory, StageFailed
from scribe.models.cache import ModelCache
from scribe.models.loader import Models
from scribe.pipeline import executor as executor_module
from scribe.pipeline.context import JobContext
from scribe.pipeline.executor import StageExecutor, StepFuture
from scribe.pipeline.overlap import SideStream
from scribe.pipeline.predictor import Predictor
from scribe.pipeline.progress import Progress
from scribe.pipeline.record import JobRecord
from scribe.runtime import machine
from scribe.runtime.gpu_memory import LEAST_FREE
from scribe.runtime.log import job_id
from scribe.runtime.monitor import Monitor

SOON_S = 120.0
SPEAKERS = {"language": "en", "quality": "fast", "diarization": True}
FULL = "CUDA out of memory. Tried to allocate 2 GiB"
real_transcribe, real_diarize, real_align = WhisperEngine.transcribe, Diarizer.diarize, Aligner.align


@pytest.fixture(scope="module")
def clip() -> Audio:
    return excerpt("executor-clip", recording("conversation.mp3")[0], 0.0, 12.0)


never_told: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    never_told.clear()
    yield
    assert never_told == []
    assert [t.name for t in threading.enumerate() if t.name == "concurrent stage"] == []


def done(
    overlap: Any,
    audio: Audio,
    options: dict[str, Any],
    check: Callable[[], None] = lambda: None,
    of: Models | None = None,
) -> Predicted:
    """One job of a predictor of its own; its GPU is free afterwards."""
    own = Predictor(of or models(), overlap)
    try:
        return predicted([audio], options, [voice("Anna")] if "speaker_samples" in options else [], check, by=own)
    finally:
        assert not own.gpu.taken


class Meeting:
    """Makes sure that both are at work at once: each waits until the other has begun. Without overlap they never meet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recognizing, self.diarizing = threading.Event(), threading.Event()
        monkeypatch.setattr(WhisperEngine, "transcribe", lambda *a: self._met(self.recognizing, self.diarizing, a))
        monkeypatch.setattr(Diarizer, "diarize", lambda *a: self._met(self.diarizing, self.recognizing, a))

    def _met(self, mine: threading.Event, other: threading.Event, arguments: Any) -> Any:
        mine.set()
        assert other.wait(SOON_S), "the other never began"
        return self.transcribe(*arguments) if mine is self.recognizing else self.diarize(*arguments)

    def transcribe(self, *arguments: Any) -> Any:
        return real_transcribe(*arguments)

    def diarize(self, *arguments: Any) -> Any:
        return real_diarize(*arguments)


def until_told(monitor: Monitor) -> None:
    """Work that goes on until it is stopped from outside."""
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        monitor.raise_if_stopped()
        time.sleep(0.002)
    never_told.append(threading.current_thread().name)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"align_output": True, "num_speakers": 1},
        {"speaker_verification": True, "speaker_samples": [{"url": "http://h/anna.flac"}]},
        {"return_speaker_embeddings": True, "min_speakers": 4, "language": None},
        {"language": "de", "align_output": True},
    ],
)
def test_beside_recognition_the_answer_is_the_same_to_the_last_bit(
    clip: Audio, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = done("off", clip, SPEAKERS | more)
    Meeting(monkeypatch)
    began = time.monotonic()
    both = done("on", clip, SPEAKERS | more)
    spent = time.monotonic() - began
    assert both.transcript == alone.transcript
    assert (both.warnings, both.models, both.partial) == (alone.warnings, alone.models, alone.partial)
    assert both.options_used.pop("diarized_beside_s") > 0
    assert both.options_used == alone.options_used
    assert set(both.timings) == set(alone.timings)
    assert sum(both.timings.values()) <= spent


def test_in_parity_mode_and_where_nobody_asked_for_speakers_nothing_runs_beside(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(WhisperEngine, "transcribe", lambda *a: (real_transcribe(*a), order.append("heard"))[0])
    monkeypatch.setattr(Diarizer, "diarize", lambda *a: (order.append("who"), real_diarize(*a))[1])
    stock = Models(models().model_set, "cpu", parity=True)
    stock._cache = models()._cache
    done("on", clip, SPEAKERS, of=stock)
    assert order == ["heard", "who"]
    done("on", clip, {**SPEAKERS, "diarization": False})
    assert order == ["heard", "who", "heard"]


def test_without_speech_nobody_is_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StageExecutor, "submit", lambda *a: pytest.fail("diarization of silence"))
    found = done("on", recording("silence.flac")[0], SPEAKERS)
    assert [n.code for n in found.warnings] == ["no_speech"]


def test_speech_without_words_stops_diarization_and_says_nothing_of_it(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = Meeting(monkeypatch)
    meeting.transcribe = lambda *a: 4  # type: ignore[method-assign]
    meeting.diarize = lambda self, audio, monitor, *a: until_told(monitor)  # type: ignore[method-assign]
    found = done("on", clip, SPEAKERS | {"strict": True})
    assert ([n.code for n in found.warnings], found.transcript.segments) == (["speech_without_text"], ())


@pytest.mark.parametrize("limit", [2, 5, 8, 12, 18, 25])
@pytest.mark.parametrize("error", [Cancelled("x"), DeadlineReached("deadline_s: 1 seconds have passed")])
def test_a_stop_reaches_both_threads_wherever_they_are(clip: Audio, limit: int, error: Exception) -> None:
    calls = itertools.count(1)

    def check() -> None:
        if next(calls) >= limit:
            raise error

    try:
        found = done("on", clip, SPEAKERS | {"align_output": True}, check)
    except type(error):
        return
    assert isinstance(error, DeadlineReached) or next(calls) <= limit
    late = [n.stage for n in found.warnings if n.code == "deadline_reached"]
    assert late == sorted(late, key=["transcribe", "align", "diarize"].index)


@pytest.mark.parametrize("strict", [False, True])
def test_a_failure_beside_is_told_where_it_always_was(
    clip: Audio, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("/root/secret")

    monkeypatch.setattr(Diarizer, "diarize", fail)
    monkeypatch.setattr(Aligner, "align", fail)
    answers: list[Any] = []
    for overlap in ("off", "on"):
        try:
            found = done(overlap, clip, SPEAKERS | {"strict": strict})
            answers.append((found.transcript, found.warnings))
        except StageFailed as error:
            answers.append((error.message, error.details))
    assert answers[0] == answers[1]
    if strict:
        assert answers[0][1] == {"stage": "align", "code": "align_failed"}
    else:
        assert [n.code for n in answers[0][1]] == ["align_failed", "diarize_failed"]


@pytest.mark.parametrize("strict", [False, True])
def test_a_gpu_that_breaks_beside_ends_recognition_too_and_is_told_once(
    clip: Audio, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    meeting = Meeting(monkeypatch)
    meeting.diarize = broken  # type: ignore[method-assign]
    meeting.transcribe = lambda self, request, emit, monitor, *a: until_told(monitor)  # type: ignore[method-assign]
    with pytest.raises(GpuBroken):
        done("on", clip, SPEAKERS | {"strict": strict})


def test_a_fault_in_recognition_stops_what_runs_beside(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    meeting = Meeting(monkeypatch)
    meeting.transcribe = broken  # type: ignore[method-assign]
    meeting.diarize = lambda self, audio, monitor, *a: until_told(monitor)  # type: ignore[method-assign]
    with pytest.raises(GpuBroken):
        done("on", clip, SPEAKERS)


def test_diarization_that_does_not_fit_beside_is_done_alone(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, kept = done("off", clip, SPEAKERS), models()._cache.names()
    tries: list[str] = []

    def diarize(*arguments: Any) -> Any:
        tries.append(threading.current_thread().name)
        if len(tries) == 1:
            raise RuntimeError(FULL)
        return real_diarize(*arguments)

    meeting = Meeting(monkeypatch)
    meeting.diarize = diarize  # type: ignore[method-assign]
    found = done("on", clip, SPEAKERS)
    assert (found.transcript, found.warnings) == (alone.transcript, alone.warnings)
    assert tries[0] == "concurrent stage"
    assert tries[1:] == [threading.current_thread().name]
    assert models()._cache.names() == kept
    assert "diarized_beside_s" not in found.options_used


def ticking(monitor: Monitor, until: threading.Event) -> None:
    """Work that goes on, and pauses where its monitor does, until the event."""
    deadline = time.monotonic() + SOON_S
    while not until.is_set() and time.monotonic() < deadline:
        monitor.raise_if_stopped()
        time.sleep(0.002)


def test_recognition_that_does_not_fit_beside_makes_diarization_pause_and_nothing_of_either_is_lost(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = done("off", clip, SPEAKERS)
    batches: list[int] = []
    begun: list[str] = []
    working, recognized = threading.Event(), threading.Event()
    real_run, real_hold = BatchedEngine._recognized, StepFuture._hold

    def run(self: Any, request: Any, batch: int, monitor: Any) -> Any:
        batches.append(batch)
        if len(batches) == 1:
            assert working.wait(SOON_S)
        if working.is_set():
            raise RuntimeError(FULL)
        recognized.set()
        return real_run(self, request, batch, monitor)

    def hold(self: Any) -> None:
        working.clear()
        real_hold(self)

    def diarize(self: Any, audio: Any, monitor: Any, *more: Any) -> Any:
        begun.append(threading.current_thread().name)
        working.set()
        ticking(monitor, recognized)
        return real_diarize(self, audio, monitor, *more)

    monkeypatch.setattr(BatchedEngine, "_recognized", run)
    monkeypatch.setattr(StepFuture, "_hold", hold)
    monkeypatch.setattr(Diarizer, "diarize", diarize)
    found = done("on", clip, SPEAKERS)
    assert (found.transcript, found.warnings) == (alone.transcript, alone.warnings)
    assert batches[:3] == [4, 4, 4]
    assert begun == ["concurrent stage"]


def test_no_model_is_dropped_below_the_thread_that_uses_it(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = done("off", clip, SPEAKERS)
    own = Models(models().model_set, "cpu")
    own._cache._models |= models()._cache._models
    using, aligned = threading.Event(), threading.Event()
    dropped: list[str] = []
    drop = own._cache.drop

    def watched(name: str) -> None:
        assert using.is_set()
        dropped.append(name)
        drop(name)

    def diarize(self: Any, audio: Any, monitor: Any, *more: Any) -> Any:
        using.set()
        ticking(monitor, aligned)
        return real_diarize(self, audio, monitor, *more)

    # Beside: after the caches, after the pause, after a model left.
    tries = iter([FULL] * 3)

    def align(*arguments: Any) -> Any:
        for words in tries:
            assert using.wait(SOON_S)
            raise RuntimeError(words)
        aligned.set()
        return real_align(*arguments)

    monkeypatch.setattr(own._cache, "drop", watched)
    monkeypatch.setattr(Diarizer, "diarize", diarize)
    monkeypatch.setattr(Aligner, "align", align)
    found = done("on", clip, SPEAKERS, of=own)
    assert (found.transcript, found.warnings) == (alone.transcript, alone.warnings)
    assert len(dropped) == 1
    assert dropped[0].partition(":")[0] not in ("diarize", "align", "asr")


@pytest.mark.parametrize("overlap", ["off", "on"])
def test_the_speech_model_leaves_the_memory_once_it_is_dropped_for_a_later_stage(
    clip: Audio, overlap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Models(models().model_set, "cpu")
    own._cache._models |= {key: model for key, model in models()._cache._models.items() if not key.startswith("asr")}
    left: list[bool] = []

    def align(*arguments: Any) -> Any:
        (speech,) = [weakref.ref(model) for key, model in own._cache._models.items() if key.startswith("asr")]
        own._cache.drop("asr")
        left.append(speech() is None)
        return real_align(*arguments)

    monkeypatch.setattr(Aligner, "align", align)
    done(overlap, clip, SPEAKERS, of=own)
    assert left == [True]


def test_speakers_that_were_found_before_the_deadline_are_kept(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = done("off", clip, SPEAKERS)
    over, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(Diarizer, "diarize", lambda *a: (real_diarize(*a), ended.set())[0])

    def align(self: Any, segments: Any, *more: Any) -> Any:
        assert ended.wait(SOON_S)
        for thread in threading.enumerate():
            if thread.name == "concurrent stage":
                thread.join(SOON_S)
        over.set()
        return segments

    def check() -> None:
        if over.is_set():
            raise DeadlineReached("deadline_s: 1 seconds have passed")

    monkeypatch.setattr(Aligner, "align", align)
    found = done("on", clip, SPEAKERS, check)
    assert [s.label for s in found.transcript.speakers] == [s.label for s in alone.transcript.speakers]
    assert found.warnings == []


def test_the_stages_are_shown_in_their_order_and_the_second_thread_only_while_it_is_waited_for(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = threading.Event()
    monkeypatch.setattr(StepFuture, "result", lambda self, real=StepFuture.result: (waited.set(), real(self))[1])

    def diarize(self: Any, audio: Any, monitor: Any, *more: Any) -> Any:
        monitor.progress(0.9)
        assert waited.wait(SOON_S)
        return real_diarize(self, audio, monitor, *more)

    monkeypatch.setattr(Diarizer, "diarize", diarize)
    shown: list[tuple[str, str]] = []
    put = Progress._put

    def seen(self: Progress, stage: str, fraction: float) -> None:
        shown.append((threading.current_thread().name, stage))
        put(self, stage, fraction)

    monkeypatch.setattr(Progress, "_put", seen)
    done("on", clip, SPEAKERS)
    names = [stage for _, stage in shown]
    assert names == sorted(names, key=["transcribe", "align", "diarize"].index)
    assert {stage for thread, stage in shown if thread == "concurrent stage"} == {"diarize"}


def quiet(stopped: Callable[[], None] = lambda: None) -> JobContext:
    """The context of no job."""
    return JobContext(Progress(lambda event: None, []), JobRecord(), stopped)


def two_threads() -> StageExecutor:
    return StageExecutor(quiet(), SideStream("cpu", "on"))


@pytest.mark.parametrize("overlap", ["on", "off"])
@pytest.mark.parametrize("outcome", ["found", ValueError("x"), SystemExit(1), Cancelled("x")])
@pytest.mark.parametrize("awaited", [False, True])
def test_what_a_step_gives_or_raises_is_what_its_job_gets(outcome: Any, awaited: bool, overlap: Any) -> None:
    def step(monitor: Monitor) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with StageExecutor(quiet(), SideStream("cpu", overlap)) as executor:
        future = executor.submit(step)
        assert future.concurrent == executor.busy == (overlap == "on")
        if awaited and isinstance(outcome, BaseException):
            with pytest.raises(type(outcome)):
                future.result()
            assert not future.done
        elif awaited:
            assert [future.result(), future.result()] == [outcome] * 2
            assert future.done
        if awaited:
            assert not executor.busy


def test_a_job_has_one_concurrent_step() -> None:
    with two_threads() as executor:
        assert executor.submit(lambda monitor: 5).result() == 5
        with pytest.raises(RuntimeError, match="one concurrent step"):
            executor.submit(lambda monitor: 6)


def test_a_step_that_failed_in_the_second_thread_is_done_again_in_the_jobs_own() -> None:
    threads: list[str] = []

    def step(monitor: Monitor) -> int:
        threads.append(threading.current_thread().name)
        if len(threads) == 1:
            raise RuntimeError(FULL)
        return 5

    with two_threads() as executor:
        future = executor.submit(step)
        with pytest.raises(GpuOutOfMemory):
            future.result()
        assert future.result() == 5
    assert threads == ["concurrent stage", threading.current_thread().name]
    assert future.seconds == 0.0


def test_what_failed_holds_nothing_of_the_work_in_memory() -> None:
    import gc
    import weakref

    class Tensor:
        pass

    kept: list[weakref.ref[Tensor]] = []

    def work(monitor: Monitor) -> Any:
        tensor = Tensor()
        kept.append(weakref.ref(tensor))
        try:
            raise RuntimeError("first")
        except RuntimeError:
            raise ValueError("second") from None

    gc.disable()
    try:
        with two_threads() as executor:
            future = executor.submit(work)
            with pytest.raises(ValueError, match="second"):
                future.result()
            assert kept[0]() is None
    finally:
        gc.enable()


def test_the_second_thread_logs_under_its_jobs_id() -> None:
    token = job_id.set("job-7")
    try:
        with two_threads() as executor:
            assert executor.submit(lambda monitor: job_id.get()).result() == "job-7"
    finally:
        job_id.reset(token)


def test_on_the_cpu_the_second_thread_takes_half_and_leaves_the_first_its_number() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with two_threads() as executor:
            assert executor.submit(lambda monitor: torch.get_num_threads()).result() == 2
            assert torch.get_num_threads() == 4
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [4]
    finally:
        torch.set_num_threads(before)


def test_free_memory_is_told_while_another_thread_imports_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    monkeypatch.setattr(machine, "free_gpu_memory", lambda: 7)
    assert machine.spare_gpu_memory() == 7


@pytest.mark.parametrize(
    ("device", "free", "cores", "room"),
    [
        ("cpu", 0, 3, False),
        ("cpu", 0, 4, True),
        ("cuda", 0, 64, False),
        ("cuda", LEAST_FREE - 1, 64, False),
        ("cuda", LEAST_FREE, 1, True),
    ],
)
def test_there_is_room_beside_by_free_memory_or_by_cores(
    monkeypatch: pytest.MonkeyPatch, device: str, free: int, cores: int, room: bool
) -> None:
    monkeypatch.setattr(machine, "free_gpu_memory", lambda: free or None)
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    assert SideStream(device).has_room() is room
    assert SideStream(device, "on").has_room()
    assert not SideStream(device, "off").has_room()


def test_room_is_measured_while_another_thread_is_still_importing_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    monkeypatch.setattr(machine, "free_gpu_memory", lambda: LEAST_FREE)
    assert SideStream("cuda").has_room()


def test_memory_that_torch_holds_unused_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(machine, "free_gpu_memory", lambda: LEAST_FREE - 10)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 30)
    for used, room in ((20, True), (21, False)):
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda used=used: used)
        assert SideStream("cuda").has_room() is room


@pytest.mark.models
def test_memory_that_an_idle_second_thread_cannot_give_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an engine that tries the same batch again would do so for ever."""
    monkeypatch.setattr(executor_module, "release_memory", lambda: None)
    with two_threads() as executor:
        assert not executor.pause()
        future = executor.submit(lambda monitor: 5)
        while not future.done:
            time.sleep(0.001)
        assert not executor.pause()
        assert future.result() == 5
    with two_threads() as executor:
        goes_on = threading.Event()
        future = executor.submit(lambda monitor: (ticking(monitor, goes_on), 7)[1])
        assert [executor.pause(), executor.pause()] == [True, False]
        goes_on.set()
        assert future.result() == 7


@pytest.mark.models
def test_work_that_does_not_fit_beside_others_waits_for_their_end_and_can_be_stopped_there() -> None:
    waited: list[bool] = []

    def work(monitor: Monitor) -> int:
        waited.append(executor.wait_alone())
        waited.append(executor.wait_alone())
        return 5

    with two_threads() as executor:
        future = executor.submit(work)
        assert future._paused.wait(SOON_S)
        assert waited == []
        assert future.result() == 5
    assert waited == [True, False]
    with two_threads() as executor:
        future = executor.submit(work)
        assert future._paused.wait(SOON_S)
    assert waited == [True, False]


def test_models_compute_in_float32_from_the_first_job_on_and_not_from_pyannotes_first_run() -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    assert ModelCache().get("aligner", lambda: 5) == 5
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.gpu
def test_on_a_gpu_the_second_thread_has_one_stream_that_waits_for_no_other(clip: Audio) -> None:
    import ctypes

    import torch

    side, streams = SideStream("cuda", "on"), []
    for _ in range(2):
        with StageExecutor(quiet(), side) as executor:
            streams.append(executor.submit(lambda monitor: torch.cuda.current_stream().cuda_stream).result())
    assert streams[0] == streams[1] != torch.cuda.current_stream().cuda_stream
    flags = ctypes.c_uint()
    library = ctypes.CDLL("libcudart.so.12")
    assert library.cudaStreamGetFlags(ctypes.c_void_p(streams[0]), ctypes.byref(flags)) == 0
    assert flags.value == 1  # cudaStreamNonBlocking
    gpu = Models(models().model_set, "cuda")
    assert done("on", clip, SPEAKERS, of=gpu).transcript == done("off", clip, SPEAKERS, of=gpu).transcript
