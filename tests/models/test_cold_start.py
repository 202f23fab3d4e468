"""What a worker does not need is not imported: seconds of every start, which the GPU's owner is paid for."""

from __future__ import annotations

import builtins
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.demo import SAMPLES

from scribe.models.import_ahead import HEAVY, ImportAhead

ROOT = Path(__file__).resolve().parents[2]
# Each takes a tenth of a second or more to import; torch alone takes one to three.
NOT_FOR_SPEECH = (
    "torch torchaudio transformers whisperx pyannote speechbrain lightning torchmetrics nltk pandas scipy sklearn matplotlib boto3"
).split()
NOT_BEFORE_A_JOB = ["onnxruntime", *NOT_FOR_SPEECH]
# The worker's own start and one job, without the loop of the SDK around them.
JOB = """
import os, sys
sys.path[:0] = [{src!r}, {tests!r}]
os.environ.update(MODEL_SET="demo", WHISPERX_DEVICE="cpu", WARMUP={warmup!r})
import init_and_run
settings = init_and_run.settings_module.load()
init_and_run.prepare_environment(settings)
worker = init_and_run.Worker.from_settings(settings)
print("READY", *sorted({{name.split(".")[0] for name in sys.modules}}), flush=True)
if {options!r} is not None:
    from pathlib import Path
    from scribe.pipeline.predictor import Predictor
    from scribe.audio.decode import decode
    from scribe.pipeline.context import JobContext
    from scribe.pipeline.progress import Progress
    from scribe.schema.parsing import parse
    from scribe.pipeline.record import JobRecord
    channels = decode(Path({recording!r}), settings.jobs_dir, max_seconds=60).channels
    request = parse({{"audio_file": "http://samples.local/a", **{options!r}}})
    with Progress(lambda event: None, ["transcribe"]) as progress:
        context = JobContext(progress, JobRecord())
        assert Predictor(worker.models).run(channels, request, [], context).segments
    print("DONE", *sorted({{name.split(".")[0] for name in sys.modules}}))
"""


def imported(tmp_path: Path, options: dict[str, object] | None, warmup: str = "") -> dict[str, set[str]]:
    """{READY, DONE: the packages that are imported then}."""
    program = JOB.format(
        src=str(ROOT / "src"),
        tests=str(ROOT / "tests"),
        warmup=warmup,
        options=options,
        recording=str(SAMPLES / "voices" / "anna.flac"),
    )
    environment = dict.fromkeys(("JOBS_DIR", "TMPDIR", "HOME"), str(tmp_path))
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(("READY", "DONE"))]
    return {line[0]: set(line[1:]) for line in lines}


@pytest.mark.parametrize("warmup", ["", "asr"])
def test_a_worker_that_waits_for_its_first_job_has_imported_no_heavy_module(tmp_path: Path, warmup: str) -> None:
    found = imported(tmp_path, None, warmup)
    assert sorted(found["READY"] & set(NOT_FOR_SPEECH)) == []
    if not warmup:
        assert sorted(found["READY"] & set(NOT_BEFORE_A_JOB)) == []


def test_a_job_that_only_wants_text_imports_no_heavy_module(tmp_path: Path) -> None:
    found = imported(tmp_path, {"language": "en", "quality": "fast"})
    assert sorted(found["DONE"] & set(NOT_FOR_SPEECH)) == []
    assert "ctranslate2" in found["DONE"]


def test_whisperxs_detector_imports_torch_and_nothing_of_pyannote(tmp_path: Path) -> None:
    found = imported(tmp_path, {"language": "en", "quality": "fast", "vad_method": "pyannote"})
    needless = {*NOT_FOR_SPEECH, "asteroid_filterbanks", "omegaconf", "torchcodec", "einops"} - {"torch"}
    assert sorted(found["DONE"] & needless) == []
    assert "torch" in found["DONE"]


def test_a_job_that_wants_words_imports_no_diarizer(tmp_path: Path) -> None:
    found = imported(tmp_path, {"language": "en", "quality": "fast", "align_output": True})
    assert sorted(found["DONE"] & {"pyannote", "speechbrain", "lightning"}) == []
    assert "torch" in found["DONE"]


def test_the_sdk_is_imported_without_a_survey_of_the_processor(tmp_path: Path) -> None:
    """A second of every start, in which py-cpuinfo asked for the processor's name."""
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
seen = []
sys.addaudithook(lambda event, given: seen.append(given[0]) if event == "subprocess.Popen" else None)
from scribe.doors.runpod_sdk import sdk
assert sdk().serverless.start
print("SEEN", *seen)
import cpuinfo
cpuinfo.get_cpu_info()
print("ASKED", *seen)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    told = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert set(told["SEEN"]) <= {"uname"}
    assert len(told["ASKED"]) > len(told["SEEN"])


def test_what_is_foreseen_is_imported_beside_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEAVY, "align", ("no_such_module", "tabnanny"))
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    foresight = ImportAhead()
    foresight.wait()
    foresight.begin(["align"])
    foresight.wait()
    assert "tabnanny" in sys.modules
    monkeypatch.setitem(HEAVY, "align", ("tabnanny",))
    thread = foresight._thread
    foresight.begin(["align"])
    assert foresight._thread is thread


def test_a_stage_waits_for_its_own_imports_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector hears while the diarizer's packages, seconds of them, are still on their way."""
    (tmp_path / "slow_package.py").write_text("import builtins\nassert builtins.go_on.wait(60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    monkeypatch.setattr(builtins, "go_on", threading.Event(), raising=False)
    for stage, names in {"pyannote": ("tabnanny",), "diarization": ("slow_package",), "align": ("this_one",)}.items():
        monkeypatch.setitem(HEAVY, stage, names)
    foresight = ImportAhead()
    foresight.begin(["pyannote", "diarization"])
    foresight.wait("pyannote")
    assert "tabnanny" in sys.modules
    assert foresight._thread is not None
    assert foresight._thread.is_alive()
    # What did not come to be foreseen waits for all: it would meet the thread in the same packages.
    waiting = threading.Thread(target=foresight.wait, args=("align",), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    builtins.go_on.set()  # type: ignore[attr-defined]
    waiting.join(60)
    assert not foresight._thread.is_alive()
