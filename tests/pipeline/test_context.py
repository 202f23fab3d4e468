"""A job's context: what becomes of a stage that fails, and seconds that are counted once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from scribe.errors import (
    Cancelled,
    DeadlineReached,
    GatedModel,
    GpuBroken,
    GpuOutOfMemory,
    MemoryExhausted,
    ShuttingDown,
    StageFailed,
)
from scribe.pipeline.context import JobContext
from scribe.pipeline.progress import Progress
from scribe.pipeline.record import JobRecord
from scribe.runtime import gpu_errors
from scribe.runtime.gpu_errors import POISONED, gpu_failure
from scribe.runtime.monitor import Monitor


def job(strict: bool = False, stopped: Callable[[], None] = lambda: None) -> JobContext:
    return JobContext(Progress(lambda event: None, []), JobRecord(), stopped, strict)


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> None:
        raise error

    return work


def test_a_stage_that_works_gives_its_result_and_its_seconds() -> None:
    this = job()
    assert this.attempt("align", "…", lambda: 5) == 5
    assert set(this.record.timings) == {"align"}
    assert this.record.warnings == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GatedModel("accept the terms of x/y"), "gated_model"),
        (ValueError("/root/secret"), "diarize_failed"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "gpu_out_of_memory"),
        (GpuOutOfMemory("x"), "gpu_out_of_memory"),
    ],
)
def test_a_failure_is_a_warning_that_shows_nothing_of_the_inside(error: Exception, code: str) -> None:
    this = job()
    assert this.attempt("diarize", "the speakers are not separated", raising(error)) is None
    (notice,) = this.record.warnings
    assert (notice.code, notice.stage) == (code, "diarize")
    assert notice.message.endswith("the speakers are not separated")
    assert "/root" not in notice.message
    assert not this.record.partial


def test_with_strict_a_failure_fails_the_job_and_names_stage_and_code() -> None:
    with pytest.raises(StageFailed) as failed:
        job(strict=True).attempt("diarize", "…", raising(GatedModel("accept the terms of x/y")))
    assert failed.value.details == {"stage": "diarize", "code": "gated_model"}
    assert "x/y" in failed.value.message


@pytest.mark.parametrize(
    "error", [Cancelled("x"), ShuttingDown("x"), GpuBroken("x"), KeyboardInterrupt(), SystemExit(1)]
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_stopped_job_and_a_broken_gpu_are_never_swallowed(error: BaseException, strict: bool) -> None:
    with pytest.raises(type(error)):
        job(strict).attempt("align", "…", raising(error))


# As the libraries write them: torch 2.8, CTranslate2 4.8, cuDNN 9.
WORDS = {
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.6 GiB": "gpu_out_of_memory",
    "CUDA failed with error out of memory": "gpu_out_of_memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": "gpu_out_of_memory",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED": "gpu_out_of_memory",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED": "gpu_out_of_memory",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED": "gpu_out_of_memory",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`": "gpu_out_of_memory?",
    "cuBLAS failed with status CUBLAS_STATUS_NOT_INITIALIZED": "gpu_out_of_memory?",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED": "gpu_out_of_memory?",
    "GET was unable to find an engine to execute this computation": "gpu_out_of_memory?",
    "Unable to find a valid cuDNN algorithm to run convolution": "gpu_out_of_memory?",
    "cuFFT error: CUFFT_INTERNAL_ERROR": "gpu_out_of_memory?",
    "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`": "gpu_out_of_memory?",
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp": "gpu_out_of_memory?",
    "std::bad_alloc": "out_of_memory",
    "[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: not enough memory: you tried to allocate": "out_of_memory",
    "CUDA error: no kernel image is available for execution on the device": "gpu_unsuited",
    "CUDA failed with error no kernel image is available for execution on the device": "gpu_unsuited",
    "CUDA failed with error CUDA driver version is insufficient for CUDA runtime version": "gpu_unsuited",
    "CUDA error: the provided PTX was compiled with an unsupported toolchain.": "gpu_unsuited",
    "Library libcublas.so.12 is not found or cannot be loaded": "gpu_unsuited",
    "Could not load library libcudnn_graph.so.9. Error: libcudnn_graph.so.9": "gpu_unsuited",
    "CUDA error: device-side assert triggered": "gpu_broken",
    "CUDA error: an illegal memory access was encountered": "gpu_broken",
    "CUDA failed with error unspecified launch failure": "gpu_broken",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED": "gpu_broken",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`": "gpu_broken",
    "shapes do not match": "none",
    "the file libcurl.so is not found": "none",
}


@pytest.mark.parametrize(("words", "code"), WORDS.items())
def test_cudas_words_say_whether_memory_a_new_process_or_another_gpu_is_needed(words: str, code: str) -> None:
    failure = gpu_failure(RuntimeError(words))
    doubtful = isinstance(failure, GpuOutOfMemory) and failure.doubtful
    assert (failure.code if failure else "none") + "?" * doubtful == code


@pytest.mark.parametrize(
    ("error", "in_use", "kind"),
    [
        (MemoryError("std::bad_alloc"), False, MemoryExhausted),
        (RuntimeError("std::bad_alloc"), True, GpuOutOfMemory),
        (MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,)"), True, MemoryExhausted),
        (MemoryError(), False, MemoryExhausted),
    ],
)
def test_memory_is_the_gpus_only_where_one_is_in_use(
    error: Exception, in_use: bool, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_errors, "gpu_in_use", lambda: in_use)
    assert type(gpu_failure(error)) is kind


def test_a_stage_that_lacks_the_machines_memory_says_so() -> None:
    this = job()
    assert this.attempt("align", "words have no times of their own", raising(MemoryError())) is None
    (warning,) = this.record.warnings
    assert (warning.code, "the machine's memory does not suffice" in warning.message) == ("out_of_memory", True)


def test_a_gpu_that_no_process_will_mend_is_no_reason_to_try_again() -> None:
    with pytest.raises(StageFailed) as failed:
        job(strict=True).attempt("align", "…", raising(RuntimeError("CUDA error: no kernel image is available")))
    assert (failed.value.details["code"], failed.value.retryable) == ("gpu_unsuited", False)


@pytest.mark.parametrize("words", POISONED)
def test_a_poisoned_gpu_is_known_by_cudas_words(words: str) -> None:
    error = RuntimeError(f"CUDA error: {words.upper()} encountered")
    assert isinstance(gpu_failure(error), GpuBroken)
    with pytest.raises(GpuBroken):
        job().attempt("align", "…", raising(error))


def test_another_error_says_nothing_about_the_gpu() -> None:
    assert gpu_failure(RuntimeError("shapes do not match")) is None


def test_a_deadline_in_an_optional_stage_makes_the_result_partial() -> None:
    this = job()
    assert (
        this.attempt(
            "align", "words have no times of their own", raising(DeadlineReached("deadline_s: 3 seconds have passed"))
        )
        is None
    )
    assert this.record.partial
    assert [n.code for n in this.record.warnings] == ["deadline_reached"]


def test_no_stage_begins_after_the_job_was_stopped() -> None:
    began = []

    def stopped() -> None:
        raise Cancelled("x")

    with pytest.raises(Cancelled), job(stopped=stopped).stage("align"):
        began.append(1)
    with pytest.raises(Cancelled):
        job(stopped=stopped).monitor.progress(0.5)
    assert began == []


def test_seconds_inside_a_stage_are_counted_once() -> None:
    this = job()
    began = time.monotonic()
    with this.stage("transcribe"):
        time.sleep(0.02)
        with this.record.timed("load"):
            time.sleep(0.05)
            with this.record.timed("inner"):
                time.sleep(0.03)
        with this.record.timed("load"):
            time.sleep(0.01)
    spent = time.monotonic() - began
    assert this.record.timings["load"] >= 0.06
    assert this.record.timings["inner"] >= 0.03
    assert this.record.timings["transcribe"] >= 0.02
    assert sum(this.record.timings.values()) <= spent + 1e-6


def test_the_clock_survives_a_stage_that_raises() -> None:
    this = job()
    with pytest.raises(ValueError), this.stage("a"), this.record.timed("load"):
        raise ValueError
    with this.stage("b"):
        time.sleep(0.01)
    assert this.record.timings["b"] >= 0.01
    assert all(seconds >= 0 for seconds in this.record.timings.values())


def test_the_same_notice_is_told_once() -> None:
    this = job()
    this.record.warn("a", "b", "c")
    this.record.warn("a", "b", "c")
    assert len(this.record.warnings) == 1


def test_parts_of_a_stage_make_one_percentage() -> None:
    seen: list[float] = []
    monitor = Monitor(report=seen.append)
    for number in range(2):
        for fraction in (0.5, 1.0):
            monitor.part(number, 2).progress(fraction)
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_a_silent_part_can_be_stopped_and_shows_nothing() -> None:
    seen: list[float] = []
    stops = iter([None, Cancelled("x")])

    def stopped() -> None:
        if (error := next(stops)) is not None:
            raise error

    silent = Monitor(stopped, seen.append).silent()
    silent.progress(0.5)
    with pytest.raises(Cancelled):
        silent.progress(0.6)
    assert seen == []


def test_options_that_tell_what_is_said_are_in_the_answer_and_in_no_log() -> None:
    record = JobRecord()
    record.use(beam_size=5, language="en")
    record.use_private(hotwords="Zorbamax")
    record.use(batch_size=4)
    assert record.options_used == {"beam_size": 5, "language": "en", "hotwords": "Zorbamax", "batch_size": 4}
    assert record.loggable == {"beam_size": 5, "language": "en", "batch_size": 4}


def test_a_warning_that_names_a_person_is_in_the_answer_and_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    record = JobRecord()
    with caplog.at_level("INFO"):
        record.warn("sample_unusable", "name", "the sample of 'Zorbamax' cannot be used", private=True)
    assert "Zorbamax" in record.warnings[0].message
    assert "sample_unusable" in caplog.text
    assert "Zorbamax" not in caplog.text
