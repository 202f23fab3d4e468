"""A job's stages: what a failure becomes, and seconds that are counted once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from scribe.errors import Cancelled, DeadlineReached, GatedModel, GpuBroken, GpuOutOfMemory, ShuttingDown, StageFailed
from scribe.pipeline.progress import Progress
from scribe.pipeline.stages import Stages
from scribe.runtime.gpu_errors import POISONED, gpu_failure


def stages(strict: bool = False, check: Callable[[], None] = lambda: None) -> Stages:
    return Stages(Progress(lambda event: None, []), check, strict)


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> None:
        raise error

    return work


def test_a_stage_that_works_gives_its_result_and_its_seconds() -> None:
    s = stages()
    assert s.attempt("align", "…", lambda: 5) == 5
    assert set(s.timings) == {"align"}
    assert s.notices == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GatedModel("accept the terms of x/y"), "gated_model"),
        (ValueError("/root/secret"), "diarize_failed"),
        (MemoryError(), "diarize_failed"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "gpu_out_of_memory"),
        (GpuOutOfMemory("x"), "gpu_out_of_memory"),
    ],
)
def test_a_failure_is_a_warning_that_shows_nothing_of_the_inside(error: Exception, code: str) -> None:
    s = stages()
    assert s.attempt("diarize", "the speakers are not separated", raising(error)) is None
    (notice,) = s.notices
    assert (notice.code, notice.stage) == (code, "diarize")
    assert notice.message.endswith("the speakers are not separated")
    assert "/root" not in notice.message
    assert not s.partial


def test_with_strict_a_failure_fails_the_job_and_names_stage_and_code() -> None:
    with pytest.raises(StageFailed) as failed:
        stages(strict=True).attempt("diarize", "…", raising(GatedModel("accept the terms of x/y")))
    assert failed.value.details == {"stage": "diarize", "code": "gated_model"}
    assert "x/y" in failed.value.message


@pytest.mark.parametrize(
    "error", [Cancelled("x"), ShuttingDown("x"), GpuBroken("x"), KeyboardInterrupt(), SystemExit(1)]
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_stopped_job_and_a_broken_gpu_are_never_swallowed(error: BaseException, strict: bool) -> None:
    with pytest.raises(type(error)):
        stages(strict).attempt("align", "…", raising(error))


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
    "std::bad_alloc": "gpu_out_of_memory?",
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


def test_a_gpu_that_no_process_will_mend_is_no_reason_to_try_again() -> None:
    with pytest.raises(StageFailed) as failed:
        stages(strict=True).attempt("align", "…", raising(RuntimeError("CUDA error: no kernel image is available")))
    assert (failed.value.details["code"], failed.value.retryable) == ("gpu_unsuited", False)


@pytest.mark.parametrize("words", POISONED)
def test_a_poisoned_gpu_is_known_by_cudas_words(words: str) -> None:
    error = RuntimeError(f"CUDA error: {words.upper()} encountered")
    assert isinstance(gpu_failure(error), GpuBroken)
    with pytest.raises(GpuBroken):
        stages().attempt("align", "…", raising(error))


def test_another_error_says_nothing_about_the_gpu() -> None:
    assert gpu_failure(RuntimeError("shapes do not match")) is None


def test_a_deadline_in_an_optional_stage_makes_the_result_partial() -> None:
    s = stages()
    assert (
        s.attempt(
            "align", "words have no times of their own", raising(DeadlineReached("deadline_s: 3 seconds have passed"))
        )
        is None
    )
    assert s.partial
    assert [n.code for n in s.notices] == ["deadline_reached"]


def test_no_stage_begins_after_the_job_was_stopped() -> None:
    began = []

    def check() -> None:
        raise Cancelled("x")

    with pytest.raises(Cancelled), stages(check=check).enter("align"):
        began.append(1)
    with pytest.raises(Cancelled):
        stages(check=check).tick(0.5)
    assert began == []


def test_seconds_inside_a_stage_are_counted_once() -> None:
    s = stages()
    began = time.monotonic()
    with s.enter("transcribe"):
        time.sleep(0.02)
        with s.timed("load"):
            time.sleep(0.05)
            with s.timed("inner"):
                time.sleep(0.03)
        with s.timed("load"):
            time.sleep(0.01)
    spent = time.monotonic() - began
    assert s.timings["load"] >= 0.06
    assert s.timings["inner"] >= 0.03
    assert s.timings["transcribe"] >= 0.02
    assert sum(s.timings.values()) <= spent + 1e-6


def test_the_clock_survives_a_stage_that_raises() -> None:
    s = stages()
    with pytest.raises(ValueError), s.enter("a"), s.timed("load"):
        raise ValueError
    with s.enter("b"):
        time.sleep(0.01)
    assert s.timings["b"] >= 0.01
    assert all(seconds >= 0 for seconds in s.timings.values())


def test_the_same_notice_is_told_once() -> None:
    s = stages()
    s.notice("a", "b", "c")
    s.notice("a", "b", "c")
    assert len(s.notices) == 1


def test_parts_of_a_stage_make_one_percentage() -> None:
    seen: list[float | None] = []
    s = stages()
    s._progress.tick = seen.append  # type: ignore[method-assign]
    for number in range(2):
        for fraction in (None, 0.5, 1.0):
            s.share(number, 2)(fraction)
    assert seen == [None, 0.25, 0.5, None, 0.75, 1.0]
