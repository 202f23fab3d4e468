"""The region in an S3 endpoint, for the signatures of the worker and of the command line."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def region_of(endpoint: str | None) -> str:
    """Return the region to sign with for an endpoint: `auto` for R2, the data centre for RunPod, AWS's own."""
    host = (urlsplit(endpoint or "").hostname or "").lower()
    if host.endswith(".r2.cloudflarestorage.com"):
        return "auto"
    if found := re.fullmatch(r"s3api-([a-z0-9-]+)\.runpod\.io", host):
        return found[1].upper()
    if found := re.fullmatch(r"s3[.-](?:dualstack\.)?([a-z]{2}-[a-z0-9-]+-\d)\.amazonaws\.com(?:\.cn)?", host):
        return found[1]
    return "us-east-1"
