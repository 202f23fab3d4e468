"""The region of a bucket, as far as its storage's address shows it: the worker and the command line sign for the same one."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def region_of(endpoint: str | None) -> str:
    """The region that an endpoint wants in its signatures: R2 `auto`, RunPod the data centre, AWS its own."""
    host = (urlsplit(endpoint or "").hostname or "").lower()
    if host.endswith(".r2.cloudflarestorage.com"):
        return "auto"
    if found := re.fullmatch(r"s3api-([a-z0-9-]+)\.runpod\.io", host):
        return found[1].upper()
    if found := re.fullmatch(r"s3[.-](?:dualstack\.)?([a-z]{2}-[a-z0-9-]+-\d)\.amazonaws\.com(?:\.cn)?", host):
        return found[1]
    return "us-east-1"
