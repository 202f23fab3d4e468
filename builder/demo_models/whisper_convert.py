"""The trained Hugging Face Whisper as the CTranslate2 folder that whisperX loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

_COPIED = ("tokenizer.json", "preprocessor_config.json")
"""faster-whisper goes to the hub for a tokenizer that is not in the folder."""


def convert(trained: Path, start: Path, folder: Path) -> None:
    """int8. `start` is the untrained folder: tokenizer and generation settings are its, the weights are those in `trained`."""
    from ctranslate2.converters import TransformersConverter

    for file in start.iterdir():
        if file.suffix in (".json", ".txt") and file.name != "config.json":
            shutil.copy(file, trained / file.name)
    TransformersConverter(str(trained), copy_files=list(_COPIED)).convert(str(folder), quantization="int8", force=True)
    vocabulary = folder / "vocabulary.json"
    tokens = json.loads(vocabulary.read_text(encoding="utf-8"))
    vocabulary.write_text(json.dumps(with_empty_token(tokens), ensure_ascii=False), encoding="utf-8")


def with_empty_token(tokens: list[str]) -> list[str]:
    """The tokens with "" in the place of a byte that is never used.

    CTranslate2 4.8 calls a Whisper multilingual when its vocabulary holds the empty token, whatever its size. Without one there is no
    language in the prompt, and detect_language refuses.
    """
    return [token if token != "ÿ" else "" for token in tokens]
