"""Allow `s3://bucket/key` as a job's source only under the operator's prefixes, and never in other jobs' results.

The object is read with the worker's own keys, so without this check any caller could read all that the worker may read
(confused deputy).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import unquote, urlsplit

from scribe.errors import UrlBlocked
from scribe.net.client import GuardedClient
from scribe.storage.s3 import Storage


class S3Sources:
    """Presigns the objects that jobs may read.

    `open_bucket(name)` returns the Storage of a bucket; `client` may connect to the storage even at a private address.
    """

    def __init__(
        self,
        open_bucket: Callable[[str], Storage],
        client: GuardedClient,
        allowed: Collection[str],
        forbidden: str,
    ) -> None:
        self._open_bucket = open_bucket
        self.client = client
        self._allowed = tuple(_folder(prefix) for prefix in allowed)
        self._forbidden = _folder(forbidden)

    def signed(self, url: str) -> str:
        """Return a presigned URL for `s3://bucket/key`. Raises UrlBlocked for a key outside the operator's prefixes."""
        parts = urlsplit(url)
        bucket, key = parts.netloc, unquote(parts.path.removeprefix("/"))
        place = f"{bucket}/{key}"
        # Storages that keep objects as files resolve `..` and empty parts, and would read another key than the checked one.
        odd = any(part in ("", ".", "..") for part in place.split("/"))
        if odd or not place.startswith(self._allowed) or place.startswith(self._forbidden):
            raise UrlBlocked("this endpoint shares no such s3:// place: STORAGE_SOURCE_PREFIXES lists what it does")
        return self._open_bucket(bucket).presign_source(key)


def _folder(place: str) -> str:
    """Normalize to `bucket/prefix/`, so that `/transcripts` forbids the same keys as `transcripts`."""
    return "/".join(filter(None, place.removeprefix("s3://").split("/"))) + "/"
