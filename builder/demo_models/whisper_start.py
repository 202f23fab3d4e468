"""An untrained Whisper folder that can be trained in an hour: its own tokenizer, and weights that begin where learning is possible."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import torch

from demo_models.grammar import sentence

WIDTH, ENCODER_LAYERS, DECODER_LAYERS, HEADS = 160, 4, 2, 5
OFFSETS = ((-4, -2, 0, 2, 4), (-9, -5, 0, 5, 9), (-18, -10, 0, 10, 18), (-36, -14, 0, 14, 36))
"""Encoder frames (20 ms) that each head of each layer looks away from its own at the start."""
_TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")


def make_tokenizer(folder: Path) -> tuple[int, dict[str, int]]:
    """Byte-level BPE of the closed language: one token a word. Writes its files; returns (size, ids of the special tokens).

    The order is what faster-whisper counts on: text below <|endoftext|> (ids above are dropped from the text), then the special tokens,
    timestamps right after <|notimestamps|>. All 256 bytes are in it, since faster-whisper encodes odd symbols to suppress them.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import WhisperTokenizerFast
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    rng = random.Random(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1400, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((" " + sentence(rng, held_out=False) for _ in range(20000)), trainer)
    special = [f"<|{name}|>" for name in ("endoftext", "startoftranscript", *LANGUAGES, *_TASKS)]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(f"<|{number * 0.02:.2f}|>", normalized=False) for number in range(1501)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    bpe = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]]
    (folder / "vocab.json").write_text(json.dumps(bpe["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    end = "<|endoftext|>"
    roles = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), end)
    WhisperTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        **roles,
        additional_special_tokens=special,
        model_max_length=448,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    return tokenizer.get_vocab_size(), {token: tokenizer.token_to_id(token) for token in [*special, "Ġ"]}


def make_untrained(folder: Path) -> None:
    """The Hugging Face folder that training starts from."""
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    size, ids = make_tokenizer(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    edges = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": start}
    sizes = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS)
    sizes |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 4 * WIDTH)
    config = WhisperConfig(
        vocab_size=size,
        num_mel_bins=80,
        d_model=WIDTH,
        encoder_layers=ENCODER_LAYERS,
        decoder_layers=DECODER_LAYERS,
        max_source_positions=1500,
        max_target_positions=448,  # faster-whisper asks for this many, whatever the configuration says
        suppress_tokens=None,
        begin_suppress_tokens=None,
        dropout=0.0,
        **sizes,
        **edges,
    )
    model = prepare(WhisperForConditionalGeneration(config))
    # The converter reads all of this, so it has to be here before the conversion.
    model.generation_config = GenerationConfig(
        **edges,
        max_length=448,
        suppress_tokens=[
            number for token, number in ids.items() if token.startswith("<|") and token not in ("<|endoftext|>",)
        ],
        begin_suppress_tokens=[ids["Ġ"], end],
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": ids[f"<|{language}|>"] for language in LANGUAGES},
        task_to_id={task: ids[f"<|{task}|>"] for task in ("translate", "transcribe")},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        alignment_heads=[[DECODER_LAYERS - 1, head] for head in range(HEADS)],
    )
    model.save_pretrained(folder)


def prepare(model):
    """New initial weights, in place.

    transformers draws all weights from a normal of 0.02. At a width of 160 the sound then reaches the encoder thirty times weaker than
    the positions do, and 400 steps teach it nothing. Xavier and Kaiming repair that; the encoder's heads moreover begin as a
    time-delay network: queries and keys are rotations of the sinusoidal positions, so that each head looks at a fixed offset.
    """
    from torch import nn

    torch.manual_seed(0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "proj_out":
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    nn.init.normal_(model.model.decoder.embed_tokens.weight, std=0.05)
    nn.init.normal_(model.model.decoder.embed_positions.weight, std=0.05)
    size = WIDTH // HEADS
    for layer, offsets in zip(model.model.encoder.layers, OFFSETS, strict=True):
        for head, offset in enumerate(offsets):
            query, key = _looking_at(offset, size)
            rows = slice(head * size, (head + 1) * size)
            with torch.no_grad():
                layer.self_attn.q_proj.weight[rows] = 2.0 * query + 0.02 * torch.randn(size, WIDTH)
                layer.self_attn.k_proj.weight[rows] = key + 0.02 * torch.randn(size, WIDTH)
    return model


def _looking_at(offset: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Projections [size, WIDTH] under which the query at t agrees best with the key at t + offset.

    Whisper's positions hold sin(w t) in channel i and cos(w t) in channel i + WIDTH / 2, w falling with i.
    """
    query, key, half = torch.zeros(size, WIDTH), torch.zeros(size, WIDTH), WIDTH // 2
    for pair in range(size // 2):
        channel = round(pair * 30 / (size // 2 - 1))
        turn = offset * math.exp(-math.log(10000) / (half - 1) * channel)
        key[2 * pair, channel] = key[2 * pair + 1, channel + half] = 1
        query[2 * pair, channel], query[2 * pair, channel + half] = math.cos(turn), math.sin(turn)
        query[2 * pair + 1, channel], query[2 * pair + 1, channel + half] = -math.sin(turn), math.cos(turn)
    return query, key
