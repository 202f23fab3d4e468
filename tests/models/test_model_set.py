"""Which weights and where from: the order of places, revisions that follow the content, models loaded once."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from support.demo import configured, variables

from scribe import settings as settings_module
from scribe.models import torchaudio_bundles as bundles
from scribe.models.cache import ModelCache
from scribe.models.model_set import Location, ModelSet
from scribe.models.revision import revision
from scribe.models.snapshots import finished, held, mark_finished, missing, repository_folder
from scribe.settings import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings_module, "VOLUME", tmp_path / "volume")


SPEECH = {"config.json": b"{}", "model.bin": b"x", "tokenizer.json": b"{}"}


def snapshot(cache: Path, repository: str, commit: str = COMMIT, files: dict[str, bytes] = SPEECH) -> Path:
    """A repository as hub.bring leaves it."""
    place = unmarked(cache, repository, commit, files)
    mark_finished(
        repository_folder(cache, repository), commit, "main", {name: len(data) for name, data in files.items()}
    )
    return place


def unmarked(cache: Path, repository: str, commit: str = COMMIT, files: dict[str, bytes] = SPEECH) -> Path:
    """A repository as another client or RunPod's cached models leave it."""
    folder = repository_folder(cache, repository)
    for name, data in files.items():
        (folder / "snapshots" / commit / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "snapshots" / commit / name).write_bytes(data)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    return folder / "snapshots" / commit


def real(tmp_path: Path, **values: Any) -> ModelSet:
    """The default model set, with caches and folders of this test."""
    given = {"model_set": "default", "whisperx_model_dir": tmp_path / "nowhere", "hf_home": tmp_path / "hf", **values}
    return ModelSet(configured(**given))


def test_without_anything_the_name_of_the_set_is_left_to_the_hub(tmp_path: Path) -> None:
    assert real(tmp_path).speech() == Location("large-v3", None)


def test_whisperx_model_is_a_name_or_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    assert real(tmp_path, whisperx_model="small").speech() == Location("small", None)
    assert real(tmp_path, whisperx_model=str(folder)).speech() == Location("my-model", folder)


def test_a_named_model_wins_over_the_baked_folder(tmp_path: Path) -> None:
    (tmp_path / "baked").mkdir()
    (tmp_path / "baked" / "model.bin").write_bytes(b"x")
    baked = {"whisperx_model_dir": tmp_path / "baked"}
    assert real(tmp_path, whisperx_model="small", **baked).speech().name == "small"
    assert real(tmp_path, **baked).speech() == Location("baked", tmp_path / "baked")


def test_a_folder_without_model_bin_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "baked").mkdir()
    assert real(tmp_path, whisperx_model_dir=tmp_path / "baked").speech() == Location("large-v3", None)


def test_the_baked_folder_wins_over_the_cache(tmp_path: Path) -> None:
    snapshot(tmp_path / "volume" / "huggingface-cache" / "hub", "Systran/faster-whisper-large-v3")
    (tmp_path / "baked").mkdir()
    (tmp_path / "baked" / "model.bin").write_bytes(b"x")
    assert real(tmp_path, whisperx_model_dir=tmp_path / "baked").speech().path == tmp_path / "baked"


def test_runpods_cached_model_wins_over_the_own_cache(tmp_path: Path) -> None:
    named = {"whisperx_model": "large-v3"}
    own = snapshot(tmp_path / "hf" / "hub", "Systran/faster-whisper-large-v3")
    assert real(tmp_path, **named).speech() == Location("large-v3", own)
    cached = snapshot(tmp_path / "volume" / "huggingface-cache" / "hub", "Systran/faster-whisper-large-v3", "f" * 40)
    assert real(tmp_path, **named).speech() == Location("large-v3", cached)


