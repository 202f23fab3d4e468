"""Training of the small Whisper: windows of speech, three losses, a teacher for the attention.

The word loss alone does not get off the ground in an hour. Two helpers do it, both made possible by the synthesiser's word times, and both
left out of the shipped file: a classifier of the word spoken in every encoder frame, and a push of the last decoder layer's
cross-attention into the span of the word that comes next. (The second also makes that attention fit for word times by itself.)
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from demo_models.augment import augment, change_speed, decibels
from demo_models.corpus import Corpus
from demo_models.espeak import RATE
from demo_models.grammar import plain_words, vocabulary
from demo_models.training import Batches, best_device, train

MEL_RATE, FRAME_RATE = 100, 50
WORD_IDS = {word: number + 1 for number, word in enumerate(vocabulary())}
FRAME_CLASSES = 200
GUIDED_HEADS = 3
OVERLAP = 0.05


@dataclass(frozen=True, slots=True)
class Phase:
    """Windows of `seconds`, `batch` at a time, for a share of all steps."""

    share: float
    seconds: float
    batch: int


FROM_NOTHING = (Phase(0.45, 8, 12), Phase(0.35, 16, 8), Phase(0.2, 30, 5))
"""Learning begins on short windows: long ones cost more and say less."""
GOING_ON = (Phase(0.1, 30, 5), Phase(0.9, 16, 9))
"""30-second windows first: whisperX pads every chunk to that length. Its chunks hold 15 s at most, which the rest of the time goes to."""


def log_mel(audio: np.ndarray) -> torch.Tensor:
    """float32 [sample] -> [80, frame]: Whisper's own features, as faster-whisper computes them."""
    from importlib.resources import files

    filters = np.load(files("whisperx") / "assets" / "mel_filters.npz")["mel_80"]
    spectrum = torch.stft(torch.from_numpy(audio), 400, 160, window=torch.hann_window(400), return_complex=True)
    mel = (torch.from_numpy(filters) @ (spectrum[..., :-1].abs() ** 2)).clamp(min=1e-10).log10()
    return (torch.maximum(mel, mel.max() - 8.0) + 4) / 4


