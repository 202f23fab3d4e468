"""F: models that cannot be had, do not load, run out of memory or break the GPU; and nothing of one job in the next."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.platform import Platform
from contract.worker import REPOSITORY, WorkerProcess
from support.demo import SAMPLES, before_decoding, configured, models, predictor
from support.hub import Hub

from scribe.diarization.diarizer import Diarization
from scribe.engines.batched import BatchedEngine
from scribe.errors import GpuOutOfMemory
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.pipeline.predictor import Predictor
from scribe.settings import ROOT

from .healthy import Worker, assert_failed, base64_of, wav

TOKEN = "hf_canarytoken"
SPEECH = base64_of((SAMPLES / "voices" / "anna.flac").read_bytes())
QUICK = {"audio_base64": SPEECH, "quality": "fast", "inline": "full"}


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """A worker with the demo models."""
    return Worker(tmp_path / "jobs", predictor=Counted(predictor()))


class Counted:
    """The real predictor, with what `Worker` looks at."""

    def __init__(self, real: Predictor) -> None:
        self._real = real
        self.models = real.models
        self.runs = 0

    def run(self, *arguments: Any) -> Any:
        self.runs += 1
        return self._real.run(*arguments)


@pytest.fixture
def inner(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Puts a stand-in before the speech model's decoding: stand_in(real, features, prompts, **options)."""
    return functools.partial(before_decoding, monkeypatch, models().engine(models().model_set.speech()))


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as served:
        served.publish("me/diar", {"config.yaml": b"x"})
        yield served


def worker_at(hub: Hub, platform: Platform, folder: Path, **env: str) -> WorkerProcess:
    """A real worker whose diarization model is in the stand-in hub and not on this machine."""
    own = {
        "MODEL_SET": "demo",
        "WHISPERX_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "JOBS_DIR": str(folder / "jobs"),
        "DIARIZATION_MODEL": "me/diar",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "NO_PROXY": "127.0.0.1",
    }
    return WorkerProcess(platform, own | env, cwd=folder)


def warned(platform: Platform, worker: WorkerProcess) -> dict[str, str]:
    """The diarization's warning of a job that is otherwise done."""
    job = platform.submit({"input": {**QUICK, "language": "en", "diarization": True}})
    record = platform.wait(job, 180)
    assert record.status == "COMPLETED", (record.error, worker.tail())
    assert record.output["segments"]
    assert "speaker" not in record.output["segments"][0]
    return next(w for w in record.output["warnings"] if w["stage"] == "diarize")


def test_f1_every_way_not_to_get_the_diarization_model_has_its_sentence_and_costs_no_transcript(
    hub: Hub, tmp_path: Path
) -> None:
    diarization = hub.repositories["me/diar"]
    diarization.gated = True
    with Platform(poll_seconds=0.3) as platform:
        with worker_at(hub, platform, tmp_path) as worker:
            without = warned(platform, worker)
        with worker_at(hub, platform, tmp_path, HF_TOKEN=TOKEN) as worker:
            refused = warned(platform, worker)
            hub.expired = {TOKEN}
            expired = warned(platform, worker)
            hub.expired = set()
            hub.repositories["me/elsewhere"] = hub.repositories.pop("me/diar")
            missing = warned(platform, worker)
    told = [without, refused, expired, missing]
    assert [w["code"] for w in told] == ["gated_model", "gated_model", "gated_model", "model_not_found"]
    assert len({w["message"] for w in told}) == 4
    assert "HF_TOKEN" in without["message"]
    assert "https://huggingface.co/me/diar" in without["message"]
    assert "account of HF_TOKEN" in refused["message"]
    assert "https://huggingface.co/me/diar" in refused["message"]
    assert "make a new one" in expired["message"]
    assert "there is no model me/diar" in missing["message"]
    assert TOKEN not in json.dumps(told)


