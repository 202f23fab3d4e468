"""Base class of the engines on a faster-whisper model: prompt length, language detection, features of a chunk."""

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
    """A speech engine on `model`, a loaded faster_whisper.WhisperModel."""

    # For large-v3 with a beam of 5: keys and values for 1500 frames in 2 x 32 layers.
    chunk_bytes = 600_000_000

    def __init__(self, model: WhisperModel, device: str) -> None:
        self._model = model
        _set_mel_bins(model)
        super().__init__(device)

    @property
    def abilities(self) -> Abilities:
        """The model's abilities. Its languages are those that its tokenizer has a token for; yue only since large-v3."""
        if not self._model.model.is_multilingual:
            return Abilities("this model", frozenset(("en",)), tells_language=False, translates=False)
        token = self._model.hf_tokenizer.token_to_id
        return Abilities("this model", frozenset(code for code in LANGUAGES if token(f"<|{code}|>") is not None))

    def fitted(self, options: SpeechOptions) -> SpeechOptions:
        """Return the options with the prompt and the hotwords cut to half of Whisper's 448 tokens together.

        faster-whisper cuts each of them to half of the tokens, and both together then fail or leave no room for text.
        """
        tokenizer, most = self._model.hf_tokenizer, self._model.max_length // 2 - 1
        before, words = (
            tokenizer.encode(" " + (text or "").strip(), add_special_tokens=False).ids if text else []
            for text in (options.initial_prompt, options.hotwords)
        )
        if len(before) + len(words) <= most:
            return options
        # Keep the start of the hotwords, and the end of the prompt, which is closest to the speech.
        kept = words[: max(most - len(before), most // 2)]
        return dataclasses.replace(
            options,
            hotwords=tokenizer.decode(kept).strip() or None,
            initial_prompt=tokenizer.decode(before[-(most - len(kept)) :]).strip() or None,
        )

    def detect_language(
        self, audio: Audio, chunks: Sequence[Chunk], max_tries: int, min_prob: float, monitor: Monitor = UNWATCHED
    ) -> tuple[str, float | None]:
        """Detect the language on chunks of speech, not on the file's first 30 s, which may be music.

        Stops at a mean probability of `min_prob`, unless that is 0.
        """
        if not self.abilities.tells_language:
            return "en", None
        votes: list[dict[str, float]] = []
        for chunk in chunks[:max_tries]:
            monitor.raise_if_stopped()
            found = self._model.model.detect_language(self._model.encode(self._features(audio, [chunk])))[0]
            votes.append({token[2:-2]: probability for token, probability in found})
            language, probability = vote(votes)
            if min_prob and probability >= min_prob:
                break
        language, probability = vote(votes)
        return language, round(probability, 4)

    def _features(self, audio: Audio, chunks: Sequence[Chunk]) -> Features:
        """Compute log-mel features of 30 s for each chunk, cut or zero-padded: (chunks, mel bins, 3000) float32."""
        extractor, longest = self._model.feature_extractor, WINDOW_S * SAMPLE_RATE
        windows = []
        for chunk in chunks:
            samples = audio[int(chunk.start * SAMPLE_RATE) : int(chunk.end * SAMPLE_RATE)][:longest]
            windows.append(extractor(samples, padding=longest - len(samples)))
        return np.ascontiguousarray(np.stack(windows), dtype=np.float32)


def require_tokenizer(source: str) -> None:
    """Raise ModelNotFound for a converted model without its tokenizer; faster-whisper would use openai/whisper-tiny's.

    Whisper models have one of four vocabularies with different special tokens: with another model's tokenizer the task
    and the language are wrong, without any error.
    """
    folder = Path(source)
    if (folder / "model.bin").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"{folder.name} has no tokenizer.json: copy it, and preprocessor_config.json, from the model that was"
            " converted (ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json)",
            {"model": folder.name},
        )


def _set_mel_bins(model: WhisperModel) -> None:
    """Set the number of mel bins to the model's: without preprocessor_config.json faster-whisper uses 80."""
    from faster_whisper.feature_extractor import FeatureExtractor

    bins = model.model.n_mels
    if model.feat_kwargs.get("feature_size", 80) != bins:
        model.feat_kwargs["feature_size"] = bins
        model.feature_extractor = FeatureExtractor(**model.feat_kwargs)


def vote(votes: Sequence[dict[str, float]]) -> tuple[str, float]:
    """Return the language with the highest mean probability over the windows, and that probability; ("en", 0.0) for none."""
    total: dict[str, float] = defaultdict(float)
    for window in votes:
        for language, probability in window.items():
            total[language] += probability / len(votes)
    if not total:
        return "en", 0.0
    language = max(total, key=total.__getitem__)
    return language, total[language]
