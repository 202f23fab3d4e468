"""The examination: what it finds on this machine, what it makes of faults, and how it is asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.demo import configured, models, variables
from support.fatbinary import CUBIN, PTX, architectures
from support.hub import Hub
from support.s3server import S3Server, s3_server  # noqa: F401 (a fixture)

import init_and_run
from scribe.doctor.checks import GIB, Doctor
from scribe.doctor.gpus import CTRANSLATE2_CODE, CTRANSLATE2_PTX, Gpu
from scribe.doctor.report import Finding, Report, table
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.models.snapshots import mark_finished, repository_folder
from scribe.runtime import machine
from scribe.settings import ROOT, InvalidSettings
from scribe.storage.s3 import Storage

Usage = namedtuple("Usage", "total used free")
ENTRY = Path(init_and_run.__file__)
H100 = Gpu("NVIDIA H100", 80 * GIB, (9, 0))
L4 = Gpu("NVIDIA L4", 22 * GIB, (8, 9))


def examined(tmp_path: Path, storage: Storage | None = None, **values: Any) -> Report:
    """The report of a doctor whose loaders are of the given settings; `values` may also be the doctor's own arguments."""
    tools = {name: values.pop(name) for name in ("usage", "memory", "gpus", "speech_gpus", "models") if name in values}
    settings = configured(**{"jobs_dir": tmp_path / "jobs", "hf_home": tmp_path / "hf", **values})
    changed = values.keys() & {"whisperx_model", "diarization_model", "whisperx_compute_type"}
    own = (lambda: Models(ModelSet(settings), "cpu", settings.whisperx_compute_type)) if changed else models
    return Doctor(settings, storage=storage, **{"models": own, "gpus": list, **tools}).examine()


def finding(report: Report, check: str) -> Finding:
    return next(f for f in report.findings if f.check.startswith(check))


def stored(server: S3Server, **limits: Any) -> Storage:
    keys = (server.bucket, server.access_key, server.secret_key, "transcripts")
    return Storage(server.endpoint, *keys, connect_timeout=2, read_timeout=2, attempts=1, **limits)


