"""Diarization beside recognition: the same answer, the same faults at the same place, and no thread that stays behind."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.demo import asked, excerpt, models, recording, voice

from scribe.alignment.aligner import Aligner
from scribe.audio.decode import Audio
from scribe.diarization.diarizer import Diarizer
from scribe.engines.batched import BatchedEngine
from scribe.engines.faster_whisper import WhisperEngine
from scribe.errors import Cancelled, DeadlineReached, GpuBroken, StageFailed
from scribe.models.cache import ModelCache
from scribe.models.loader import Models
from scribe.pipeline import background as companion_room
from scribe.pipeline.background import BackgroundStage
from scribe.pipeline.overlap import SideStream
from scribe.pipeline.predictor import Prediction, Predictor
from scribe.pipeline.progress import Progress
from scribe.pipeline.stages import Stages
from scribe.runtime import machine
from scribe.runtime.gpu_memory import LEAST_FREE
from scribe.runtime.log import job_id

SOON_S = 30.0
SPEAKERS = {"language": "en", "quality": "fast", "diarization": True}
FULL = "CUDA out of memory. Tried to allocate 2 GiB"
real_transcribe, real_diarize, real_align = WhisperEngine.transcribe, Diarizer.diarize, Aligner.align


@pytest.fixture(scope="module")
def clip() -> Audio:
    return excerpt("companion-clip", recording("conversation.mp3")[0], 0.0, 12.0)


never_told: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    never_told.clear()
    yield
    assert never_told == []
    assert [t.name for t in threading.enumerate() if t.name == "companion"] == []


def done(
    overlap: Any,
    audio: Audio,
    options: dict[str, Any],
    check: Callable[[], None] = lambda: None,
    of: Models | None = None,
) -> Prediction:
    """One job of a predictor of its own; its GPU is free afterwards."""
    predictor = Predictor(of or models(), overlap)
    voices = [voice("Anna")] if "speaker_samples" in options else []
    try:
        with Progress(lambda event: None, ["transcribe", "align", "diarize", "name"], interval_s=0.0) as progress:
            return predictor.run([audio], asked(**options), voices, progress, check)
    finally:
        assert not predictor.gpu.taken


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


def until_told(tick: Callable[[float | None], None]) -> None:
    """Work that goes on until it is stopped from outside."""
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        tick(None)
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
    assert (both.notices, both.models, both.partial) == (alone.notices, alone.models, alone.partial)
    assert both.effective.pop("diarized_beside_s") > 0
    assert both.effective == alone.effective
    assert set(both.timings) == set(alone.timings)
    assert sum(both.timings.values()) <= spent


def test_in_parity_mode_and_where_nobody_asked_for_speakers_nothing_runs_beside(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(WhisperEngine, "transcribe", lambda *a: (real_transcribe(*a), order.append("heard"))[0])
    monkeypatch.setattr(Diarizer, "diarize", lambda *a: (order.append("who"), real_diarize(*a))[1])
    stock = Models(models().places, "cpu", parity=True)
    stock._shelf = models()._shelf
    done("on", clip, SPEAKERS, of=stock)
    assert order == ["heard", "who"]
    done("on", clip, {**SPEAKERS, "diarization": False})
    assert order == ["heard", "who", "heard"]


def test_without_speech_nobody_is_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BackgroundStage, "begin", lambda *a: pytest.fail("diarization of silence"))
    found = done("on", recording("silence.flac")[0], SPEAKERS)
    assert [n.code for n in found.notices] == ["no_speech"]


def test_speech_without_words_stops_diarization_and_says_nothing_of_it(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = Meeting(monkeypatch)
    meeting.transcribe = lambda *a: 4  # type: ignore[method-assign]
    meeting.diarize = lambda self, audio, tick, *a: until_told(tick)  # type: ignore[method-assign]
    found = done("on", clip, SPEAKERS | {"strict": True})
    assert ([n.code for n in found.notices], found.transcript.segments) == (["speech_without_text"], ())


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
    late = [n.stage for n in found.notices if n.code == "deadline_reached"]
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
            answers.append((found.transcript, found.notices))
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
    # The engine: self, audio, chunks, language, options, emit, tick, …
    meeting.transcribe = lambda *a: until_told(a[6])  # type: ignore[method-assign]
    with pytest.raises(GpuBroken):
        done("on", clip, SPEAKERS | {"strict": strict})


def test_a_fault_in_recognition_stops_what_runs_beside(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    meeting = Meeting(monkeypatch)
    meeting.transcribe = broken  # type: ignore[method-assign]
    meeting.diarize = lambda self, audio, tick, *a: until_told(tick)  # type: ignore[method-assign]
    with pytest.raises(GpuBroken):
        done("on", clip, SPEAKERS)


def test_diarization_that_does_not_fit_beside_is_done_alone(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, kept = done("off", clip, SPEAKERS), models()._shelf.names()
    tries: list[str] = []

    def diarize(*arguments: Any) -> Any:
        tries.append(threading.current_thread().name)
        if len(tries) == 1:
            raise RuntimeError(FULL)
        return real_diarize(*arguments)

    meeting = Meeting(monkeypatch)
    meeting.diarize = diarize  # type: ignore[method-assign]
    found = done("on", clip, SPEAKERS)
    assert (found.transcript, found.notices) == (alone.transcript, alone.notices)
    assert tries[0] == "companion"
    assert tries[1:] == [threading.current_thread().name]
    assert models()._shelf.names() == kept
    assert "diarized_beside_s" not in found.effective


def ticking(tick: Callable[[float | None], None], until: threading.Event) -> None:
    """Work that goes on, and pauses where its tick does, until the event."""
    deadline = time.monotonic() + SOON_S
    while not until.is_set() and time.monotonic() < deadline:
        tick(None)
        time.sleep(0.002)


def test_recognition_that_does_not_fit_beside_makes_diarization_pause_and_nothing_of_either_is_lost(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = done("off", clip, SPEAKERS)
    batches: list[int] = []
    begun: list[str] = []
    working, recognized = threading.Event(), threading.Event()
    real_run, real_hold = BatchedEngine._heard, BackgroundStage._hold

    def run(self: Any, audio: Any, chunks: Any, language: Any, options: Any, batch: int, tick: Any) -> Any:
        batches.append(batch)
        if len(batches) == 1:
            assert working.wait(SOON_S)
        if working.is_set():
            raise RuntimeError(FULL)
        recognized.set()
        return real_run(self, audio, chunks, language, options, batch, tick)

    def hold(self: Any) -> None:
        working.clear()
        real_hold(self)

    def diarize(self: Any, audio: Any, tick: Any, *more: Any) -> Any:
        begun.append(threading.current_thread().name)
        working.set()
        ticking(tick, recognized)
        return real_diarize(self, audio, tick, *more)

    monkeypatch.setattr(BatchedEngine, "_heard", run)
    monkeypatch.setattr(BackgroundStage, "_hold", hold)
    monkeypatch.setattr(Diarizer, "diarize", diarize)
    found = done("on", clip, SPEAKERS)
    assert (found.transcript, found.notices) == (alone.transcript, alone.notices)
    assert batches[:3] == [4, 4, 4]
    assert begun == ["companion"]


def test_no_model_is_dropped_below_the_thread_that_uses_it(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = done("off", clip, SPEAKERS)
    own = Models(models().places, "cpu")
    own._shelf._models |= models()._shelf._models
    using, aligned = threading.Event(), threading.Event()
    dropped: list[str] = []
    drop = own._shelf.drop

    def watched(name: str) -> None:
        assert using.is_set()
        dropped.append(name)
        drop(name)

    def diarize(self: Any, audio: Any, tick: Any, *more: Any) -> Any:
        using.set()
        ticking(tick, aligned)
        return real_diarize(self, audio, tick, *more)

    # Beside: after the caches, after the pause, after a model left.
    tries = iter([FULL] * 3)

    def align(*arguments: Any) -> Any:
        for words in tries:
            assert using.wait(SOON_S)
            raise RuntimeError(words)
        aligned.set()
        return real_align(*arguments)

    monkeypatch.setattr(own._shelf, "drop", watched)
    monkeypatch.setattr(Diarizer, "diarize", diarize)
    monkeypatch.setattr(Aligner, "align", align)
    found = done("on", clip, SPEAKERS, of=own)
    assert (found.transcript, found.notices) == (alone.transcript, alone.notices)
    assert len(dropped) == 1
    assert dropped[0].partition(":")[0] not in ("diarize", "align", "asr")


def test_speakers_that_were_found_before_the_deadline_are_kept(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = done("off", clip, SPEAKERS)
    over, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(Diarizer, "diarize", lambda *a: (real_diarize(*a), ended.set())[0])

    def align(self: Any, segments: Any, *more: Any) -> Any:
        assert ended.wait(SOON_S)
        for thread in threading.enumerate():
            if thread.name == "companion":
                thread.join(SOON_S)
        over.set()
        return segments

    def check() -> None:
        if over.is_set():
            raise DeadlineReached("deadline_s: 1 seconds have passed")

    monkeypatch.setattr(Aligner, "align", align)
    found = done("on", clip, SPEAKERS, check)
    assert [s.label for s in found.transcript.speakers] == [s.label for s in alone.transcript.speakers]
    assert found.notices == ()


def test_the_stages_are_shown_in_their_order_and_the_second_thread_only_while_it_is_waited_for(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = threading.Event()
    monkeypatch.setattr(
        BackgroundStage, "result", lambda self, real=BackgroundStage.result: (waited.set(), real(self))[1]
    )

    def diarize(self: Any, audio: Any, tick: Any, *more: Any) -> Any:
        tick(0.9)
        assert waited.wait(SOON_S)
        return real_diarize(self, audio, tick, *more)

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
    assert {stage for thread, stage in shown if thread == "companion"} == {"diarize"}


class Quiet(Stages):
    """Stages of no job."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        super().__init__(Progress(lambda event: None, []), check, strict=False)