def test_the_sets_revision_is_taken_from_the_own_cache_and_nothing_else_there(tmp_path: Path) -> None:
    pin = real(tmp_path).speech().pin
    assert pin is not None
    snapshot(tmp_path / "hf" / "hub", "Systran/faster-whisper-large-v3")
    assert real(tmp_path).speech().path is None
    pinned = snapshot(tmp_path / "hf" / "hub", "Systran/faster-whisper-large-v3", pin)
    assert real(tmp_path).speech() == Location("large-v3", pinned)


def test_runpods_cached_model_is_taken_at_whatever_revision_runpod_chose_and_says_so(tmp_path: Path) -> None:
    cached = snapshot(tmp_path / "volume" / "huggingface-cache" / "hub", "Systran/faster-whisper-large-v3", "f" * 40)
    assert real(tmp_path).speech() == Location("large-v3", cached)
    assert real(tmp_path).speech().identity == "large-v3@ffffffffffff"


def test_a_revision_that_the_operator_names_is_kept_to(tmp_path: Path) -> None:
    snapshot(tmp_path / "volume" / "huggingface-cache" / "hub", "me/diar", "f" * 40)
    place = real(tmp_path, diarization_model=f"me/diar@{COMMIT}").diarization
    assert (place.name, place.path, place.pin, place.identity) == ("me/diar", None, COMMIT, f"me/diar@{COMMIT[:12]}")
    snapshot(tmp_path / "hf" / "hub", "me/diar", COMMIT)
    assert real(tmp_path, diarization_model=f"me/diar@{COMMIT}").diarization.path is not None


def test_a_snapshot_of_another_client_counts_in_runpods_cache_only_and_only_whole(tmp_path: Path) -> None:
    runpods, own = tmp_path / "volume" / "huggingface-cache" / "hub", tmp_path / "hf" / "hub"
    unmarked(own, "me/my-whisper")
    assert real(tmp_path, whisperx_model="me/my-whisper").speech().path is None
    place = unmarked(runpods, "me/my-whisper")
    assert real(tmp_path, whisperx_model="me/my-whisper").speech().path == place
    (place / "model.bin").write_bytes(b"")
    assert real(tmp_path, whisperx_model="me/my-whisper").speech().path is None


def test_runpods_cache_is_taken_without_a_ref_where_it_holds_one_snapshot(tmp_path: Path) -> None:
    place = unmarked(tmp_path, "a/b")
    (repository_folder(tmp_path, "a/b") / "refs" / "main").unlink()
    assert held(tmp_path, "a/b", "speech") == place
    assert held(tmp_path, "a/b", "speech", "f" * 40) is None


@pytest.mark.parametrize(
    ("kind", "files", "part"),
    [
        ("speech", SPEECH, "tokenizer.json"),
        (
            "aligner",
            dict.fromkeys(("config.json", "preprocessor_config.json", "vocab.json", "pytorch_model.bin"), b"x"),
            "vocab.json",
        ),
        (
            "diarization",
            {"config.yaml": b"a: $model/seg\nb: $model/plda", "seg/pytorch_model.bin": b"x", "plda/plda.npz": b"x"},
            "plda/plda.npz",
        ),
        (
            "speaker",
            {
                "hyperparams.yaml": b"x: !ref <pretrained_path>/label_encoder.txt",
                "embedding_model.ckpt": b"x",
                "label_encoder.txt": b"x",
            },
            "label_encoder.txt",
        ),
    ],
)
def test_a_snapshot_is_held_when_it_has_what_its_kind_needs_and_what_its_description_names(
    tmp_path: Path, kind: str, files: dict[str, bytes], part: str
) -> None:
    place = unmarked(tmp_path, "a/b", files=files)
    assert held(tmp_path, "a/b", kind) == place
    (place / part).unlink()
    assert held(tmp_path, "a/b", kind) is None


def test_the_demo_models_have_what_their_kinds_need() -> None:
    folder = ROOT / "models" / "demo"
    kinds = {"whisper": "speech", "aligner": "aligner", "diarization": "diarization", "ecapa": "speaker"}
    assert {name: missing(kind, folder / name) for name, kind in kinds.items()} == dict.fromkeys(kinds, [])