class TestOnTheDemoModels:
    def test_all_is_well_and_every_room_was_looked_at(self, tmp_path: Path) -> None:
        report = examined(tmp_path)
        assert report.exit_code == 0
        states = {f.check: f.state for f in report.findings}
        for check in ("JOBS_DIR", "TMPDIR", "hub cache", "compute type", "speech model", "decoding", "aligner (en)",
                      "voice activity (silero)", "diarization model", "speaker model"):  # fmt: skip
            assert states[check] == "ok", report.findings
        assert states["storage"] == "skipped"
        assert states["GPU"] == "warning"

    def test_an_empty_speech_folder_fails_and_nothing_is_decoded(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        report = examined(tmp_path, whisperx_model=str(tmp_path / "empty"))
        assert report.exit_code == 1
        assert finding(report, "speech model").state == "failed"
        assert finding(report, "speech model").remedy
        assert not [f for f in report.findings if f.check == "decoding"]

    @pytest.mark.parametrize(("warmup", "state", "code"), [(("asr",), "warning", 0), (("diarization",), "failed", 1)])
    def test_a_broken_model_fails_only_where_the_configuration_needs_it(
        self, tmp_path: Path, warmup: tuple[str, ...], state: str, code: int
    ) -> None:
        shutil.copytree(ROOT / "models" / "demo" / "diarization", tmp_path / "diar")
        (tmp_path / "diar" / "config.yaml").write_text("{")
        report = examined(tmp_path, diarization_model=str(tmp_path / "diar"), warmup=warmup)
        assert (finding(report, "diarization model").state, report.exit_code) == (state, code)

    def test_a_compute_type_that_the_device_lacks_is_told_with_those_it_has(self, tmp_path: Path) -> None:
        report = examined(tmp_path, whisperx_compute_type="nonsense")
        assert report.exit_code == 1
        assert "WHISPERX_COMPUTE_TYPE" in finding(report, "models").found
        assert "int8" in finding(report, "models").found

    def test_a_fit_worker_passes_and_one_without_scratch_does_not(self, tmp_path: Path) -> None:
        settings = configured(jobs_dir=tmp_path / "jobs")
        Doctor(settings, models, gpus=list).fit(models())
        full = Doctor(settings, models, gpus=list, usage=lambda folder: Usage(100 * GIB, 100 * GIB, 1000))
        with pytest.raises(RuntimeError, match="JOBS_DIR"):
            full.fit(models())


def untouched() -> Models:
    """Stands in for the loaders where the test is about something else."""
    raise InvalidSettings("not looked at in this test")


class Placed:
    """Stands in for the loaders where only the places of the models matter: each of them loads at once."""

    device, compute_type = "cpu", "int8"

    def __init__(self, model_set: ModelSet) -> None:
        self.model_set = model_set

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given: None


@pytest.mark.parametrize(
    ("here", "told"),
    [((), "0 of 41 languages on this machine: none"), (("de", "ja"), "2 of 41 languages on this machine: de ja")],
)
def test_the_languages_whose_aligner_is_on_this_machine_are_counted_and_named(
    tmp_path: Path, here: tuple[str, ...], told: str
) -> None:
    settings = configured(model_set="default", hf_home=tmp_path / "hf", torch_home=tmp_path / "torch")
    places = ModelSet(settings)
    for language in here:
        place = places.aligner(language)
        assert place is not None
        if place.file is not None:
            places.checkpoints.mkdir(parents=True)
            (places.checkpoints / place.file.name).write_bytes(b"x")
        else:
            folder = repository_folder(places.cache, str(place.repository))
            (folder / "snapshots" / str(place.pin)).mkdir(parents=True)
            mark_finished(folder, str(place.pin), "main", {})
    found = finding(examined(tmp_path, models=lambda: Placed(places)), "aligners")
    assert (found.state, found.found) == ("ok", f"{told}; each other one comes when it is first needed")


def machine_report(tmp_path: Path, **options: Any) -> Report:
    return examined(tmp_path, **{"models": untouched, **options})


def test_a_disk_that_is_nearly_full_fails_and_says_which_variable_moves_it(tmp_path: Path) -> None:
    report = machine_report(tmp_path, usage=lambda folder: Usage(GIB, GIB, 50 * 1024**2))
    assert finding(report, "JOBS_DIR").state == "failed"
    assert "JOBS_DIR" in finding(report, "JOBS_DIR").remedy
    assert finding(report, "hub cache").state == "warning"


def test_a_disk_that_is_too_small_for_the_largest_job_is_a_warning(tmp_path: Path) -> None:
    found = finding(machine_report(tmp_path, usage=lambda folder: Usage(9 * GIB, 8 * GIB, GIB)), "JOBS_DIR")
    assert (found.state, "largest job" in found.found) == ("warning", True)


def test_a_folder_that_cannot_be_written_to_fails(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("in the way")
    assert finding(machine_report(tmp_path), "JOBS_DIR").state == "failed"


def test_little_memory_is_a_warning(tmp_path: Path) -> None:
    found = finding(machine_report(tmp_path, memory=lambda: GIB), "memory")
    assert (found.state, found.found.startswith("1.0 GiB")) == ("warning", True)


@pytest.mark.parametrize(
    ("gpu", "state"),
    [
        (H100, "ok"),
        (Gpu("NVIDIA T4", 8 * GIB, (7, 5)), "warning"),
        (Gpu("NVIDIA P40", 24 * GIB, (6, 1), "torch is made for capability 7.5 and newer"), "failed"),
    ],
)
def test_a_gpu_is_judged_by_its_memory_and_by_what_it_computed(tmp_path: Path, gpu: Gpu, state: str) -> None:
    found = finding(machine_report(tmp_path, gpus=lambda: [gpu], whisperx_device="auto"), "GPU 0")
    assert (found.state, found.found.startswith(gpu.name)) == (state, True)


def test_a_gpu_that_is_demanded_and_not_there_fails(tmp_path: Path) -> None:
    report = machine_report(tmp_path, whisperx_device="cuda")
    assert (finding(report, "GPU").state, report.exit_code) == ("failed", 1)


class Unloaded:
    """Stands in for a worker's models, none of which is loaded."""

    places = None
    compute_type = "float16"

    def __init__(self, device: str) -> None:
        self.device = device


def unfit(tmp_path: Path, device: str, torch_sees: list[Gpu], speech: int, memory: int = 8 * GIB, **values: Any) -> str:
    """What the fitness check says of a worker on a machine with these GPUs; empty when it passes."""
    settings = configured(**{"jobs_dir": tmp_path, "whisperx_device": "auto", "warmup": (), **values})
    tools: dict[str, Any] = {"memory": lambda: memory, "gpus": lambda: torch_sees, "speech_gpus": lambda: speech}
    try:
        Doctor(settings, untouched, **tools).fit(Unloaded(device))  # type: ignore[arg-type]
    except RuntimeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("device", "torch_sees", "speech", "told"),
    [
        ("cpu", [], 0, "the CPU would be used"),
        ("cpu", [L4], 0, "recognized on the CPU"),
        ("cuda", [], 1, "words and speakers would fail"),
        ("cuda", [Gpu("L4", 22 * GIB, (8, 9), "a sum came out wrong")], 1, "a sum came out wrong"),
        ("cuda", [L4], 1, ""),
    ],
)
@pytest.mark.parametrize("platform", [{"runpod_endpoint_id": "e1"}, {"runpod_gpu_count": 1}])
def test_on_a_gpu_endpoint_a_worker_that_cannot_use_the_gpu_is_unfit_and_told_what_to_do(
    tmp_path: Path, device: str, torch_sees: list[Gpu], speech: int, told: str, platform: dict[str, Any]
) -> None:
    reason = unfit(tmp_path, device, torch_sees, speech, **platform)
    assert told in reason
    assert bool(reason) is bool(told)
    assert "WHISPERX_DEVICE=cpu" in reason or not told or "sum" in told


@pytest.mark.parametrize(
    "chosen", [{"whisperx_device": "cpu", "runpod_endpoint_id": "e1"}, {"runpod_gpu_count": 0, "runpod_endpoint_id": "e1"}, {}]
)  # fmt: skip
def test_where_the_cpu_was_chosen_or_paid_for_a_worker_without_a_gpu_is_fit(
    tmp_path: Path, chosen: dict[str, Any]
) -> None:
    assert unfit(tmp_path, "cpu", [], 0, **chosen) == ""


def test_a_container_with_less_memory_than_any_model_takes_is_unfit_and_a_small_one_is_not(tmp_path: Path) -> None:
    assert "memory: 0.5 GiB for this container. Give the container 4 GiB" in unfit(tmp_path, "cpu", [], 0, GIB // 2)
    assert unfit(tmp_path, "cpu", [], 0, 2 * GIB) == ""
    assert unfit(tmp_path, "cpu", [], 0, 0) == "", "of a machine that cannot be asked nothing is known"


def test_the_examination_says_that_a_gpu_endpoint_has_none(tmp_path: Path) -> None:
    report = machine_report(tmp_path, whisperx_device="auto", runpod_endpoint_id="e1")
    assert finding(report, "GPU").state == "failed"
    disagreeing = machine_report(tmp_path, whisperx_device="auto", gpus=lambda: [L4], speech_gpus=lambda: 0)
    assert [f.state for f in disagreeing.findings if f.check.startswith("GPU")] == ["ok", "failed"]


@pytest.mark.parametrize(
    ("capability", "compiles"),
    [((6, 1), False), ((7, 5), False), ((8, 0), False), ((8, 6), False), ((8, 9), False), ((9, 0), True), ((10, 0), True), ((12, 0), True)],
)  # fmt: skip
def test_a_gpu_newer_than_ctranslate2s_code_is_said_to_compile_at_its_first_start(
    tmp_path: Path, capability: tuple[int, int], compiles: bool
) -> None:
    gpu = Gpu("a GPU", 80 * GIB, capability)
    report = machine_report(
        tmp_path, gpus=lambda: [gpu], speech_gpus=lambda: 1, whisperx_device="auto", hf_home=tmp_path / "volume" / "hf"
    )
    kernels = [f for f in report.findings if f.check.startswith("kernels")]
    assert [str(tmp_path / "volume" / "cuda-cache") in f.found for f in kernels] == [True] * compiles


@pytest.mark.models
def test_the_table_of_chips_is_that_of_the_installed_ctranslate2() -> None:
    (library,) = Path(sysconfig.get_paths()["purelib"]).glob("ctranslate2.libs/libctranslate2-*.so*")
    found = architectures(library)
    assert (sorted(found[CUBIN]), sorted(found[PTX])) == (sorted(CTRANSLATE2_CODE), [CTRANSLATE2_PTX])


def test_a_look_that_breaks_off_does_not_end_the_examination(tmp_path: Path) -> None:
    def broken() -> Models:
        raise ValueError("surprise")

    report = machine_report(tmp_path, models=broken)
    assert finding(report, "all models").state == "failed"
    assert finding(report, "storage")


def test_a_storage_that_works_is_put_got_deleted_and_left_empty(tmp_path: Path, s3_server: S3Server) -> None:  # noqa: F811
    assert finding(machine_report(tmp_path, storage=stored(s3_server)), "storage").state == "ok"
    assert s3_server.objects() == {}


@pytest.mark.parametrize(
    ("fault", "state", "told"),
    [
        (lambda s3: s3.denied.add("PUT"), "failed", "put"),
        (lambda s3: s3.denied.add("GET"), "failed", "get"),
        (lambda s3: s3.denied.add("DELETE"), "ok", "may not delete"),
        (lambda s3: s3.fail(times=9), "failed", "failing"),
        (lambda s3: s3.stall(times=9), "failed", "in time"),
    ],
)
def test_a_storage_that_does_not_is_told_by_what_it_refused(
    tmp_path: Path,
    s3_server: S3Server,  # noqa: F811
    fault: Callable[[S3Server], None],
    state: str,
    told: str,
) -> None:
    fault(s3_server)
    found = finding(machine_report(tmp_path, storage=stored(s3_server)), "storage")
    assert (found.state, told in found.found) == (state, True), found


def test_a_storage_that_is_down_fails(tmp_path: Path) -> None:
    storage = Storage("http://127.0.0.1:9", "b", "k", "s", "t", connect_timeout=1, read_timeout=1, attempts=1)
    assert finding(machine_report(tmp_path, storage=storage), "storage").state == "failed"


def test_the_memory_is_the_containers_and_not_the_hosts(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       65536 kB\nMemFree: 1 kB\n")
    assert machine.memory_limit(tmp_path) == 65536 * 1024
    (tmp_path / "sys/fs/cgroup/memory").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert machine.memory_limit(tmp_path) == 65536 * 1024
    (tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine.memory_limit(tmp_path) == 65536 * 1024
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("1048576\n")
    assert machine.memory_limit(tmp_path) == 1048576


def quota(root: Path, **files: str) -> Path:
    """A system whose control groups hold these files; "__" stands for a folder."""
    cgroup = root / "sys/fs/cgroup"
    for name, text in files.items():
        file = cgroup / name.replace("__", "/").replace("cpu_max", "cpu.max").replace("cpu_cfs", "cpu.cfs")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu_max": "max 100000\n"}, None),
        ({"cpu_max": "400000 100000\n"}, 4),
        ({"cpu_max": "150000 100000\n"}, 1),
        ({"cpu_max": "20000 100000\n"}, 1),
        ({"cpu__cpu_cfs_quota_us": "-1\n", "cpu__cpu_cfs_period_us": "100000\n"}, None),
        ({"cpu__cpu_cfs_quota_us": "300000\n", "cpu__cpu_cfs_period_us": "100000\n"}, 3),
        ({"cpu__cpu_cfs_quota_us": "300000\n"}, None),
        ({"cpu_max": "nonsense\n"}, None),
    ],
)
def test_the_cores_are_those_that_the_containers_quota_pays_for(
    tmp_path: Path, files: dict[str, str], cores: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    root = quota(tmp_path, **files)
    assert machine.cpu_quota(root) == cores
    assert machine.usable_cores(root) == (cores or 16)


def test_a_quota_above_the_cores_that_are_there_gives_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert machine.usable_cores(quota(tmp_path, cpu_max="800000 100000\n")) == 2


@pytest.mark.models
def test_every_cuda_library_that_is_looked_for_is_in_the_wheels_and_loads() -> None:
    assert set(machine.CUDA_LIBRARIES) <= set(machine.wheel_libraries())
    assert machine.missing_libraries() == []


@pytest.mark.models
def test_a_library_that_is_missing_is_named() -> None:
    assert machine.missing_libraries(("libcublas.so.12", "libnothing.so.1")) == ["libnothing.so.1"]


class Driver:
    """Stands in for libcuda: one GPU in a process that may see it. `fails` is the call that returns an error."""

    def __init__(self, fails: str = "", active: bool = True) -> None:
        self._fails, self._active = fails, active
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == "cuDevicePrimaryCtxRetain":
                arguments[0]._obj.value = 77
            if name == "cuMemGetInfo_v2":
                arguments[0]._obj.value, arguments[1]._obj.value = 5 * GIB, 24 * GIB
            if name == "cuDevicePrimaryCtxGetState":
                arguments[2]._obj.value = self._active
            return 1 if name == self._fails else 0

        return call


@pytest.mark.parametrize(
    ("driver", "in_use"),
    [
        (Driver(), True),
        (Driver(active=False), False),
        (Driver("cuInit"), False),
        (Driver("cuDevicePrimaryCtxGetState"), False),
    ],
)
def test_a_gpu_is_in_use_where_this_process_has_a_context_on_it(driver: Driver, in_use: bool) -> None:
    assert machine.gpu_in_use(open_library=lambda name: driver) is in_use  # type: ignore[arg-type, return-value]
    assert "cuDevicePrimaryCtxRetain" not in driver.calls


def test_without_a_driver_no_gpu_is_in_use() -> None:
    assert machine.gpu_in_use(open_library=lambda name: machine.opened("libcuda.so.absent")) is False


def test_free_memory_is_that_of_the_gpu_that_cuda_shows_this_process() -> None:
    driver = Driver()
    assert machine.free_gpu_memory(open_library=lambda name: driver) == 5 * GIB  # type: ignore[arg-type, return-value]
    assert not [name for name in driver.calls if name.startswith("nvml")]
    assert driver.calls[-2:] == ["cuCtxPopCurrent_v2", "cuDevicePrimaryCtxRelease_v2"]


@pytest.mark.parametrize(
    "fails", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuMemGetInfo_v2"]
)
def test_free_memory_is_unknown_where_the_driver_fails_and_nothing_stays_held(fails: str) -> None:
    driver = Driver(fails)
    assert machine.free_gpu_memory(open_library=lambda name: driver) is None  # type: ignore[arg-type, return-value]
    held = fails in ("cuCtxPushCurrent_v2", "cuMemGetInfo_v2")
    assert ("cuDevicePrimaryCtxRelease_v2" in driver.calls) is held
    assert ("cuCtxPopCurrent_v2" in driver.calls) is (fails == "cuMemGetInfo_v2")


def test_without_a_driver_there_is_no_version() -> None:
    def absent(name: str) -> Any:
        raise OSError(name)

    assert machine.driver_version(absent) is None


def test_the_table_says_what_to_do_and_lets_no_secret_through() -> None:
    report = Report(
        (Finding("token", "failed", "hf_canary was refused", "Set HF_TOKEN anew."), Finding("disk", "ok", "1 GiB"))
    )
    text = table(report, 100, lambda line: line.replace("hf_canary", "[secure]"))
    assert "token: Set HF_TOKEN anew." in text
    assert "[secure] was refused" in text
    assert "hf_canary" not in text
    assert "does not work" in text


def checked(tmp_path: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`--check` as an operator calls it, with nothing of this environment's configuration."""
    unwanted = {*variables(), "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    env = {name: value for name, value in os.environ.items() if name not in unwanted}
    local = {"JOBS_DIR": str(tmp_path / "jobs"), "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, str(ENTRY), "--check", *arguments],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        env={**env, **local, "no_proxy": "127.0.0.1", **more},
    )


@pytest.mark.models
def test_a_bare_machine_is_told_exactly_which_models_are_missing_and_why(tmp_path: Path) -> None:
    with Hub() as hub:
        hub.publish(
            "Systran/faster-whisper-small", {"model.bin": b"x" * 50_000, "config.json": b"{}", "tokenizer.json": b"{}"}
        )
        hub.publish("pyannote/diar", {"config.yaml": b"x"})
        needed = ("config.json", "preprocessor_config.json", "vocab.json", "pytorch_model.bin")
        hub.publish("me/aligner", dict.fromkeys(needed, b"x"))
        hub.repositories["pyannote/diar"].gated = True
        done = checked(
            tmp_path, "--json", WHISPERX_MODEL="small", DIARIZATION_MODEL="pyannote/diar", SPEAKER_MODEL="me/absent",
            ALIGN_MODEL="me/aligner", HF_ENDPOINT=hub.url, WARMUP="asr,diarization", HF_TOKEN="hf_canarytoken",
        )  # fmt: skip
        assert not [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    report = json.loads(done.stdout)
    found = {f["check"]: f for f in report["findings"]}
    assert (done.returncode, report["ok"]) == (1, False)
    assert found["speech model"]["state"] == "warning"
    assert "will be downloaded on first use" in found["speech model"]["found"]
    assert found["diarization model"]["state"] == "failed"
    assert "https://huggingface.co/pyannote/diar" in found["diarization model"]["found"]
    assert found["speaker model"]["state"] == "warning"
    assert "no model me/absent" in found["speaker model"]["found"]
    assert "will be downloaded on first use" in found["aligner (any)"]["found"]
    assert "hf_canarytoken" not in done.stdout + done.stderr


@pytest.mark.models
def test_the_demo_models_pass_as_an_operator_asks(tmp_path: Path) -> None:
    done = checked(tmp_path, MODEL_SET="demo", WHISPERX_DEVICE="cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All that is needed works." in done.stdout


def test_where_the_real_models_are_missing_the_demo_models_are_named(tmp_path: Path) -> None:
    done = checked(tmp_path, WHISPERX_MODEL=str(tmp_path / "absent"), WHISPERX_DEVICE="cpu", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "MODEL_SET=demo" in done.stdout


def test_a_wrong_setting_is_told_with_78(tmp_path: Path) -> None:
    done = checked(tmp_path, "--json", PRESIGN_TTL="soon")
    assert done.returncode == 78
    assert "PRESIGN_TTL" in json.loads(done.stdout)["invalid_settings"][0]