@pytest.mark.parametrize("outcome", ["found", ValueError("x"), SystemExit(1), Cancelled("x")])
@pytest.mark.parametrize("awaited", [False, True])
def test_what_the_work_gives_or_raises_is_what_its_job_gets(outcome: Any, awaited: bool) -> None:
    def work(tick: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    stages = Quiet()
    with BackgroundStage[Any](stages, SideStream("cpu", "on")) as companion:
        companion.begin(work)
        if awaited and isinstance(outcome, BaseException):
            with pytest.raises(type(outcome)):
                companion.result()
        elif awaited:
            assert companion.result() == outcome
            assert companion.result() is None
    assert stages.beside is None


def test_what_failed_holds_nothing_of_the_work_in_memory() -> None:
    import gc
    import weakref

    class Tensor:
        pass

    kept: list[weakref.ref[Tensor]] = []

    def work(tick: Any) -> Any:
        tensor = Tensor()
        kept.append(weakref.ref(tensor))
        try:
            raise RuntimeError("first")
        except RuntimeError:
            raise ValueError("second") from None

    gc.disable()
    try:
        with BackgroundStage[Any](Quiet(), SideStream("cpu", "on")) as companion:
            companion.begin(work)
            with pytest.raises(ValueError, match="second"):
                companion.result()
            assert kept[0]() is None
    finally:
        gc.enable()


def test_the_second_thread_logs_under_its_jobs_id() -> None:
    token = job_id.set("job-7")
    try:
        with BackgroundStage[str](Quiet(), SideStream("cpu", "on")) as companion:
            companion.begin(lambda tick: job_id.get())
            assert companion.result() == "job-7"
    finally:
        job_id.reset(token)


def test_on_the_cpu_the_second_thread_takes_half_and_leaves_the_first_its_number() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with BackgroundStage[int](Quiet(), SideStream("cpu", "on")) as companion:
            companion.begin(lambda tick: torch.get_num_threads())
            assert companion.result() == 2
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


def test_memory_that_an_idle_second_thread_cannot_give_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an engine that tries the same batch again would do so for ever."""
    monkeypatch.setattr(companion_room, "release_memory", lambda: None)
    stages = Quiet()
    with BackgroundStage[int](stages, SideStream("cpu", "on")) as companion:
        assert not stages.give_way()
        companion.begin(lambda tick: 5)
        while not companion.ready:
            time.sleep(0.001)
        assert not stages.give_way()
        assert companion.result() == 5
    with BackgroundStage[int](stages, SideStream("cpu", "on")) as companion:
        goes_on = threading.Event()
        companion.begin(lambda tick: (ticking(tick, goes_on), 7)[1])
        assert [stages.give_way(), stages.give_way()] == [True, False]
        goes_on.set()
        assert companion.result() == 7


def test_work_that_does_not_fit_beside_others_waits_for_their_end_and_can_be_stopped_there() -> None:
    waited: list[bool] = []

    def work(tick: Any) -> int:
        waited.append(companion.wait_alone())
        waited.append(companion.wait_alone())
        return 5

    with BackgroundStage[int](Quiet(), SideStream("cpu", "on")) as companion:
        companion.begin(work)
        assert companion._paused.wait(SOON_S)
        assert waited == []
        assert companion.result() == 5
    assert waited == [True, False]
    with BackgroundStage[int](Quiet(), SideStream("cpu", "on")) as companion:
        companion.begin(work)
        assert companion._paused.wait(SOON_S)
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

    lane, streams = SideStream("cuda", "on"), []
    for _ in range(2):
        with BackgroundStage[Any](Quiet(), lane) as companion:
            companion.begin(lambda tick: torch.cuda.current_stream().cuda_stream)
            streams.append(companion.result())
    assert streams[0] == streams[1] != torch.cuda.current_stream().cuda_stream
    flags = ctypes.c_uint()
    library = ctypes.CDLL("libcudart.so.12")
    assert library.cudaStreamGetFlags(ctypes.c_void_p(streams[0]), ctypes.byref(flags)) == 0
    assert flags.value == 1  # cudaStreamNonBlocking
    gpu = Models(models().places, "cuda")
    assert done("on", clip, SPEAKERS, of=gpu).transcript == done("off", clip, SPEAKERS, of=gpu).transcript
