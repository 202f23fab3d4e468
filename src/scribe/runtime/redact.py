"""Remove secrets and signed URLs from everything that is logged or returned.

After `Redactor.clean` no registered secret is left, neither plain nor in an encoding that a library's message may use,
and no URL keeps its query, fragment or user part.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar, overload
from urllib.parse import quote, quote_plus, urlsplit
from xml.sax.saxutils import escape

Key = TypeVar("Key")
MARK = "[secure]"
# Shorter secrets ("minio", "admin") are common words: masking them would make the log unreadable.
MIN_SECRET_LENGTH = 6

# One character of a URL inside a sentence; a backslash before a quote belongs to the JSON around it.
_PART = r"""(?:[^\s"'<>?#\\]|\\(?!["']))"""
_TAIL = r"""(?:[^\s"'<>\\]|\\(?!["']))"""
_URL = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){{2}})({_PART}*)([?#]{_TAIL}*)?")
# A URL that was percent-encoded as a whole, as proxies and SDKs log it.
_ENCODED_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*%3A%2F%2F[^\s\"'<>]*?)(?:%3F|%23)[^\s\"'<>]*", re.IGNORECASE)
# A request target without its host: "Max retries exceeded with url: /a.mp3?X-Amz-Signature=..." (urllib3).
_TARGET = re.compile(r"""(?<![\w/:.])(/[^\s"'<>?#]*)\?[^\s"'<>]*=[^\s"'<>]*""")


def safe_url(url: str) -> str:
    """Return `url` as scheme://host/path, without user part, query and fragment; "" if it is not a URL."""
    try:
        parts = urlsplit(url.strip())
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme and host else ""


class Redactor:
    """A set of secrets to remove from texts. Thread-safe."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._secrets: Counter[str] = Counter()
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Register a secret. Ignored if it is shorter than MIN_SECRET_LENGTH or part of the mark."""
        if len(secret) < MIN_SECRET_LENGTH or secret in f"?{MARK}":
            return
        with self._lock:
            self._secrets[secret] += 1
            self._compile()

    def discard(self, secret: str) -> None:
        """Undo one `add`, for a job's own secrets when the job ends."""
        with self._lock:
            if self._secrets[secret] <= 1:
                del self._secrets[secret]
            else:
                self._secrets[secret] -= 1
            self._compile()

    def clean(self, text: str) -> str:
        """Return the text with every secret replaced by "[secure]" and every URL cut to scheme, host and path."""
        pattern = self._pattern
        if pattern:
            text = pattern.sub(MARK, text)
        text = _URL.sub(_bare, text)
        text = _ENCODED_URL.sub(rf"\1?{MARK}", text)
        return _TARGET.sub(rf"\1?{MARK}", text)

    @overload
    def clean_value(self, value: str) -> str: ...
    @overload
    def clean_value(self, value: dict[Key, object]) -> dict[Key, object]: ...
    @overload
    def clean_value(self, value: object) -> object: ...
    def clean_value(self, value: object) -> object:
        """Apply `clean` to every string of a JSON-like value, keys included; tuples become lists, other types stay."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {self.clean_value(key): self.clean_value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean_value(item) for item in value]
        return value

    def _compile(self) -> None:
        needles = {needle for secret in self._secrets for needle in _spellings(secret)}
        # Longest first: if one secret is a prefix of another, the longer one must be replaced as a whole.
        ordered = sorted(needles, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _bare(match: re.Match[str]) -> str:
    scheme, rest, tail = match.groups()
    authority, slash, path = rest.partition("/")
    return scheme + authority.rpartition("@")[2] + slash + path + (f"?{MARK}" if tail else "")


def _spellings(secret: str) -> set[str]:
    """Return every form in which libraries print a secret (the list of GitHub's runner, HostContext.DefaultSecretMaskers)."""
    raw = secret.encode("utf-8", "surrogatepass")
    quoted = {quote(raw, safe=""), quote(raw), quote(raw, safe="-_.!~*'()"), quote_plus(raw)}
    quoted |= {re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in quoted}
    escaped = {json.dumps(secret, ensure_ascii=flag)[1:-1] for flag in (True, False)}
    escaped |= {form.replace("/", "\\/") for form in escaped}
    escaped |= {escape(secret), escape(secret, {'"': "&quot;", "'": "&#x27;"}), repr(secret)[1:-1]}
    return {secret} | quoted | escaped | _base64_cores(raw)


def _base64_cores(raw: bytes) -> set[str]:
    """Return the base64 characters that depend on `raw` alone, for each of its three offsets in a longer text."""
    cores = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        # Characters that share bits with bytes before or after `raw` depend on those and are left out.
        core = encoded[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]
        cores |= {core, core.replace("+", "-").replace("/", "_")}
    return cores
