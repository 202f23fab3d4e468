"""Access S3 and compatible storages (R2, MinIO, RunPod's volume API): put, get, delete, presign, probe.

Every key is under the prefix and made of slugs, and every call has a time limit. Every failure is StorageDenied or
StorageUnavailable with a message of our own, because messages of the storage or boto3 may quote secrets.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Protocol, TypedDict, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from scribe.errors import StorageDenied, StorageError, StorageUnavailable
from scribe.schema.s3_region import region_of
from scribe.storage.errors import storage_error

# Seconds; SigV4 allows no longer expiry.
LONGEST_PRESIGN = 7 * 24 * 3600
_NOT_SLUG = re.compile(r"[^A-Za-z0-9_-]+")
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


Answer = TypeVar("Answer")


class _Body(Protocol):
    def read(self) -> bytes: ...


class _Object(TypedDict):
    Body: _Body


class _Client(Protocol):
    """The methods of boto3's S3 client that are used here."""

    def put_object(self, *, Body: bytes, **place: str) -> object: ...
    def get_object(self, **place: str) -> _Object: ...
    def head_object(self, **place: str) -> object: ...
    def delete_object(self, **place: str) -> object: ...
    def generate_presigned_url(self, method: str, place: dict[str, str], *, ExpiresIn: int) -> str: ...


def artifact_key(prefix: str, job_id: str, fingerprint: str, extension: str) -> str:
    """Return `prefix/job/fingerprint/transcript.ext`, each part but the operator's prefix as a slug."""
    return _key(prefix, job_id, fingerprint, f"transcript.{slug(extension)}")


def commit_key(prefix: str, job_id: str, fingerprint: str) -> str:
    """Return the key of `result.json`, which is written last: if it exists, all artifacts do."""
    return _key(prefix, job_id, fingerprint, "result.json")


def _key(prefix: str, job_id: str, fingerprint: str, name: str) -> str:
    parts = [prefix.strip("/"), slug(job_id), slug(fingerprint), name]
    return "/".join(part for part in parts if part)


def slug(text: str) -> str:
    """Return text as a safe part of a key: letters, digits, `-` and `_`. Different texts have different slugs."""
    safe = _NOT_SLUG.sub("-", text).strip("-")[:64]
    if safe and safe == text:
        return safe
    return f"{safe or 'x'}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


