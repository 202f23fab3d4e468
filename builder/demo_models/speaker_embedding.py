"""The speaker encoder of the demo set as a pyannote.audio model.

The diarization folder needs an embedding model of pyannote's own kind. pyannote 4.0.7 cannot load a SpeechBrain one: it passes `token=`,
which SpeechBrain 1.1.2 refuses. Its native ones have 4 to 7 million parameters. So the small ECAPA that names the speakers is
wrapped here and serves both. A pyannote checkpoint stores the *name* of this module: it must stay importable as
`demo_models.speaker_embedding` wherever the pipeline is loaded, and renaming it breaks the shipped file.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from pyannote.audio.core.model import Model
from torch.nn.functional import interpolate
from torch.nn.utils.rnn import pad_sequence

MEL_BANDS = 40
ECAPA = {
    "channels": [64, 64, 64, 64, 192],
    "kernel_sizes": [5, 3, 3, 3, 1],
    "dilations": [1, 2, 3, 4, 1],
    "attention_channels": 32,
    "res2net_scale": 4,
    "se_channels": 32,
    "lin_neurons": 64,
}
_WINDOW, _HOP = 400, 160
_SHORTEST = 1600
"""Samples: under a tenth of a second there is no voice to speak of, and the answer is not-a-number, as pyannote expects."""


def encoder() -> torch.nn.Module:
    """The untrained ECAPA-TDNN: features [batch, frame, mel] -> [batch, 1, 64]."""
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    return ECAPA_TDNN(input_size=MEL_BANDS, **ECAPA)


class EcapaEmbedding(Model):
    """waveforms [batch, 1, sample] at 16 kHz, weights [batch, frame] or None -> embeddings [batch, 64]."""

    def __init__(self, sample_rate: int = 16000, num_channels: int = 1, task=None) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        from speechbrain.lobes.features import Fbank

        self.fbank = Fbank(n_mels=MEL_BANDS)
        self.ecapa = encoder()

    @property
    def dimension(self) -> int:
        return ECAPA["lin_neurons"]

    @lru_cache  # noqa: B019 - one instance a worker, and pyannote asks again for every batch
    def num_frames(self, num_samples: int) -> int:
        return 1 + num_samples // _HOP

    def receptive_field_size(self, num_frames: int = 1) -> int:
        return _WINDOW + (num_frames - 1) * _HOP

    def receptive_field_center(self, frame: int = 0) -> int:
        return frame * _HOP

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Samples whose weight is at most 0.5 are cut out first, as if the speaker had spoken without a pause."""
        audio = waveforms.squeeze(1)
        if weights is None:
            counts = torch.full((len(audio),), audio.shape[1], device=audio.device)
        else:
            keep = interpolate(weights.unsqueeze(1).float(), size=audio.shape[1], mode="nearest").squeeze(1) > 0.5
            counts = keep.sum(1)
            if counts.max() < _SHORTEST:
                return audio.new_full((len(audio), self.dimension), float("nan"))
            audio = pad_sequence([row[kept] for row, kept in zip(audio, keep, strict=True)], batch_first=True)
        lengths = (counts.clamp(min=_SHORTEST) / audio.shape[1]).clamp(max=1.0)
        features = self.fbank(audio)
        frames = torch.arange(features.shape[1], device=audio.device)
        spoken = (frames[None] < (lengths * features.shape[1]).round()[:, None]).unsqueeze(-1).float()
        mean = (features * spoken).sum(1, keepdim=True) / spoken.sum(1, keepdim=True)
        embeddings = self.ecapa(features - mean, lengths).squeeze(1)
        embeddings[counts < _SHORTEST] = float("nan")
        return embeddings
