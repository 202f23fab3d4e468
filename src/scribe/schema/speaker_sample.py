"""A voice sample of a job, and the display name of its speaker."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Annotated, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

# URLs may be signed and base64 is a person's voice: neither is ever serialized.
Hidden = Annotated[str, PlainSerializer(lambda _: "[secure]", when_used="json")]


class Strict(BaseModel):
    """Base of the job's models: JSON types only (`true` is no integer, NaN no number); unknown keys are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def __getstate__(self) -> NoReturn:
        raise TypeError("a job holds secrets and is never pickled")


class Embedding(Strict):
    """A speaker embedding from `speakers[].embedding` of an earlier result, given instead of audio."""

    model: str = Field(max_length=200)
    vector: list[float] = Field(min_length=8, max_length=4096)
    dimension: int | None = None
    seconds: float | None = None


class SpeakerSample(Strict):
    """A voice to recognize: exactly one of `url`, `audio_base64`, `embedding`."""

    url: Hidden | None = Field(None, max_length=4096, repr=False)
    audio_base64: Hidden | None = Field(None, repr=False)
    embedding: Embedding | None = None
    name: str | None = Field(None, max_length=200)

    @model_validator(mode="after")
    def _one_source(self) -> SpeakerSample:
        if sum(v is not None for v in (self.url, self.audio_base64, self.embedding)) != 1:
            raise ValueError("give exactly one of url, audio_base64, embedding")
        if not self.display_name:
            raise ValueError("needs a name")
        return self

    @property
    def display_name(self) -> str:
        """`name`, else `?name=` of the URL, else its `#fragment`, else the file's stem; cleaned, 64 characters at most."""
        return clean_name(self.name) or name_from_url(self.url or "")


def clean_name(text: str | None) -> str:
    """Return the name without unprintable characters, with single spaces, cut to 64 characters."""
    printable = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text or "")
    return re.sub(r"\s+", " ", printable).strip()[:64]


def name_from_url(url: str) -> str:
    """Return the URL's `?name=`, else its `#fragment`, else the file's stem; "" when there is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    stem = PurePosixPath(unquote(parts.path)).stem
    candidates = (parse_qs(parts.query).get("name", [""])[0], unquote(parts.fragment), stem)
    return next((name for name in map(clean_name, candidates) if name), "")
