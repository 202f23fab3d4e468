"""whisperX's voice activity network without pyannote: the same digits, no stranger's code, and no guess at what it is not."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.demo import configured, excerpt, recording

from scribe.errors import WorkerError
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.nn import checkpoint, pyannet
from scribe.vad.detectors import PyannoteDetector

PYANNOTE = "pyannote.audio"


@functools.cache
def original() -> dict[str, Any]:
    """whisperX's checkpoint as pyannote reads it, without what only training needs."""
    import pyannote.audio  # noqa: F401 (the classes that it names)
    import torch

    found = torch.load(pyannet.packaged(), map_location="cpu", weights_only=False)
    return {name: value for name, value in found.items() if name != "optimizer_states"}


def saved(folder: Path, change: Callable[[dict[str, Any]], None] = lambda found: None) -> Path:
    """The checkpoint with one thing changed."""
    import torch

    found = dict(original())
    found["hyper_parameters"] = {k: dict(v) if isinstance(v, dict) else v for k, v in found["hyper_parameters"].items()}
    found["state_dict"], found[PYANNOTE] = dict(found["state_dict"]), dict(found[PYANNOTE])
    change(found)
    path = folder / "weights.bin"
    torch.save(found, path)
    return path


@pytest.mark.parametrize("windows", [1, 3])
def test_the_network_gives_pyannotes_digits(windows: int) -> None:
    import torch
    from whisperx.vads.pyannote import load_vad_model

    heard = torch.randn(windows, 1, 80_000, generator=torch.Generator().manual_seed(windows))
    heard[:, :, 40_000:] *= 0.001
    ours, theirs = pyannet.load(pyannet.packaged(), "cpu"), load_vad_model("cpu")._segmentation
    assert ours is not None
    assert ours.infer(heard).tobytes() == theirs.infer(heard).tobytes()
    field = theirs.model.receptive_field
    assert (ours.frame, ours.frame_step) == (field.duration, field.step)
    assert (ours.duration, ours.step, ours.batch) == (theirs.duration, theirs.step, theirs.batch_size)


def stride(found: dict[str, Any]) -> None:
    found["hyper_parameters"]["sincnet"]["stride"] = 20


def powerset(found: dict[str, Any]) -> None:
    task = found[PYANNOTE]["specifications"]
    found[PYANNOTE]["specifications"] = dataclasses.replace(task, powerset_max_classes=2)


def one_label(found: dict[str, Any]) -> None:
    task = found[PYANNOTE]["specifications"]
    found[PYANNOTE]["specifications"] = dataclasses.replace(task, problem=type(task.problem)(1))


def warm_up(found: dict[str, Any]) -> None:
    task = found[PYANNOTE]["specifications"]
    found[PYANNOTE]["specifications"] = dataclasses.replace(task, warm_up=(0.5, 0.5))


def other_class(found: dict[str, Any]) -> None:
    found[PYANNOTE]["architecture"] = {"module": "pyannote.audio.models.segmentation", "class": "SSeRiouSS"}


def split_lstm(found: dict[str, Any]) -> None:
    found["hyper_parameters"]["lstm"]["monolithic"] = False


def one_layer_more(found: dict[str, Any]) -> None:
    found["state_dict"]["linear.2.weight"] = found["state_dict"]["linear.1.weight"]


def one_layer_less(found: dict[str, Any]) -> None:
    del found["state_dict"]["lstm.weight_ih_l3"]


OTHERS = [stride, powerset, one_label, warm_up, other_class, split_lstm, one_layer_more, one_layer_less]


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: change.__name__)
def test_another_architecture_is_left_to_pyannote(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    assert pyannet.load(saved(tmp_path, change), "cpu") is None


def test_weights_of_ones_own_are_heard_by_this_network_and_those_of_another_shape_by_pyannote(tmp_path: Path) -> None:
    def louder(found: dict[str, Any]) -> None:
        found["state_dict"]["classifier.bias"] = found["state_dict"]["classifier.bias"] + 0.5

    def louder_and_coarser(found: dict[str, Any]) -> None:
        louder(found)
        stride(found)

    audio = excerpt("own-weights", recording("conversation.mp3")[0], 0.0, 12.3)
    for change in (louder, louder_and_coarser):
        path = saved(tmp_path, change)
        ours, theirs = (PyannoteDetector("cpu", path, parity=parity) for parity in (False, True))
        assert hasattr(ours, "_pipeline") == (change is louder_and_coarser)
        found = ours.chunks(audio, 0.5, 0.363, 3)
        assert found
        assert found == theirs.chunks(audio, 0.5, 0.363, 3)


class Program:
    """What a stranger would hide in a file of weights."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_a_program_that_hides_in_the_weights_is_not_run(tmp_path: Path) -> None:
    import torch

    marker = tmp_path / "was-here"

    def infected(found: dict[str, Any]) -> None:
        found["extra"] = Program(marker)

    path = saved(tmp_path, infected)
    assert pyannet.load(path, "cpu") is not None
    assert isinstance(checkpoint.read(path)["extra"], checkpoint.Foreign)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


def absent(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def no_weights_at_all(path: Path) -> None:
    path.write_bytes(b"<!doctype html><title>404</title>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [absent, cut_short, no_weights_at_all, empty], ids=lambda d: d.__name__)
@pytest.mark.models
def test_a_file_that_cannot_be_read_is_told_in_the_words_of_parity_mode(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(pyannet.packaged().read_bytes())
    damage(path)
    told = []
    for parity in (False, True):
        with pytest.raises(WorkerError) as raised:
            Models(ModelSet(configured()), "cpu", vad_weights=path, parity=parity).detector("pyannote")
        told.append(raised.value.to_dict() | {"error_id": None})
    assert told[0] == told[1]
    assert told[0]["code"] == ("model_not_found" if damage is absent else "weights_corrupt")


def test_an_older_checkpoint_without_a_zip_around_it_is_read_too(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "old.bin"
    torch.save(original(), path, _use_new_zipfile_serialization=False)
    old, new = pyannet.load(path, "cpu"), pyannet.load(pyannet.packaged(), "cpu")
    assert old is not None
    assert new is not None
    heard = torch.ones(1, 1, 80_000)
    np.testing.assert_array_equal(old.infer(heard), new.infer(heard))
