"""A pyannote.audio model on disk, written without a Lightning trainer."""

from __future__ import annotations

from pathlib import Path

import torch


def save(model, folder: Path) -> None:
    """`folder/pytorch_model.bin` as pyannote.audio 4 loads it: weights, hyper-parameters, and the model's module and class by name.

    `model.specifications` must be set: on_save_checkpoint stores them, and loading fails without.
    """
    import lightning

    checkpoint = {
        "state_dict": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
        "loops": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "callbacks": {},
    }
    model.on_save_checkpoint(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, folder / "pytorch_model.bin")


def save_embedding(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """The ECAPA weights of the SpeechBrain folder, wrapped for pyannote."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    from demo_models.speaker_embedding import EcapaEmbedding

    model = EcapaEmbedding()
    model.ecapa.load_state_dict(weights)
    model.specifications = Specifications(Problem.REPRESENTATION, Resolution.CHUNK, duration=3.0)
    save(model.eval(), folder)
