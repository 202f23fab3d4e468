"""What every engine on faster-whisper's model shares: the prompt's room, the language, the features of a chunk."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scribe.audio.decode import SAMPLE_RATE, Audio
from scribe.engines.base import Abilities, Engine, SpeechOptions
from scribe.engines.missed_speech import WINDOW_S
from scribe.errors import ModelNotFound
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.schema.languages import LANGUAGES
from scribe.transcript import Chunk

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

Features = NDArray[np.float32]


class WhisperEngine(Engine):
    """`model` is a loaded faster_whisper.WhisperModel."""

    # Of large-v3 with a beam of 5: its keys and values for 1500 frames, twice 32 layers.
    chunk_bytes = 600_000_000

    def __init__(self, model: WhisperModel, device: str) -> None:
        self._model = model
        _set_mel_bins(model)
        super().__init__(device)

    @property
    def abilities(self) -> Abilities:
        """English alone for a model that writes nothing else; else what its tokenizer has a token for: yue came with large-v3."""
        if not self._model.model.is_multilingual:
            return Abilities("this model", frozenset(("en",)), tells_language=False, translates=False)
        token = self._model.hf_tokenizer.token_to_id
        return Abilities("this model", frozenset(code for code in LANGUAGES if token(f"<|{code}|>") is not None))

    def fitted(self, options: SpeechOptions) -> SpeechOptions:
        """Whisper's window holds 448 tokens, prompt and text together; faster-whisper cuts the prompt and the hotwords to
        half of it each, and the two together then fail, or leave no room to write. They share one half here."""
        tokenizer, most = self._model.hf_tokenizer, self._model.max_length // 2 - 1
        before, words = (
            tokenizer.encode(" " + (text or "").strip(), add_special_tokens=False).ids if text else []
            for text in (options.initial_prompt, options.hotwords)
        )
        if len(before) + len(words) <= most:
            return options
        # The start of the hotwords and the end of the prompt, which stands next to the speech.
        kept = words[: max(most - len(before), most // 2)]
        return dataclasses.replace(
            options,
            hotwords=tokenizer.decode(kept).strip() or None,
            initial_prompt=tokenizer.decode(before[-(most - len(kept)) :]).strip() or None,
        )

    def detect_language(
        self, audio: Audio, chunks: Sequence[Chunk], max_tries: int, min_prob: float, monitor: Monitor = UNWATCHED
    ) -> tuple[str, float | None]:
        """Listen to chunks of speech, not to the file's first 30 s, which may be music; stop at `min_prob` when it is given."""
        if not self.abilities.tells_language:
            return "en", None
        heard: list[dict[str, float]] = []
        for chunk in chunks[:max_tries]:
            monitor.raise_if_stopped()
            found = self._model.model.detect_language(self._model.encode(self._features(audio, [chunk])))[0]
            heard.append({token[2:-2]: probability for token, probability in found})
            language, probability = vote(heard)
            if min_prob and probability >= min_prob:
                break
        language, probability = vote(heard)
        return language, round(probability, 4)

    def _features(self, audio: Audio, chunks: Sequence[Chunk]) -> Features:
        """Log-mel windows of 30 s, (chunks, mel bins, 3000) float32; what is longer is cut, what is shorter is silent."""
        extractor, longest = self._model.feature_extractor, WINDOW_S * SAMPLE_RATE
        windows = []
        for chunk in chunks:
            samples = audio[int(chunk.start * SAMPLE_RATE) : int(chunk.end * SAMPLE_RATE)][:longest]
            windows.append(extractor(samples, padding=longest - len(samples)))
        return np.ascontiguousarray(np.stack(windows), dtype=np.float32)


def require_tokenizer(source: str) -> None:
    """Refuse a converted model without its tokenizer; faster-whisper would take that of openai/whisper-tiny.

    Models have one of four vocabularies, whose special tokens differ: with another model's the task and the language are
    garbled, and nothing says so. Raises ModelNotFound.
    """
    folder = Path(source)
    if (folder / "model.bin").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"{folder.name} has no tokenizer.json: copy it, and preprocessor_config.json, from the model that was"
            " converted (ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json)",
            {"model": folder.name},
        )


def _set_mel_bins(model: WhisperModel) -> None:
    """Compute as many mel bins as the model has inputs: without preprocessor_config.json faster-whisper takes 80."""
    from faster_whisper.feature_extractor import FeatureExtractor

    bins = model.model.n_mels
    if model.feat_kwargs.get("feature_size", 80) != bins:
        model.feat_kwargs["feature_size"] = bins
        model.feature_extractor = FeatureExtractor(**model.feat_kwargs)


def vote(heard: Sequence[dict[str, float]]) -> tuple[str, float]:
    """The language of the highest mean probability over the windows listened to. ("en", 0.0) for none."""
    total: dict[str, float] = defaultdict(float)
    for window in heard:
        for language, probability in window.items():
            total[language] += probability / len(heard)
    if not total:
        return "en", 0.0
    language = max(total, key=total.__getitem__)
    return language, total[language]
