"""Models of the real sizes with random weights: the arithmetic is the same, so the time is, and nothing is downloaded.

What random weights cannot show: error rates, how many tokens a chunk takes, how many speakers there are. Decoding is
therefore made to last a fixed number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SPECIAL = {"<|endoftext|>": 0, "<|startoftranscript|>": 1, "<|en|>": 2, "<|transcribe|>": 3, "<|notimestamps|>": 4}
FRAMES = 3000


@dataclass(frozen=True, slots=True)
class WhisperShape:
    """Layers, width, heads, mel bands and vocabulary of a Whisper model."""

    encoder: int
    decoder: int
    width: int
    heads: int
    mels: int
    vocabulary: int


LARGE_V3 = WhisperShape(32, 32, 1280, 20, 128, 51866)
TURBO = WhisperShape(32, 4, 1280, 20, 128, 51866)
TINY = WhisperShape(1, 1, 64, 2, 80, 256)


class Whisper:
    """A CTranslate2 Whisper of one shape; saved to `folder` in float16 (in float32 where there is no GPU) and loaded."""

    def __init__(self, shape: WhisperShape, device: str, folder: Path) -> None:
        import ctranslate2

        self.shape = shape
        folder.mkdir(parents=True, exist_ok=True)
        _spec(shape, "float16" if device == "cuda" else "float32").save(str(folder))
        self.model = ctranslate2.models.Whisper(str(folder), device=device)

    def features(self, batch: int) -> Any:
        """Random mel features of `batch` chunks."""
        import ctranslate2

        values = np.random.default_rng(0).standard_normal((batch, self.shape.mels, FRAMES), np.float32)
        return ctranslate2.StorageView.from_array(values)

    def encode(self, features: Any) -> Any:
        """The encoder alone, waited for."""
        return self.model.encode(features, to_cpu=False)

    def generate(self, encoded: Any, batch: int, beam: int, steps: int) -> int:
        """Decode exactly `steps` tokens a chunk, the end forbidden; the tokens in all that came out."""
        prompt = [SPECIAL[t] for t in ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")]
        found = self.model.generate(
            encoded,
            [prompt] * batch,
            beam_size=beam,
            max_length=2 * steps,  # of which CTranslate2 gives the text a half
            suppress_tokens=[SPECIAL["<|endoftext|>"]],
            suppress_blank=False,
        )
        return sum(len(one.sequences_ids[0]) for one in found)


def _spec(shape: WhisperShape, precision: str) -> Any:
    from ctranslate2.converters.transformers import WhisperLoader
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=shape.vocabulary,
            num_mel_bins=shape.mels,
            d_model=shape.width,
            encoder_layers=shape.encoder,
            decoder_layers=shape.decoder,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=4 * shape.width,
            decoder_ffn_dim=4 * shape.width,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=1,
        )
    )
    spec = WhisperLoader().get_model_spec(model)
    names = {number: token for token, number in SPECIAL.items()}
    # An empty token makes CTranslate2 call the model multilingual, and the language then stands in the prompt.
    names[len(names)] = ""
    spec.register_vocabulary([names.get(number, f"token{number}") for number in range(shape.vocabulary)])
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.lang_ids, spec.config.alignment_heads = [SPECIAL["<|en|>"]], [(0, 0)]
    spec.validate()
    spec.optimize(quantization=precision)
    return spec


def aligner(device: str) -> Any:
    """wav2vec2 of base size with English letters, as torchaudio's WAV2VEC2_ASR_BASE_960H has it."""
    import torchaudio

    return torchaudio.models.wav2vec2_base(aux_num_out=29).eval().to(device)


def segmentation(device: str) -> Any:
    """pyannote's PyanNet as community-1 has it: 10-s windows, seven classes of up to two of three speakers."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    model = PyanNet(lstm={"hidden_size": 128, "num_layers": 4, "bidirectional": True, "monolithic": True})
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=10.0,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    model.build()
    return model.eval().to(torch.device(device))


def embedding(device: str) -> Any:
    """WeSpeaker's ResNet34, community-1's embedding network."""
    import torch
    from pyannote.audio.models.embedding import WeSpeakerResNet34

    model = WeSpeakerResNet34()
    model.build()
    return model.eval().to(torch.device(device))
