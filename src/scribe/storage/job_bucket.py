"""Upload to a caller's own storage, a bucket (`s3Config`) or presigned PUT URLs, through the guarded client.

boto3 would open the connection itself, without the address check. Signing needs no connection, so requests are signed
by boto3 and sent by the guarded client.
"""

from __future__ import annotations

import time

from scribe.errors import FetchError, StorageDenied, StorageError, StorageUnavailable
from scribe.net.client import GuardedClient
from scribe.schema.s3_config import S3Config
from scribe.storage.s3 import Storage

TRIES = 3
BACKOFF_S = 1.0
DEADLINE_S = 40.0
MAX_RESULT_BYTES = 50_000_000
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class JobStorage:
    """The bucket that `s3Config` names, with the same put, get and presign as the worker's own storage."""

    def __init__(self, config: S3Config, client: GuardedClient, prefix: str, presign_ttl: int) -> None:
        self._client = client
        self._signer = Storage(config.endpoint_url, config.bucket_name, *config.secrets, prefix, presign_ttl)

    def put(self, key: str, data: bytes, content_type: str, filename: str) -> None:
        """Store `data`. Raises StorageDenied, StorageUnavailable, UrlBlocked."""
        url, headers = self._signer.presign_put(key, content_type, filename)
        send(self._client, url, data, headers)

    def get(self, key: str) -> bytes | None:
        """Return the object's bytes; None if it does not exist (403 without the right to list), or is too large.

        Raises UrlBlocked, FetchFailed, FetchIncomplete.
        """
        url, _ = self._signer.presign(key)
        with self._client.request("GET", url, deadline=time.monotonic() + DEADLINE_S) as response:
            if response.status != 200 or (response.length or 0) > MAX_RESULT_BYTES:
                return None
            data = bytearray()
            for piece in response.stream():
                data += piece
                if len(data) > MAX_RESULT_BYTES:
                    return None
            return bytes(data)

    def presign(self, key: str) -> tuple[str, str]:
        """Return (URL, expiry as ISO 8601), signed with the caller's keys, without a connection."""
        return self._signer.presign(key)


def send(client: GuardedClient, url: str, data: bytes, headers: dict[str, str]) -> None:
    """PUT data to a signed URL, with up to three tries. Raises StorageDenied, StorageUnavailable, UrlBlocked."""
    failure: StorageError = StorageUnavailable("the job's storage could not be reached")
    for attempt in range(TRIES):
        if attempt:
            time.sleep(BACKOFF_S * 2 ** (attempt - 1))
        try:
            with client.request(
                "PUT",
                url,
                headers={**headers, "Content-Length": str(len(data))},
                body=data,
                deadline=time.monotonic() + DEADLINE_S,
            ) as response:
                status = response.status
        except FetchError as error:
            if not error.retryable:
                raise
            failure = StorageUnavailable(
                f"the job's storage could not be reached: {error.message}", {"reason": "unreachable"}
            )
            continue
        if status in (200, 201, 204):
            return
        if status not in BUSY:
            raise StorageDenied(
                f"the job's storage refused the upload (status {status}): the address expired, or the keys may not put there",
                {"status": status},
            )
        failure = StorageUnavailable(f"the job's storage answered with status {status}", {"status": status})
    raise failure
