"""Build the answer to a job as strict JSON, shortened to the size that RunPod accepts.

RunPod rejects a larger result without a retry, after the GPU has done the work, so the bytes are counted here.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypedDict, overload

from scribe.schema.job import SCHEMA_VERSION
from scribe.schema.warnings import JobWarning

PREVIEW_SEGMENTS = 50
OF_WHAT_TRAVELS = frozenset(("preview_only", "storage_not_configured"))


class Artifact(TypedDict):
    """A stored file. `key` is None when it was sent to a `result_urls` address, `url` when presigning failed."""

    key: str | None
    bytes: int
    url: str | None
    expires_at: str | None


@dataclass(slots=True)
class JobResult:
    """A finished job.

    `segments` are JSON-ready, with words if the job asks for them; `inline` says how many of them the answer holds.
    `texts`: whole files by format, when there is no storage for them. `unstored`: storing the transcript failed, so the
    answer holds as much of it as fits.
    """

    language: str | None
    language_probability: float | None
    duration: float
    segments: Sequence[Mapping[str, object]]
    speakers: Sequence[Mapping[str, object]]
    job_id: str = ""
    inline: str = "preview"
    unstored: bool = False
    text: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    warnings: Sequence[JobWarning] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False
    metadata: Mapping[str, object] | None = None
    debug: Mapping[str, object] | None = None

    def to_dict(self, max_bytes: int) -> dict[str, Any]:
        """Return the largest answer of at most `max_bytes` of UTF-8: as asked, else a preview, else fewer segments, else none.

        Each is tried with all texts, then without the largest text, and so on. With `unstored`, all segments without words
        and then as many of them as fit are tried before the preview.
        """
        count, texts = len(self.segments), sorted(self._texts(), key=lambda name: len(self._texts()[name]))
        fewer = [texts[:number] for number in range(len(texts), -1, -1)]
        attempts = [
            *((self.inline, PREVIEW_SEGMENTS if self.inline == "preview" else count, kept) for kept in fewer),
            *([("preview", count, []), ("preview", self._fitting(max_bytes), [])] if self.unstored else []),
            *(("preview", PREVIEW_SEGMENTS, kept) for kept in fewer),
            ("preview", 10, []),
            ("preview", 1, []),
            ("none", 0, []),
        ]
        for number, (inline, limit, kept) in enumerate(attempts):
            answer = self._shaped(inline, limit, kept, shrunk=number > 0)
            if size_of(answer) <= max_bytes:
                return answer
        answer["speakers"] = [{k: v for k, v in s.items() if k != "embedding"} for s in answer["speakers"]]
        answer["warnings"] = answer["warnings"][-10:]  # the last one reports the truncation
        return answer

    def _fitting(self, max_bytes: int) -> int:
        """Count the segments without words that fit; 100 bytes are reserved for the numbers in the rest of the answer."""
        room = max_bytes - size_of(self._shaped("none", 0, [], shrunk=True)) - 100
        sizes = (size_of(strict(s)) + 2 for s in preview(self.segments, len(self.segments)))
        return bisect_right(list(accumulate(sizes)), room)

    def _texts(self) -> dict[str, str]:
        """Return the texts of the answer by name: `transcription`, and whole files by format."""
        return {**({} if self.text is None else {"transcription": self.text}), **self.texts}

    def _truncation(self, inline: str, shown: int, kept: Sequence[str]) -> JobWarning:
        """Return the warning that says what was left out to keep the answer small, and where the whole is."""
        lost = [name for name in self._texts() if name not in kept]
        words = "" if inline == "full" else ", without words"
        parts = [f"{shown} of {len(self.segments)} segments are inline{words}"]
        if lost:
            parts.append(f"{', '.join(lost)} are left out")
        if self.artifacts:
            parts.append("the artifacts hold the whole transcript")
        elif self.unstored:
            parts.append("send the job again to store the whole transcript")
        else:
            parts.append("configure storage to get the whole transcript")
        return JobWarning(
            "result_truncated", "publish", f"the answer would exceed RESULT_MAX_BYTES: {'; '.join(parts)}"
        )

    def _shaped(self, inline: str, limit: int, kept: Sequence[str], shrunk: bool) -> dict[str, Any]:
        shown = {"full": self.segments, "preview": preview(self.segments, limit), "none": ()}[inline]
        # Warnings about the preview and the texts describe the answer as asked for, not a smaller one.
        warnings = [w for w in self.warnings if not shrunk or w.code not in OF_WHAT_TRAVELS]
        warnings += [self._truncation(inline, len(shown), kept)] if shrunk else []
        answer: dict[str, object] = {
            "schema_version": SCHEMA_VERSION,
            "job_id": self.job_id,
            "detected_language": self.language,
            "language_probability": self.language_probability,
            "duration": self.duration,
            "segments": list(shown),
            "segments_total": len(self.segments),
            "truncated": len(shown) < len(self.segments),
            "partial": self.partial,
            "speakers": list(self.speakers),
            "artifacts": dict(self.artifacts),
            "warnings": [w.to_dict() for w in warnings],
            "timings": {k: round(v, 3) for k, v in self.timings.items()},
            "models": dict(self.models),
        }
        if "transcription" in kept:
            answer["transcription"] = self.text
        if self.texts:
            answer["texts"] = {name: text for name, text in self.texts.items() if name in kept}
        if self.metadata is not None:
            answer["metadata"] = dict(self.metadata)
        if self.debug is not None:
            answer["debug"] = dict(self.debug)
        return strict(answer)


def preview(segments: Sequence[Mapping[str, object]], limit: int = PREVIEW_SEGMENTS) -> list[dict[str, object]]:
    """Return the first `limit` segments without words and characters."""
    return [{k: v for k, v in s.items() if k not in ("words", "chars")} for s in segments[:limit]]


@overload
def strict(value: Mapping[str, object]) -> dict[str, Any]: ...
@overload
def strict(value: object) -> object: ...
def strict(value: object) -> object:
    """Convert a value to strict JSON types: NaN and infinity become null, numpy scalars numbers, lone surrogates `?`.

    The SDK silently drops a result that it cannot serialize, and writes NaN, which JSON parsers reject.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(strict(str(k))): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [strict(v) for v in value]
    if hasattr(value, "item"):
        return strict(value.item())
    return str(value)


def size_of(answer: object) -> int:
    """Return the bytes of the answer as the SDK posts it (UTF-8, not escaped to ASCII)."""
    return len(json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8"))