def test_f2_weights_that_are_half_there_stop_the_worker_at_its_start_and_not_the_first_job(tmp_path: Path) -> None:
    folder = tmp_path / "whisper"
    shutil.copytree(ROOT / "models" / "demo" / "whisper", folder)
    whole = (folder / "model.bin").read_bytes()
    for name, spoil in {"truncated": whole[: len(whole) // 2], "empty": b""}.items():
        (folder / "model.bin").write_bytes(spoil)
        done = started(tmp_path, WHISPERX_MODEL=str(folder))
        assert done.returncode == 1, name
        assert "weights_corrupt" in done.stdout + done.stderr, name


def started(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """init_and_run on the demo models, until it ends."""
    own = {"PATH": os.environ["PATH"], "MODEL_SET": "demo", "WHISPERX_DEVICE": "cpu"}
    own |= {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "src" / "init_and_run.py")],
        cwd=folder,
        env=own | env,
        capture_output=True,
        text=True,
        timeout=240,
    )


NO_NETWORK = """
import os, socket, sys
def refuse(*a, **k): raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
sys.path[:0] = sys.argv[1:3]
from scribe.app.environment import prepare_environment, prepare_offline
from support.demo import configured, models, predicted, recording, voice
settings = configured()
prepare_environment(settings)
prepare_offline(models().model_set.is_local)
assert os.environ["HF_HUB_OFFLINE"] == "1"
models().warm(("asr", "align", "diarization", "speakers"))
print("all loaded")
"""


def test_f3_with_every_model_here_the_hub_is_never_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NO_NETWORK, str(REPOSITORY / "src"), str(REPOSITORY / "tests")],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "all loaded" in done.stdout, done.stderr[-2000:]


def test_f4_memory_that_runs_out_halves_the_batch_with_a_warning(worker: Worker, inner: Callable[..., None]) -> None:
    sizes: list[int] = []

    def above_one(real: Callable[..., Any], features: Any, prompts: Any, **more: Any) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise RuntimeError("CUDA failed with error out of memory")
        return real(features, prompts, **more)

    cut = QUICK | {"chunk_size": 2, "log_prob_threshold": -10}  # what a second look samples differs every time
    plain = worker.ask(**cut)
    inner(above_one)
    answer = worker.ask(**cut, batch_size=4)
    assert answer["segments"] == plain["segments"]
    assert "batch_reduced" in [w["code"] for w in answer["warnings"]]
    assert max(sizes) > 1
    assert sizes[-1] == 1


def test_f4_memory_for_not_even_one_chunk_is_a_code_and_the_next_job_runs(
    worker: Worker, inner: Callable[..., None]
) -> None:
    def never(real: Callable[..., Any], *rest: Any, **more: Any) -> Any:
        if hungry:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return real(*rest, **more)

    hungry = [True]
    inner(never)
    answer = assert_failed(worker.ask(**QUICK), "gpu_out_of_memory")
    assert answer["retryable"] is True
    assert "refresh_worker" not in answer
    hungry.clear()
    worker.assert_healthy()


