"""The speaker encoder: a small ECAPA-TDNN in SpeechBrain's folder format. It names speakers, and (wrapped) it separates them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from demo_models.augment import augment
from demo_models.corpus import Corpus
from demo_models.espeak import RATE
from demo_models.speaker_embedding import ECAPA, MEL_BANDS, encoder
from demo_models.training import Batches, best_device, train

SCALE, MARGIN = 20.0, 0.2
BATCH = 48
CROPS = (0.8, 1.2, 1.6, 2.0, 2.6)
"""Seconds. Diarization asks for the voice of a local speaker in a few seconds of talk: often a second of speech, seldom three."""

HYPERPARAMETERS = f"""# A small speaker encoder trained from nothing on synthetic voices. No classifier: encode_batch is what it is for.
# The pretrainer names loadables and no paths: the weights are then looked for beside this file, and the folder can be moved.
sample_rate: {RATE}
n_mels: {MEL_BANDS}
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
{"".join(f"    {name}: {value}{chr(10)}" for name, value in ECAPA.items())}modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
"""


def features(audio: torch.Tensor, fbank: torch.nn.Module) -> torch.Tensor:
    """[batch, sample] -> [batch, frame, mel], each recording's own mean taken away, as `mean_var_norm` does at run time."""
    mel = fbank(audio)
    return mel - mel.mean(1, keepdim=True)


def margin_loss(cosines: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """Additive angular margin softmax (Deng et al., ArcFace): [batch, class] cosines -> a number."""
    angle = torch.acos(cosines.clamp(-1 + 1e-6, 1 - 1e-6))
    right = F.one_hot(labels, cosines.shape[1]).bool()
    return F.cross_entropy(SCALE * torch.where(right, torch.cos(angle + margin), cosines), labels)


def train_ecapa(corpus: Corpus, folder: Path, steps: int, seed: int = 3, start_from: Path | None = None) -> None:
    """Writes `folder/{hyperparams.yaml, embedding_model.ckpt}`; the margin grows with time, since a full one at the start stalls."""
    from speechbrain.lobes.features import Fbank

    torch.manual_seed(seed)
    device = best_device()
    model, fbank = encoder().to(device), Fbank(n_mels=MEL_BANDS).to(device)
    if start_from is not None:
        model.load_state_dict(torch.load(start_from / "embedding_model.ckpt", map_location=device))
    classes = torch.nn.Parameter(torch.randn(len(corpus.voices), ECAPA["lin_neurons"], device=device) * 0.05)

    def batch(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        length = int(rng.choice(CROPS) * RATE)
        labels = rng.integers(len(corpus.voices), size=BATCH)
        audio = np.stack([augment(corpus.stretch(label, length, rng), rng) for label in labels])
        return torch.from_numpy(audio), torch.from_numpy(labels)

    def loss_of(data: tuple[torch.Tensor, torch.Tensor], progress: float) -> torch.Tensor:
        audio, labels = (part.to(device) for part in data)
        embeddings = F.normalize(model(features(audio, fbank)).squeeze(1), dim=-1)
        return margin_loss(embeddings @ F.normalize(classes, dim=-1).T, labels, MARGIN * min(1.0, 2 * progress))

    def save() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({name: value.cpu() for name, value in model.state_dict().items()}, folder / "embedding_model.ckpt")
        (folder / "hyperparams.yaml").write_text(HYPERPARAMETERS, encoding="utf-8")

    train(
        [*model.parameters(), classes],
        Batches(batch, steps, seed),
        loss_of,
        2e-3,
        clip=3.0,
        weight_decay=1e-4,
        checkpoint=save,
    )
