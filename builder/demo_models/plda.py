"""The speaker model behind VBx clustering: how much embeddings differ between speakers and within one, from training voices.

pyannote 4 loads a PLDA even for the clusterings that never ask it, and looks for a missing one on the hub.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from demo_models.augment import augment
from demo_models.corpus import Corpus
from demo_models.espeak import RATE
from demo_models.speaker_embedding import EcapaEmbedding

SPEAKERS, CROPS = 300, 10
_FLOOR = 1e-3
"""Added to both covariances' diagonal, so that they can be inverted."""


def training_embeddings(corpus: Corpus, ecapa: Path, seed: int = 5) -> np.ndarray:
    """[speaker, crop, dimension]: stretches of 1 to 4 seconds, augmented."""
    model = EcapaEmbedding().eval()
    model.ecapa.load_state_dict(torch.load(ecapa / "embedding_model.ckpt", map_location="cpu"))
    rng = np.random.default_rng(seed)
    speakers = rng.choice(len(corpus.voices), size=min(SPEAKERS, len(corpus.voices)), replace=False)
    rows = []
    with torch.inference_mode():
        for speaker in speakers:
            lengths = (rng.choice((1.0, 1.5, 2.0, 3.0, 4.0), size=CROPS) * RATE).astype(int)
            crops = [torch.from_numpy(augment(corpus.stretch(speaker, length, rng), rng)) for length in lengths]
            rows.append(np.stack([model(crop[None, None])[0].numpy() for crop in crops]))
    return np.stack(rows).astype(np.float64)


def make_plda(embeddings: np.ndarray, folder: Path) -> np.ndarray:
    """[speaker, crop, dimension] -> `folder/{xvec_transform,plda}.npz`, as pyannote's vbx_setup reads them.

    Returns the variances between speakers, in units of the variance within one.

    Two-covariance model: after centring and scaling to one length, the basis in which speech of one speaker varies by 1 in every
    direction, and speakers by `psi`, falling. All dimensions stay: there are only 64.
    """
    from scipy.linalg import eigh

    dimension = embeddings.shape[-1]
    first_mean = embeddings.mean((0, 1))
    scaled = np.sqrt(dimension) * _unit(embeddings - first_mean)
    second_mean = scaled.mean((0, 1))
    scaled = np.sqrt(dimension) * _unit(scaled - second_mean)
    mean = scaled.mean((0, 1))
    centres = scaled.mean(1) - mean
    within = np.cov((scaled - scaled.mean(1, keepdims=True)).reshape(-1, dimension).T) + _FLOOR * np.eye(dimension)
    between = np.cov(centres.T) + _FLOOR * np.eye(dimension)
    psi, basis = eigh(between, within)
    psi, basis = psi[::-1], basis[:, ::-1]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "xvec_transform.npz", mean1=first_mean, mean2=second_mean, lda=np.eye(dimension))
    np.savez(folder / "plda.npz", mu=mean, tr=basis.T, psi=psi)
    return psi


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
