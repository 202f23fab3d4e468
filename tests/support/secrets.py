"""Whether a text carries a secret in any spelling."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote


def carries(text: str, secret: str) -> bool:
    """Whether the text shows the secret: as it is, percent-encoded, JSON-escaped, or inside a base64 run at any offset."""
    readings = [text, unquote(text), text.replace("\\/", "/"), text.replace("\\u002b", "+").replace("\\u002f", "/")]
    if any(secret in reading for reading in readings):
        return True
    for run in re.findall(r"[A-Za-z0-9+/_-]{8,}", unquote(text)):
        plain = run.replace("-", "+").replace("_", "/")
        for skip in range(4):
            piece = plain[skip:]
            if secret.encode() in base64.b64decode(piece[: len(piece) // 4 * 4]):
                return True
    return False