def test_a_repository_is_looked_up_under_its_own_name(tmp_path: Path) -> None:
    place = snapshot(tmp_path / "hf" / "hub", "me/my-whisper")
    assert real(tmp_path, whisperx_model="me/my-whisper").speech() == Location("me/my-whisper", place)
    diarization = snapshot(tmp_path / "hf" / "hub", "me/diarization", files={"config.yaml": b"a: 1"})
    assert real(tmp_path, diarization_model="me/diarization").diarization.path == diarization


@pytest.mark.parametrize("spoil", ["no mark", "torn mark", "no snapshot", "shorter file"])
def test_a_broken_cache_is_no_model(tmp_path: Path, spoil: str) -> None:
    place = snapshot(tmp_path, "a/b")
    assert finished(tmp_path, "a/b") == finished(tmp_path, "a/b", COMMIT) == place
    mark = repository_folder(tmp_path, "a/b") / f".complete-{COMMIT}"
    if spoil == "no mark":
        mark.unlink()
    elif spoil == "torn mark":
        mark.write_text(mark.read_text()[:20])
    elif spoil == "no snapshot":
        shutil.rmtree(place)
    else:
        (place / "model.bin").write_bytes(b"")
    assert finished(tmp_path, "a/b") is None


def test_the_demo_set_is_whole_and_on_this_machine(tmp_path: Path) -> None:
    places = ModelSet(configured())
    assert places.is_local
    for place in (places.speech(), places.aligner("en"), places.diarization, places.speaker.location):
        assert place is not None
        assert place.path is not None
        assert place.path.is_relative_to(ROOT / "models" / "demo")
        assert place.identity == f"{place.name}@{revision(place.path)}"
    assert (places.vad_method, places.chunk_size) == ("silero", 15)


def test_the_real_set_needs_the_hub() -> None:
    assert not ModelSet(configured(model_set="default")).is_local


