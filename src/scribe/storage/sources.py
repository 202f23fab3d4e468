"""`s3://bucket/key` as a job's source: only under the operator's prefixes, never among other jobs' transcripts.

The worker's own keys read it, so without this list any caller could read, through the worker, what only the worker may
(a confused deputy).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import unquote, urlsplit

from scribe.errors import UrlBlocked
from scribe.net.client import GuardedClient
from scribe.storage.s3 import Storage


class S3Sources:
    """`open_bucket(name)` gives a signer for a bucket; `client` reaches the storage's own address, private or not."""

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
        """A presigned address for `s3://bucket/key`. Raises UrlBlocked when the operator does not share that place."""
        parts = urlsplit(url)
        bucket, key = parts.netloc, unquote(parts.path.removeprefix("/"))
        place = f"{bucket}/{key}"
        # Some storages keep their objects as files and resolve such a part; then the place is not what was checked.
        odd = any(part in ("", ".", "..") for part in place.split("/"))
        if odd or not place.startswith(self._allowed) or place.startswith(self._forbidden):
            raise UrlBlocked("this endpoint shares no such s3:// place: STORAGE_SOURCE_PREFIXES lists what it does")
        return self._open_bucket(bucket).presign_source(key)


def _folder(place: str) -> str:
    """`bucket/prefix/`, however many slashes the operator wrote: `/transcripts` must close what `transcripts` closes."""
    return "/".join(filter(None, place.removeprefix("s3://").split("/"))) + "/"
