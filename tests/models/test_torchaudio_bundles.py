"""torchaudio's aligners by our own download: a connection that closes early spoils nothing, in parity mode neither."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from support.demo import configured
from support.loopback import Loopback, page
from torchaudio import pipelines
from torchaudio.pipelines._wav2vec2 import utils

from scribe.errors import HubUnreachable, WeightsCorrupt
from scribe.models import published
from scribe.models import torchaudio_bundles as bundles
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.models.published import Published

NAME = "WAV2VEC2_ASR_BASE_960H"
SMALL = {
    "extractor_conv_layer_config": [(16, 10, 5), (16, 3, 2)],
    "encoder_embed_dim": 16,
    "encoder_num_layers": 1,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 16,
    "encoder_pos_conv_groups": 4,
}


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """The bytes of a small model in place of torchaudio's 378 MB; all else is torchaudio's."""
    real = getattr(pipelines, NAME)
    small = dataclasses.replace(real, _params={**real._params, **SMALL})
    monkeypatch.setitem(pipelines.__dict__, NAME, small)
    params = {**small._params, "aux_num_out": len(real.get_labels()) + len(real._remove_aux_axis)}
    file = io.BytesIO()
    torch.save(utils._get_model("Wav2Vec2", params).state_dict(), file)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(published, "PAUSES_S", (0.0,))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(ModelSet, "punkt", lambda self, language: None)
    return file.getvalue()


def served(monkeypatch: pytest.MonkeyPatch, server: Loopback, data: bytes) -> None:
    file = Published(f"{server.url}/{bundles.FILES[NAME]}", len(data), hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(bundles, "weights", lambda name: file if name == NAME else None)


def models(tmp_path: Path, parity: bool = False) -> Models:
    return Models(ModelSet(configured(align_model=NAME, torch_home=tmp_path)), "cpu", parity=parity)


@pytest.mark.parametrize("parity", [False, True])
def test_a_cut_download_is_told_as_the_hubs_fault_and_the_next_try_succeeds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: bytes, parity: bool
) -> None:
    place = tmp_path / "hub" / "checkpoints" / bundles.FILES[NAME]
    with Loopback(page(weights[:5000], Content_Length=len(weights))) as server:
        served(monkeypatch, server, weights)
        with pytest.raises(HubUnreachable) as failed:
            models(tmp_path, parity).aligner("en")
    assert failed.value.retryable
    assert NAME in failed.value.message
    assert not place.exists()
    with Loopback(page(weights)) as server:
        served(monkeypatch, server, weights)
        for _ in range(2):
            models(tmp_path, parity).aligner("en")
        assert len(server.requests) == 1
    assert place.read_bytes() == weights


def test_half_a_file_that_torch_hub_left_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: bytes
) -> None:
    place = tmp_path / "hub" / "checkpoints" / bundles.FILES[NAME]
    place.parent.mkdir(parents=True)
    place.write_bytes(weights[:5000])
    with Loopback(page(weights)) as server:
        served(monkeypatch, server, weights)
        models(tmp_path).aligner("en")
    assert place.read_bytes() == weights


def test_other_weights_than_the_documented_ones_are_never_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: bytes
) -> None:
    with Loopback(page(b"x" + weights[1:])) as server:
        served(monkeypatch, server, weights)
        with pytest.raises(WeightsCorrupt):
            models(tmp_path).aligner("en")
    assert not (tmp_path / "hub" / "checkpoints" / bundles.FILES[NAME]).exists()
