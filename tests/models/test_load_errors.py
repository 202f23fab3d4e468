"""A model that cannot be had: the hub's real exceptions and broken folders, each as a code and a sentence to act on."""

from __future__ import annotations

import email.message
import shutil
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from huggingface_hub import errors as hub
from support.demo import configured

from scribe.errors import GatedModel, HubUnreachable, MemoryExhausted, ModelError, ModelNotFound, WeightsCorrupt
from scribe.models import loader as models_room
from scribe.models.load_errors import loading
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.settings import ROOT, InvalidSettings

REPOSITORY = "pyannote/speaker-diarization-community-1"


def answered(status: int, kind: type[Exception] = hub.HfHubHTTPError) -> Exception:
    """The hub's exception for an answer with this status."""
    response = requests.Response()
    response.status_code = status
    response.request = requests.Request("GET", f"https://huggingface.co/{REPOSITORY}").prepare()
    return kind(f"{status} Client Error for https://huggingface.co/{REPOSITORY}?token=hf_canary", response=response)  # type: ignore[call-arg]


def urllib_answered(status: int) -> Exception:
    """torch.hub's and NLTK's exception for an answer with this status."""
    return urllib.error.HTTPError("https://example.org/a?token=hf_canary", status, "", email.message.Message(), None)


def chained(cause: Exception, outer: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered(403, hub.GatedRepoError), GatedModel),
        (answered(401, hub.GatedRepoError), GatedModel),
        (answered(403), GatedModel),
        (answered(401), GatedModel),
        (answered(401, hub.RepositoryNotFoundError), GatedModel),
        (answered(404, hub.RepositoryNotFoundError), ModelNotFound),
        (answered(404, hub.RevisionNotFoundError), ModelNotFound),
        (answered(404, hub.EntryNotFoundError), ModelNotFound),
        (hub.HFValidationError("Repo id must be in the form 'repo_name'"), ModelNotFound),
        (hub.LocalEntryNotFoundError("outgoing traffic has been disabled"), HubUnreachable),
        (hub.OfflineModeIsEnabled("offline mode is enabled"), HubUnreachable),
        (requests.ConnectionError("no route"), HubUnreachable),
        (requests.Timeout("read timed out"), HubUnreachable),
        (chained(requests.ConnectionError("x"), OSError("We couldn't connect to the hub")), HubUnreachable),
        (chained(answered(403, hub.GatedRepoError), OSError("You are trying to access a gated repo")), GatedModel),
        (chained(answered(404, hub.RepositoryNotFoundError), ValueError("not a model")), ModelNotFound),
        (urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution")), HubUnreachable),
        (socket.gaierror(-2, "Name or service not known"), HubUnreachable),
        (TimeoutError("timed out"), HubUnreachable),
        (ConnectionResetError(104, "reset by peer"), HubUnreachable),
        (urllib_answered(503), HubUnreachable),
        (urllib_answered(429), HubUnreachable),
        (urllib_answered(404), ModelNotFound),
        (answered(500), HubUnreachable),
        (RuntimeError("Data processing error: CAS service error : 503 Service Unavailable"), HubUnreachable),
        (RuntimeError("Request error: reqwest::Error connection closed"), HubUnreachable),
        (RuntimeError("Error(s) in loading state_dict for Wav2Vec2Model"), WeightsCorrupt),
        (MemoryError(), MemoryExhausted),
        (MemoryError("std::bad_alloc"), MemoryExhausted),
        (RuntimeError("std::bad_alloc"), MemoryExhausted),
        (FileNotFoundError(2, "No such file", "/root/models/x"), ModelNotFound),
        (ValueError("unpickling failed"), WeightsCorrupt),
        (EOFError(), WeightsCorrupt),
    ],
)
def test_what_a_loader_raises_becomes_a_code_and_names_the_model(error: Exception, kind: type[ModelError]) -> None:
    with pytest.raises(ModelError) as failed, loading("diarization model", REPOSITORY):
        raise error
    assert type(failed.value) is kind
    assert REPOSITORY in failed.value.message
    assert failed.value.details["model"] == REPOSITORY
    assert not any(secret in str(failed.value.to_dict()) for secret in ("hf_canary", "/root", "unpickling"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_model_says_whose_terms_to_accept_and_which_variable_to_set(status: int) -> None:
    with pytest.raises(GatedModel) as failed, loading("diarization model", REPOSITORY):
        raise answered(status, hub.GatedRepoError)
    assert f"https://huggingface.co/{REPOSITORY}" in failed.value.message
    assert "HF_TOKEN" in failed.value.message


def test_an_error_that_is_ours_already_passes_through() -> None:
    with pytest.raises(HubUnreachable, match="mine"), loading("x", "y"):
        raise HubUnreachable("mine")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_a_wish_to_stop_is_no_model_error(error: BaseException) -> None:
    with pytest.raises(type(error)), loading("x", "y"):
        raise error


def test_the_path_of_a_configured_folder_is_not_shown() -> None:
    with pytest.raises(ModelNotFound) as failed, loading("diarization model", "/srv/private/models/diar"):
        raise hub.HFValidationError("x")
    assert "/srv" not in str(failed.value.to_dict())
    assert "diar" in failed.value.message


LOADERS: dict[str, Callable[[Models], Any]] = {
    "whisperx_model": lambda models: models.engine(models.model_set.speech()),
    "align_model": lambda models: models.aligner("en"),
    "diarization_model": lambda models: models.diarizer(),
    "speaker_model": lambda models: models.encoder(),
}
FOLDERS = {
    "whisperx_model": "whisper",
    "align_model": "aligner",
    "diarization_model": "diarization",
    "speaker_model": "ecapa",
}


class TestWithTheRealLoaders:
    def models(self, field: str, source: str) -> Models:
        return Models(ModelSet(configured(**{field: source})), "cpu")

    @pytest.mark.parametrize("field", LOADERS)
    def test_an_empty_folder_is_told_as_a_model_error(self, field: str, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(ModelError) as failed:
            LOADERS[field](self.models(field, str(tmp_path / "empty")))
        assert failed.value.code in ("model_not_found", "weights_corrupt")
        assert str(tmp_path) not in str(failed.value.to_dict())

    @pytest.mark.parametrize("field", LOADERS)
    def test_a_folder_that_is_not_there_is_told_as_a_model_error(self, field: str, tmp_path: Path) -> None:
        with pytest.raises(ModelError) as failed:
            LOADERS[field](self.models(field, str(tmp_path / "absent")))
        assert failed.value.code in ("model_not_found", "hub_unreachable")
        assert str(tmp_path) not in str(failed.value.to_dict())

    @pytest.mark.parametrize("field", LOADERS)
    def test_half_a_file_is_told_as_a_model_error_and_a_mended_one_loads(self, field: str, tmp_path: Path) -> None:
        folder = tmp_path / "copy"
        shutil.copytree(ROOT / "models" / "demo" / FOLDERS[field], folder)
        largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        whole = largest.read_bytes()
        largest.write_bytes(whole[: len(whole) // 2])
        models = self.models(field, str(folder))
        with pytest.raises(ModelError) as failed:
            LOADERS[field](models)
        assert failed.value.code == "weights_corrupt"
        largest.write_bytes(whole)
        assert LOADERS[field](models) is LOADERS[field](models)

    @pytest.mark.parametrize("parity", [False, True])
    def test_a_converted_model_without_its_tokenizer_is_refused(self, parity: bool, tmp_path: Path) -> None:
        folder = tmp_path / "converted"
        shutil.copytree(ROOT / "models" / "demo" / "whisper", folder)
        (folder / "tokenizer.json").unlink()
        models = Models(ModelSet(configured(whisperx_model=str(folder))), "cpu", parity=parity)
        with pytest.raises(ModelNotFound, match=r"converted has no tokenizer\.json"):
            models.engine(models.model_set.speech())

    @pytest.mark.parametrize("parity", [False, True])
    def test_the_mel_bins_are_the_models_whatever_its_description_says(self, parity: bool, tmp_path: Path) -> None:
        folder = tmp_path / "converted"
        shutil.copytree(ROOT / "models" / "demo" / "whisper", folder)
        (folder / "preprocessor_config.json").write_text('{"feature_size": 128}')
        models = Models(ModelSet(configured(whisperx_model=str(folder))), "cpu", parity=parity)
        model = models.engine(models.model_set.speech())._model
        assert len(model.feature_extractor.mel_filters) == model.model.n_mels == model.feat_kwargs["feature_size"] == 80

    def test_a_repository_that_is_not_here_and_a_hub_that_is_off_are_told_apart_from_a_fault(self) -> None:
        with pytest.raises(HubUnreachable) as failed:
            self.models("diarization_model", REPOSITORY).diarizer()
        assert failed.value.retryable
        assert REPOSITORY in failed.value.message

    def test_another_speech_model_makes_the_first_leave(self, tmp_path: Path) -> None:
        shutil.copytree(ROOT / "models" / "demo" / "whisper", tmp_path / "other")
        models = self.models("allowed_models", (str(tmp_path / "other"),))  # type: ignore[arg-type]
        first, second = models.model_set.speech(), models.model_set.speech(str(tmp_path / "other"))
        models.engine(first)
        models.detector("silero")
        models.engine(second)
        assert models._cache.names() == ["vad:silero", f"asr:{second.source}"]

    def test_warming_loads_what_is_named_and_nothing_else(self) -> None:
        models = self.models("whisperx_model", "whisper")
        models.warm(("align",))
        assert models._cache.names() == ["align:en"]
        models.warm(())
        assert models._cache.names() == ["align:en"]

    @pytest.mark.parametrize(
        ("free", "left"), [(None, ["de", "fr", "en"]), (7, ["de", "fr", "en"]), (4, ["fr", "en"]), (0, ["en"])]
    )
    def test_aligners_of_other_languages_leave_where_one_more_would_take_a_jobs_room(
        self, free: int | None, left: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models = self.models("whisperx_model", "whisper")
        models.device = "cuda"
        for language in ("de", "fr"):
            models._cache.get(f"align:{language}", lambda: "an aligner of 2 GB")

        def free_memory() -> int | None:
            gone = 2 - sum(name in ("align:de", "align:fr") for name in models._cache.names())
            return None if free is None else (free + 2 * gone) * 10**9

        monkeypatch.setattr(models_room, "free_gpu_memory", free_memory)
        monkeypatch.setattr(models_room, "Aligner", lambda *_: "the new one")
        models.aligner("en")
        assert [name.removeprefix("align:") for name in models._cache.names()] == left

    def test_a_gpu_that_is_not_there_is_a_wrong_setting(self) -> None:
        import ctranslate2

        if ctranslate2.get_cuda_device_count():
            pytest.skip("there is a GPU")
        with pytest.raises(InvalidSettings, match="WHISPERX_DEVICE"):
            Models(ModelSet(configured()), "cuda")


def test_torch_that_another_thread_is_importing_is_left_alone_by_what_needs_none_and_waited_for_by_the_rest() -> None:
    """Imports run beside recognition, and half of torch has no backends: a job failed once in a few starts."""
    program = (
        "import sys, threading, time\n"
        "from scribe.runtime.gpu_memory import keep_float32, release_memory\n"
        "assert 'torch' not in sys.modules\n"
        "keep_float32()\n"
        "importing = threading.Thread(target=__import__, args=('torch',))\n"
        "importing.start()\n"
        "while importing.is_alive() and 'torch' not in sys.modules: time.sleep(0)\n"
        "assert not hasattr(sys.modules['torch'], 'backends')\n"
        "keep_float32()\n"
        "assert not hasattr(sys.modules['torch'], 'backends')\n"
        "release_memory()\n"
        "keep_float32()\n"
        "assert not sys.modules['torch'].backends.cudnn.allow_tf32\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT / "src", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
