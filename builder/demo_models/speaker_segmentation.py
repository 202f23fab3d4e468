"""Who speaks when, heard through the speaker encoder: the segmentation model of the demo set's diarization.

pyannote's own PyanNet learns its ear from raw samples. Given the minutes of training that a demo set gets, it hears *that* somebody speaks
but mixes up who: with perfect clustering a third of its error stayed. This one starts from the frames of the trained ECAPA encoder,
which already tell voices apart, and learns only the memory behind them. A pyannote checkpoint stores this module's *name*:
it must stay importable as `demo_models.speaker_segmentation` wherever the pipeline is loaded.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from pyannote.audio.core.model import Model
from torch import nn
from torch.nn import functional as F

from demo_models.speaker_embedding import ECAPA, MEL_BANDS, encoder

_WINDOW, _HOP, _POOL = 400, 160, 2


class EcapaSegmentation(Model):
    """waveforms [batch, 1, sample] at 16 kHz -> log-probabilities [batch, frame, class of the powerset], a frame every 20 ms."""

    def __init__(self, hidden: int = 96, sample_rate: int = 16000, num_channels: int = 1, task=None) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("hidden")
        from speechbrain.lobes.features import Fbank

        self.fbank = Fbank(n_mels=MEL_BANDS)
        trunk = encoder()
        self.blocks, self.gather = trunk.blocks, trunk.mfa
        self.lstm = nn.LSTM(
            ECAPA["channels"][-1] + MEL_BANDS, hidden, num_layers=2, bidirectional=True, batch_first=True
        )
        self.linear = nn.Linear(2 * hidden, hidden)

    def hear_with(self, weights: dict[str, torch.Tensor]) -> None:
        """Takes over a trained encoder's layers up to its pooling, and keeps them as they are."""
        trunk = encoder()
        trunk.load_state_dict(weights)
        self.blocks.load_state_dict(trunk.blocks.state_dict())
        self.gather.load_state_dict(trunk.mfa.state_dict())
        self.blocks.requires_grad_(False)
        self.gather.requires_grad_(False)

    @property
    def dimension(self) -> int:
        return self.specifications.num_powerset_classes

    def build(self) -> None:
        self.classifier = nn.Linear(self.hparams.hidden, self.dimension)
        self.activation = self.default_activation()

    @lru_cache  # noqa: B019 - one instance a worker, and pyannote asks again for every batch
    def num_frames(self, num_samples: int) -> int:
        return (1 + num_samples // _HOP) // _POOL

    def receptive_field_size(self, num_frames: int = 1) -> int:
        return _WINDOW + (num_frames * _POOL - 1) * _HOP

    def receptive_field_center(self, frame: int = 0) -> int:
        return frame * _POOL * _HOP + (_POOL - 1) * _HOP // 2

    def frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """[batch, 1, sample] -> [batch, frame, feature]: the encoder's frames beside the plain spectrum, which has the sharper edges."""
        mel = self.fbank(waveforms.squeeze(1))
        mel = mel - mel.mean(1, keepdim=True)
        hidden, outputs = mel.transpose(1, 2), []
        for block in self.blocks:
            hidden = block(hidden)
            outputs.append(hidden)
        heard = self.gather(torch.cat(outputs[1:], dim=1))
        return F.avg_pool1d(torch.cat([heard, mel.transpose(1, 2) / 10], dim=1), _POOL).transpose(1, 2)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        remembered, _ = self.lstm(self.frames(waveforms))
        return self.activation(self.classifier(F.leaky_relu(self.linear(remembered))))
