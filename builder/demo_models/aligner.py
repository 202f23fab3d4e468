"""The word aligner: a small Wav2Vec2ForCTC over letters, taught where each letter begins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from demo_models.augment import augment, change_speed, decibels
from demo_models.corpus import Corpus
from demo_models.espeak import RATE
from demo_models.grammar import plain_words
from demo_models.training import Batches, best_device, train

LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4} | {
    c: 5 + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz'")
}
BLANK = LETTERS["<pad>"]
SECONDS, BATCH = 6.0, 12
FRAME = 0.02
EARLY = 1.4
"""Frames by which a letter's label precedes its time. whisperX puts a word's start one frame after the frame that moved on: labels in
their right place gave starts 26 ms late throughout."""
WORD_END_EARLY = 0.2
"""The same for "|", which ends a word and is not shifted by the trellis: labels shifted like letters ended words 25 ms early."""


def untrained():
    """20 ms a frame in two convolutions. The first begins as a bank of windowed sines and cosines on the mel scale, the linear layers
    as Xavier would have them: from transformers' own start (normal, 0.02) a model this narrow does not learn in minutes."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    dropouts = (
        "hidden_dropout",
        "attention_dropout",
        "feat_proj_dropout",
        "layerdrop",
        "final_dropout",
        "activation_dropout",
    )
    quiet = dict.fromkeys(dropouts, 0.0)
    model = Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=len(LETTERS),
            hidden_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=384,
            conv_dim=[160, 128],
            conv_kernel=[400, 3],
            conv_stride=[160, 2],
            num_feat_extract_layers=2,
            feat_extract_norm="layer",
            conv_bias=True,
            do_stable_layer_norm=True,
            num_conv_pos_embeddings=31,
            num_conv_pos_embedding_groups=8,
            apply_spec_augment=False,
            mask_time_prob=0.0,
            pad_token_id=BLANK,
            bos_token_id=1,
            eos_token_id=2,
            **quiet,
        )
    )
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
    model.wav2vec2.feature_extractor.conv_layers[0].conv.weight.data[:] = torch.from_numpy(
        _mel_filters()[:, None]
    ).float()
    return model


def _mel_filters() -> np.ndarray:
    """[160, 400]: 80 cosines and 80 sines from 60 to 7600 Hz under a Hann window."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60, 7600))
    hertz = 700 * (10 ** (np.linspace(low, high, 80) / 2595) - 1)
    phase = 2 * np.pi * hertz[:, None] * (np.arange(400) - 200) / RATE
    return np.concatenate([np.cos(phase), np.sin(phase)]) * np.hanning(400) / 40


def scene(corpus: Corpus, rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """SECONDS of sentences with pauses: (raw audio [sample], [(word, start, end)]). whisperX feeds the model raw samples, so no scaling."""
    total = int(SECONDS * RATE)
    audio, words, end = np.zeros(total, np.float32), [], 0
    while True:
        piece = corpus.pieces[rng.integers(len(corpus.pieces))]
        speech, factor = corpus.audio(piece), 1.0
        if rng.random() < 0.35:
            factor = rng.uniform(0.9, 1.1)
            speech = change_speed(speech, factor)
        first = end + int(rng.uniform(0, 0.5) * RATE)
        if first + len(speech) > total:
            if words:
                break
            continue
        audio[first : first + len(speech)] = speech * decibels(rng.uniform(-6, 0))
        words += [
            (word, first / RATE + start / factor, first / RATE + stop / factor) for word, start, stop in piece.words
        ]
        end = first + len(speech)
    return augment(audio, rng), words


def labels(words: list[tuple[str, float, float]], frames: int) -> np.ndarray:
    """int64 [frame]: one frame a letter, at its beginning, blank everywhere else. A word's letters share its time evenly.

    Not CTC: whisperX's trellis stays on blank and moves on at a letter, so a letter must be a peak, and at its onset.
    """
    result, last = np.full(frames, BLANK, np.int64), -1

    def put(label: int, seconds: float, early: float) -> None:
        nonlocal last
        frame = max(0, round(seconds / FRAME - early), last + 1)
        if frame < frames:
            result[frame], last = label, frame

    for word, start, end in words:
        letters = plain_words(word)[0]
        for number, letter in enumerate(letters):
            put(LETTERS[letter], start + (end - start) * number / len(letters), EARLY)
        put(LETTERS["|"], end, WORD_END_EARLY)
    return result


def save(model, folder: Path) -> None:
    """Model and processor, as whisperx.load_align_model(model_name=folder) reads them."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps(LETTERS), encoding="utf-8")
    names = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "word_delimiter_token": "|",
    }
    tokenizer = Wav2Vec2CTCTokenizer(str(vocabulary), do_lower_case=True, **names)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=False, return_attention_mask=False)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)


def train_aligner(corpus: Corpus, folder: Path, steps: int, seed: int = 2) -> None:
    """Writes the aligner's folder."""
    torch.manual_seed(seed)
    device = best_device()
    model = untrained().to(device).train()
    frames = int(model._get_feat_extract_output_lengths(int(SECONDS * RATE)))
    weights = torch.ones(len(LETTERS), device=device)
    weights[BLANK] = 0.5

    def batch(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        scenes = [scene(corpus, rng) for _ in range(BATCH)]
        audio, targets = (
            np.stack(part) for part in ([audio for audio, _ in scenes], [labels(words, frames) for _, words in scenes])
        )
        return torch.from_numpy(audio), torch.from_numpy(targets)

    def loss_of(data: tuple[torch.Tensor, torch.Tensor], _progress: float) -> torch.Tensor:
        audio, targets = (part.to(device) for part in data)
        return F.cross_entropy(model(audio).logits.flatten(0, 1), targets.flatten(), weight=weights)

    train(
        model.parameters(),
        Batches(batch, steps, seed),
        loss_of,
        1.5e-3,
        warm_up=80,
        checkpoint=lambda: save(model, folder),
    )