def window(
    corpus: Corpus, seconds: float, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """(audio [sample], [(word, start, end)]): sentences of one to three speakers, packed as a voice detector would merge them.

    A quarter of the window to all of it is filled, the rest is silence, as in the chunks that whisperX makes.
    """
    total = int(seconds * RATE)
    limit = total * rng.uniform(0.25, 1.0)
    speakers = rng.choice(len(corpus.voices), size=rng.choice((1, 1, 2, 3)), replace=False)
    gains = [decibels(rng.uniform(-6, 0)) for _ in speakers]
    audio, words, end = np.zeros(total, np.float32), [], 0
    while True:
        who = rng.integers(len(speakers))
        pieces = corpus.by_speaker[speakers[who]]
        piece = pieces[rng.integers(len(pieces))]
        speech, factor = corpus.audio(piece), 1.0
        if rng.random() < 0.35:
            factor = rng.uniform(0.9, 1.1)
            speech = change_speed(speech, factor)
        first = max(0, end + int(_gap(end == 0, rng) * RATE))
        if first + len(speech) > (limit if words else total):
            if words or len(speech) > total - RATE:
                break
            continue
        audio[first : first + len(speech)] += speech * gains[who]
        words += [
            (word, first / RATE + start / factor, first / RATE + stop / factor) for word, start, stop in piece.words
        ]
        end = first + len(speech)
    return augment(audio, rng), sorted(words, key=lambda word: word[1])


def _gap(first: bool, rng: np.random.Generator) -> float:
    if first:
        return rng.uniform(0.0, 0.15)
    if rng.random() < OVERLAP:
        return -rng.uniform(0.1, 0.6)
    return rng.uniform(0.05, 0.6) if rng.random() < 0.8 else rng.uniform(0.6, 2.0)


def encode(model, mel: torch.Tensor) -> torch.Tensor:
    """The encoder on windows of any length: transformers' own forward insists on 30 s. [batch, 80, frame] -> [batch, frame / 2, d]."""
    encoder = model.model.encoder
    hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    for layer in encoder.layers:
        hidden = layer(hidden, None, layer_head_mask=None)[0]
    return encoder.layer_norm(hidden)


class Teacher:
    """Targets of a batch, from the words and their times."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        special = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>", "<|endoftext|>")
        *self.prompt, self.end = [self._tokenizer.token_to_id(token) for token in special]

    def targets(self, all_words: list[list[tuple[str, float, float]]], frames: int) -> dict[str, torch.Tensor]:
        """Decoder input and next token [batch, token], allowed frames of each token [batch, token, frame], word of each frame."""
        rows, spans = [], []
        frame_words = torch.zeros(len(all_words), frames, dtype=torch.long)
        for row, words in enumerate(all_words):
            tokens, span = list(self.prompt), [None] * (len(self.prompt) - 1)
            for word, start, end in words:
                ids = self._tokenizer.encode(" " + word, add_special_tokens=False).ids
                tokens += ids
                span += [(start, end)] * len(ids)
                first = int(start * FRAME_RATE)
                frame_words[row, first : max(int(end * FRAME_RATE), first + 1)] = WORD_IDS[plain_words(word)[0]]
            rows.append([*tokens, self.end])
            spans.append([*span, None])
        longest = max(map(len, rows)) - 1
        inputs, following = torch.full((len(rows), longest), self.end), torch.full((len(rows), longest), -100)
        allowed = torch.zeros(len(rows), longest, frames)
        for row, tokens in enumerate(rows):
            inputs[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
            following[row, len(self.prompt) - 1 : len(tokens) - 1] = torch.tensor(tokens[len(self.prompt) :])
            following[row, 0] = tokens[1]  # the language after <|startoftranscript|>: what detect_language reads
            for position, span in enumerate(spans[row]):
                if span is not None:
                    allowed[row, position, max(0, int(span[0] * FRAME_RATE) - 2) : int(span[1] * FRAME_RATE) + 3] = 1
        return {"inputs": inputs, "following": following, "allowed": allowed, "frame_words": frame_words}


def watch_attention(model) -> dict[str, torch.Tensor]:
    """A dict that holds the last decoder layer's cross-attention after every forward pass. Only that layer computes it the slow way."""
    attention, seen = model.model.decoder.layers[-1].encoder_attn, {}
    attention.config = copy.copy(model.config)
    attention.config._attn_implementation = "eager"
    attention.register_forward_hook(lambda _module, _inputs, output: seen.__setitem__("weights", output[1]))
    return seen


def mask(mel: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """SpecAugment: one band of frequencies and one stretch of time become their mean."""
    low, first = rng.integers(68), rng.integers(max(1, mel.shape[1] - 25))
    mel[low : low + rng.integers(12)] = mel.mean()
    mel[:, first : first + rng.integers(25)] = mel.mean()
    return mel


def losses(model, frame_words: torch.nn.Module, seen: dict, data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """(next token, word of every frame, attention outside the word). bfloat16 inside: three times as fast on a core that has it."""
    with torch.autocast(data["mel"].device.type, torch.bfloat16):
        hidden = encode(model, data["mel"])
        output = model.model.decoder(input_ids=data["inputs"], encoder_hidden_states=hidden).last_hidden_state
        scores, words = model.proj_out(output).float().flatten(0, 1), frame_words(hidden).float().flatten(0, 1)
    tokens = F.cross_entropy(scores, data["following"].flatten(), ignore_index=-100, label_smoothing=0.02)
    weight = torch.where(data["frame_words"] == 0, 0.3, 1.0).flatten()
    spoken = F.cross_entropy(words, data["frame_words"].flatten(), reduction="none")
    inside = (seen["weights"].float()[:, :GUIDED_HEADS] * data["allowed"][:, None]).sum(-1).clamp(min=1e-6)
    guided = (data["allowed"].sum(-1) > 0)[:, None].expand_as(inside)
    return tokens, (spoken * weight).mean(), -inside.log()[guided].mean()


def train_whisper(
    corpus: Corpus, start_from: Path, folder: Path, steps: int, phases: tuple[Phase, ...], rate: float, seed: int = 1
) -> None:
    """Trains the Hugging Face folder `start_from` (with its `frame.pt`, when it was trained before) on into `folder`."""
    from transformers import WhisperForConditionalGeneration

    torch.manual_seed(seed)
    device = best_device()
    model = WhisperForConditionalGeneration.from_pretrained(start_from, attn_implementation="sdpa").to(device).train()
    frame_words = torch.nn.Linear(model.config.d_model, FRAME_CLASSES).to(device)
    if (start_from / "frame.pt").exists():
        frame_words.load_state_dict(torch.load(start_from / "frame.pt", map_location=device))
    teacher, seen = Teacher(start_from), watch_attention(model)
    going_on = phases == GOING_ON

    def batch(rng: np.random.Generator, phase: Phase) -> dict[str, torch.Tensor]:
        windows = [window(corpus, phase.seconds, rng) for _ in range(phase.batch)]
        mel = torch.stack([mask(log_mel(audio), rng) for audio, _ in windows])
        return {"mel": mel} | teacher.targets([words for _, words in windows], mel.shape[2] // 2)

    def loss_of(data: dict[str, torch.Tensor], progress: float) -> torch.Tensor:
        tokens, spoken, attended = losses(
            model, frame_words, seen, {name: part.to(device) for name, part in data.items()}
        )
        early = progress < 0.6 and not going_on
        return tokens + (1.0 if early else 0.3) * spoken + (0.5 if early else 0.2) * attended

    def save() -> None:
        model.save_pretrained(folder)
        torch.save(frame_words.state_dict(), folder / "frame.pt")

    learned = [value for name, value in model.named_parameters() if "encoder.embed_positions" not in name]
    plan = [phase for phase in phases for _ in range(round(phase.share * steps))]
    batches = Batches(batch, len(plan), seed, plan)
    train([*learned, *frame_words.parameters()], batches, loss_of, rate, checkpoint=save)