@pytest.mark.parametrize(
    "words", ["CUDA error: device-side assert triggered", "CUDA error: an illegal memory access was encountered"]
)
def test_f5_a_broken_gpu_asks_for_a_new_worker_and_takes_no_more_jobs(
    words: str, worker: Worker, inner: Callable[..., None]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(words)

    inner(broken)
    answer = assert_failed(worker.ask(**QUICK), "gpu_broken")
    assert (answer["refresh_worker"], answer["retryable"]) == (True, True)
    before = worker.predictor.runs
    later = assert_failed(worker.ask(**QUICK), "shutting_down")
    assert (later["refresh_worker"], later["retryable"]) == (True, True)
    assert worker.predictor.runs == before


def test_f6_a_gpu_that_is_demanded_and_not_there_is_one_line_and_78(tmp_path: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a GPU")
    done = started(tmp_path, WHISPERX_DEVICE="cuda")
    assert done.returncode == 78
    told = [line for line in (done.stdout + done.stderr).splitlines() if "WHISPERX_DEVICE" in line]
    assert len(told) == 1
    assert models().device == "cpu"  # what "auto" comes to


def test_f7_a_job_that_dies_leaves_nothing_of_itself_to_the_next(worker: Worker, inner: Callable[..., None]) -> None:
    seen: list[tuple[list[int], Any]] = []
    full = [True]

    def watched(real: Callable[..., Any], features: Any, prompts: list[list[int]], **options: Any) -> Any:
        seen.append((prompts[0], options))
        if full:
            raise RuntimeError("CUDA out of memory")
        return real(features, prompts, **options)

    inner(watched)
    plain = {**QUICK, "batch_size": 1}
    first = worker.ask(**plain, language="fr", initial_prompt="a secret", hotwords="Zebulon", suppress_numerals=True)
    assert_failed(first, "gpu_out_of_memory")
    full.clear()
    second = worker.ask(**plain)
    assert second["detected_language"] == "en"
    assert second["segments"]
    (before, options), (prompt, later) = seen[0], seen[-1]
    token = models().engine(models().model_set.speech())._model.hf_tokenizer.token_to_id
    assert token("<|fr|>") in before
    assert len(options["suppress_tokens"]) > 1
    assert prompt == [token(f"<|{name}|>") for name in ("startoftranscript", "en", "transcribe", "notimestamps")]
    assert later["suppress_tokens"] == [-1]


def test_f8_nobody_heard_is_an_answer(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        def diarize(self, *_: object) -> Diarization:
            return Diarization()

    monkeypatch.setattr(models(), "diarizer", Deaf)
    answer = worker.ask(**QUICK, diarization=True)
    assert (answer["speakers"], bool(answer["segments"])) == ([], True)
    assert "no_speakers" in [w["code"] for w in answer["warnings"]]


def test_f8_embeddings_that_are_no_numbers_name_nobody(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = models().encoder()

    class Broken:
        def encode_batch(self, window: Any) -> Any:
            import torch

            return torch.full((1, 1, 192), float("nan"))

    monkeypatch.setattr(encoder, "_encoder", Broken())
    encoder._voices.clear()
    samples = [{"audio_base64": SPEECH, "name": "Anna"}]
    answer = worker.ask(**QUICK, speaker_verification=True, speaker_samples=samples)
    encoder._voices.clear()
    assert [s["name"] for s in answer["speakers"]] == [None]
    assert answer["speakers"][0]["reason"]


def test_f8_a_sample_too_short_to_tell_a_voice_is_a_warning(worker: Worker) -> None:
    samples = [{"audio_base64": base64_of(wav(0.2)), "name": "Anna"}]
    answer = worker.ask(**QUICK, speaker_verification=True, speaker_samples=samples)
    assert [s["name"] for s in answer["speakers"]] == [None]
    assert [w for w in answer["warnings"] if "Anna" in w["message"]]


def test_f9_of_two_speech_models_in_turn_the_old_one_has_left_before_the_new_one_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = str(tmp_path / "other")
    shutil.copytree(ROOT / "models" / "demo" / "whisper", other)
    own = Models(ModelSet(configured(allowed_models=(other,))), "cpu")
    alive: list[Any] = []
    built = BatchedEngine.__init__

    def watched(engine: BatchedEngine, *arguments: Any, **more: Any) -> None:
        assert [ref for ref in alive if ref() is not None] == []
        built(engine, *arguments, **more)
        alive.append(weakref.ref(engine))

    monkeypatch.setattr(BatchedEngine, "__init__", watched)
    for name in (None, other, None, other):
        own.engine(own.model_set.speech(name))
    assert len(alive) == 4


@pytest.mark.gpu
def test_f4_a_real_gpu_gives_its_memory_back_after_it_ran_out() -> None:
    import torch

    before = torch.cuda.memory_allocated()
    with pytest.raises(torch.cuda.OutOfMemoryError) as full:
        torch.empty(1 << 45, dtype=torch.uint8, device="cuda")
    from scribe.runtime.gpu_errors import gpu_failure
    from scribe.runtime.gpu_memory import release_memory

    assert isinstance(gpu_failure(full.value), GpuOutOfMemory)
    release_memory()
    assert torch.cuda.memory_allocated() == before