class Storage:
    """A bucket under one prefix. `endpoint` None means AWS itself; times in seconds, `presign_ttl` at most 7 days.

    Thread-safe. No connection is opened before the first call.
    """

    def __init__(
        self,
        endpoint: str | None,
        bucket: str,
        access_key: str,
        secret_key: str,
        prefix: str,
        presign_ttl: int = 3600,
        region: str | None = None,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 20.0,
        attempts: int = 3,
    ) -> None:
        # R2's console shows the endpoint with the bucket appended; left there, every key would begin with it.
        self._endpoint = endpoint.rstrip("/").removesuffix(f"/{bucket}") if endpoint else None
        self._bucket = bucket
        self._keys = (access_key, secret_key)
        self._prefix = prefix.strip("/")
        self._ttl = min(presign_ttl, LONGEST_PRESIGN)
        self._region = region or region_of(endpoint)
        self._timeouts = (connect_timeout, read_timeout)
        self._attempts = attempts

    def put(self, key: str, data: bytes, content_type: str, filename: str) -> None:
        """Store `data`. Browsers show an HTML page and save other files as `filename`. Raises StorageError."""
        named = _named(content_type, filename)
        self._call("put", lambda s3: s3.put_object(**self._place(key), **named, Body=data))

    def get(self, key: str) -> bytes | None:
        """Return the object's bytes; None if it does not exist, or on 403, which keys without the right to list get for it."""
        return self._unless_absent("get", lambda s3: s3.get_object(**self._place(key))["Body"].read())

    def exists(self, key: str) -> bool:
        """Return whether the object exists and may be read. Raises StorageError."""
        return self._unless_absent("get", lambda s3: s3.head_object(**self._place(key))) is not None

    def delete(self, key: str) -> None:
        """Delete the object; a missing one is no error. Raises StorageError."""
        self._call("delete", lambda s3: s3.delete_object(**self._place(key)))

    def presign(self, key: str) -> tuple[str, str]:
        """Return (URL that reads the object without keys, its expiry as ISO 8601 in UTC). Raises StorageError."""
        if (urlsplit(self._endpoint or "").hostname or "").endswith(".runpod.io"):
            raise StorageDenied("RunPod's volume API knows no presigned links: fetch the key with an S3 client.")
        place = self._place(key)
        url = self._call("presign", lambda s3: s3.generate_presigned_url("get_object", place, ExpiresIn=self._ttl))
        signed = parse_qs(urlsplit(url).query)
        begin = datetime.strptime(signed["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        end = begin + timedelta(seconds=int(signed["X-Amz-Expires"][0]))
        return url, end.isoformat().replace("+00:00", "Z")

    def presign_source(self, key: str) -> str:
        """Return a URL that reads an object of STORAGE_SOURCE_PREFIXES. Its key may be any text and need not be under
        the prefix."""
        place = {"Bucket": self._bucket, "Key": key}
        return self._call("presign", lambda s3: s3.generate_presigned_url("get_object", place, ExpiresIn=self._ttl))

    def presign_put(self, key: str, content_type: str, filename: str) -> tuple[str, dict[str, str]]:
        """Return (URL, headers that must be sent with it) for a PUT by another client."""
        place = self._place(key) | _named(content_type, filename)
        url = self._call("presign", lambda s3: s3.generate_presigned_url("put_object", place, ExpiresIn=self._ttl))
        return url, {"Content-Type": content_type, "Content-Disposition": place["ContentDisposition"]}

    def probe(self) -> None:
        """Put, get and delete a small object under the prefix, to find wrong settings before the first job.

        Raises StorageDenied or StorageUnavailable; `details` says which action failed and why.
        """
        token = uuid.uuid4().hex
        key = "/".join(part for part in (self._prefix, f"probe-{token}.txt") if part)
        self.put(key, token.encode(), "text/plain", "probe.txt")
        try:
            found = self._call("get", lambda s3: s3.get_object(**self._place(key))["Body"].read())
        except StorageError:
            with suppress(StorageError):
                self.delete(key)
            raise
        self.delete(key)
        if found != token.encode():
            raise StorageUnavailable(
                "The storage gave back other bytes than it was given.", {"action": "get", "reason": "corrupt"}
            )

    def _place(self, key: str) -> dict[str, str]:
        """Return the bucket and the key as boto3's arguments. Raises StorageDenied for a key outside the prefix."""
        own = key.removeprefix(f"{self._prefix}/") if self._prefix else key
        outside = bool(self._prefix) and own == key
        if outside or not all(_PART.fullmatch(part) for part in own.split("/")):
            raise StorageDenied("The key lies outside the prefix that this worker keeps to.", {"reason": "bad_key"})
        return {"Bucket": self._bucket, "Key": key}

    def _unless_absent(self, action: str, ask: Callable[[_Client], Answer]) -> Answer | None:
        try:
            return self._call(action, ask)
        except StorageDenied as error:
            if error.details.get("reason") in ("absent", "no_permission"):
                return None
            raise

    def _call(self, action: str, ask: Callable[[_Client], Answer]) -> Answer:
        """Call boto3, which retries by itself, except for a body that is cut off: that is retried here."""
        from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError, ResponseStreamingError

        for left in reversed(range(self._attempts)):
            try:
                return ask(self._client)
            except (BotoCoreError, ClientError, ValueError) as error:
                if left and isinstance(error, (IncompleteReadError, ResponseStreamingError)):
                    continue
                # `from None`: the cause may quote keys, signatures and addresses.
                raise storage_error(error, action) from None
        raise AssertionError("the last attempt returns or raises")

    @cached_property
    def _client(self) -> _Client:
        import boto3
        from botocore.config import Config

        connect, read = self._timeouts
        config = Config(
            # Without this boto3 presigns with SigV2 in us-east-1, which R2 and newer AWS regions refuse.
            signature_version="s3v4",
            # boto3 >= 1.36 adds a CRC32 trailer by default; R2 answers it with misleading 401s and 501s.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": self._attempts},
            connect_timeout=connect,
            read_timeout=read,
            ignore_configured_endpoint_urls=True,
            s3={"addressing_style": "path" if self._endpoint else "auto"},
        )
        access_key, secret_key = self._keys
        session = boto3.session.Session(access_key, secret_key, region_name=self._region)
        client: _Client = session.client("s3", endpoint_url=self._endpoint, config=config)
        return client


def _named(content_type: str, filename: str) -> dict[str, str]:
    """Return ContentType and ContentDisposition, with the file name in ASCII and percent-encoded (RFC 6266)."""
    how = "inline" if content_type.startswith("text/html") else "attachment"
    name = filename.replace("\\", "/").rsplit("/", 1)[-1] or "download"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    true = quote(name, safe="", errors="replace")
    return {"ContentType": content_type, "ContentDisposition": f"{how}; filename=\"{plain}\"; filename*=UTF-8''{true}"}