def test_the_first_model_that_needs_the_hub_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are forty aligners, and each look-up is several on a network volume."""
    looked: list[str] = []

    def noted(cache: Path, repository: str, kind: str, wanted: str = "main") -> Path | None:
        looked.append(repository)
        return held(cache, repository, kind, wanted)

    monkeypatch.setattr("scribe.models.snapshots.held", noted)
    places = real(tmp_path)
    assert not places.is_local
    assert set(looked) == {places.speech().repository}


def test_a_repository_that_the_cache_lacks_is_not_searched_for_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def searched(kind: str, folder: Path) -> list[str]:
        raise AssertionError(f"{folder} was searched for a {kind} model")

    monkeypatch.setattr("scribe.models.snapshots.missing", searched)
    assert held(tmp_path, "a/absent", "speech") is None


def test_a_baked_folder_of_another_model_does_not_replace_the_demo_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    assert ModelSet(configured(whisperx_model_dir=tmp_path)).speech().name == "whisper"


@pytest.mark.parametrize(
    ("values", "asked", "allowed"),
    [
        ({}, "large-v3", True),
        ({}, "small", False),
        ({"allowed_models": ("small", "tiny")}, "small", True),
        ({"allowed_models": ("small",)}, "large-v3", True),
        ({}, "/etc", False),
        ({}, "", False),
    ],
)
def test_a_job_may_name_only_allowed_models(tmp_path: Path, values: dict[str, Any], asked: str, allowed: bool) -> None:
    assert real(tmp_path, **values).allows(asked) is allowed


def test_a_model_that_is_allowed_by_its_path_goes_by_its_last_part(tmp_path: Path) -> None:
    own = tmp_path / "private" / "dutch"
    own.mkdir(parents=True)
    places = real(tmp_path, allowed_models=("small", str(own)))
    assert places.allowed() == ["large-v3", "small", "dutch"]
    assert (places.allows("dutch"), places.allows(str(own)), places.allows("private")) == (True, True, False)
    assert places.speech("dutch") == places.speech(str(own)) == Location("dutch", own)
    assert real(tmp_path, whisperx_model=str(tmp_path / "private" / "absent")).allowed() == ["absent"]


def test_the_operators_single_models_override_the_set(tmp_path: Path) -> None:
    places = real(tmp_path, align_model="me/align", diarization_model="me/diar", speaker_model="me/ecapa")
    assert (places.aligner("de"), places.diarization.name, places.speaker.location.name) == (
        Location("me/align"),
        "me/diar",
        "me/ecapa",
    )


def test_the_default_set_aligns_every_language_as_whisperx_does(tmp_path: Path) -> None:
    from whisperx.alignment import DEFAULT_ALIGN_MODELS_HF, DEFAULT_ALIGN_MODELS_TORCH

    found = real(tmp_path).aligners()
    assert {language: place.name for language, place in found.items()} == {
        **DEFAULT_ALIGN_MODELS_TORCH,
        **DEFAULT_ALIGN_MODELS_HF,
    }
    assert all(place.file and place.file.sha256 for language, place in found.items() if place.repository is None)
    assert {language for language, place in found.items() if place.file} == set(DEFAULT_ALIGN_MODELS_TORCH)
    assert real(tmp_path).aligner("tlh") is None


def test_every_recognizer_of_torchaudio_is_known_by_the_file_that_torchaudio_would_fetch() -> None:
    from torchaudio import pipelines

    found = {name: getattr(pipelines, name) for name in pipelines.__all__}
    own = {name: b._path for name, b in found.items() if hasattr(b, "_labels") and name != "MMS_FA"}
    assert own == bundles.FILES


def test_align_model_takes_the_name_of_a_torchaudio_bundle(tmp_path: Path) -> None:
    places = real(tmp_path, align_model="WAV2VEC2_ASR_LARGE_960H", torch_home=tmp_path / "torch")
    place = places.aligner("en")
    assert place is not None
    assert (place.name, place.repository, place.source) == ("WAV2VEC2_ASR_LARGE_960H", None, "WAV2VEC2_ASR_LARGE_960H")
    assert place.file is not None
    assert places.checkpoints == tmp_path / "torch" / "hub" / "checkpoints"
    places.checkpoints.mkdir(parents=True)
    (places.checkpoints / place.file.name).write_bytes(b"x")
    assert places.aligner("en").path == places.checkpoints / place.file.name
    assert places.aligner("en").source == "WAV2VEC2_ASR_LARGE_960H"


def test_what_the_fingerprint_says_of_forty_aligners_needs_no_look_into_the_cache(tmp_path: Path) -> None:
    before = real(tmp_path).identities()["align"]
    snapshot(tmp_path / "hf" / "hub", "jonatasgrosman/wav2vec2-large-xlsr-53-dutch")
    assert real(tmp_path).identities()["align"] == before
    assert "WAV2VEC2_ASR_BASE_960H" in before


def test_identities_name_every_model_that_shapes_a_result(tmp_path: Path) -> None:
    assert set(ModelSet(configured()).identities()) >= {"transcribe", "diarize", "name"}
    cached = snapshot(tmp_path / "hf" / "hub", "Systran/faster-whisper-large-v3")
    places = real(tmp_path, whisperx_model="large-v3", allowed_models=["small"])
    assert places.identities()["transcribe"] == f"large-v3@{cached.name[:12]}"
    assert places.identities("small")["transcribe"] == "small"


@pytest.mark.parametrize(
    "change",
    [
        {"parity": True},
        {"speaker_threshold": 0.6},
        {"speaker_margin": 0.2},
        {"diarization_precision": "half"},
        {"whisperx_compute_type": "float32"},
    ],
)
def test_an_answer_that_was_made_with_other_settings_is_not_handed_out_again(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert real(tmp_path, **change).identities() != real(tmp_path).identities()
    assert real(tmp_path, **change).identities() == real(tmp_path, **change).identities()


def test_other_weights_of_the_voice_activity_model_are_another_identity(tmp_path: Path) -> None:
    weights, found = tmp_path / "vad.bin", [real(tmp_path).identities()["detect"]]
    for content in (b"one", b"two", b"two!"):
        weights.write_bytes(content)
        found.append(real(tmp_path, vad_model_path=weights).identities()["detect"])
    assert len(set(found)) == 4
    elsewhere = tmp_path / "moved.bin"
    shutil.copy(weights, elsewhere)
    assert real(tmp_path, vad_model_path=elsewhere).identities()["detect"] == found[-1]


def test_a_pinned_model_has_its_identity_before_it_is_here(tmp_path: Path) -> None:
    place = real(tmp_path).speech()
    assert place.pin is not None
    assert real(tmp_path).identities()["transcribe"] == f"large-v3@{place.pin[:12]}"


def test_a_revision_follows_the_content_and_not_the_place_or_the_dates(tmp_path: Path) -> None:
    def made(name: str, content: bytes, file: str = "w.bin") -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(content)
        return revision(tmp_path / name)

    one = made("a", b"x" * 200_000)
    assert made("b", b"x" * 200_000) == one
    assert (
        len(
            {
                one,
                made("c", b"x" * 199_999 + b"y"),
                made("d", b"y" + b"x" * 199_999),
                made("e", b"x" * 200_001),
                made("f", b"x" * 200_000, "v.bin"),
            }
        )
        == 5
    )


@pytest.mark.parametrize(
    ("set_here", "told"),
    [
        ({}, (0.79, 0.05, True)),
        ({"speaker_threshold": 0.4, "speaker_margin": 0.2}, (0.4, 0.2, True)),
        ({"speaker_model": "org/other"}, (0.45, 0.1, False)),
        ({"speaker_model": "org/other", "speaker_threshold": 0.4}, (0.4, 0.1, True)),
        ({"model_set": "default"}, (0.45, 0.1, False)),
    ],
)
def test_a_threshold_is_calibrated_on_its_own_encoder_or_by_the_operator(set_here: dict, told: tuple) -> None:
    speaker = ModelSet(configured(**set_here)).speaker
    assert (speaker.threshold, speaker.margin, speaker.calibrated) == told


def test_every_model_set_is_complete() -> None:
    for file in sorted((ROOT / "models").glob("*/model_set.json")):
        shape = json.loads(file.read_text("utf-8"))
        assert shape["name"] == file.parent.name
        assert set(shape) == {
            "name",
            "whisper",
            "aligners",
            "diarization",
            "speaker",
            "vad_method",
            "vad_onset",
            "vad_offset",
            "vad_pause",
            "chunk_size",
            "log_prob_threshold",
            "code",
        }
        assert set(shape["speaker"]) == {"source", "threshold", "margin", "min_seconds", "calibrated"}


def test_a_model_is_loaded_once_also_when_two_jobs_ask_at_once() -> None:
    shelf, loads, both = ModelCache(), [], threading.Barrier(4, timeout=20)
    found: list[object] = []

    def load() -> object:
        loads.append(1)
        return object()

    def ask() -> None:
        both.wait()
        found.append(shelf.get("m", load))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(set(map(id, found))) == 1


def test_a_load_that_failed_is_tried_anew() -> None:
    shelf = ModelCache()

    def broken() -> None:
        raise OSError

    with pytest.raises(OSError):
        shelf.get("m", broken)
    assert shelf.names() == []
    assert shelf.get("m", lambda: 5) == 5


def test_dropping_forgets_only_what_is_named() -> None:
    shelf = ModelCache()
    for key in ("asr:a", "asr:b", "align:en"):
        shelf.get(key, object)
    shelf.drop("asr:")
    assert shelf.names() == ["align:en"]
