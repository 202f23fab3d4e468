"""Upload recordings to the storage, sign links for the worker, download finished files, delete a job's objects."""

from __future__ import annotations

import json
import mimetypes
import re
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from scribe.cli.environment import Environment
from scribe.cli.failure import Failure, Unreachable
from scribe.schema.s3_region import region_of

T = TypeVar("T")
# Seconds a link is valid: as long as RunPod lets a job wait and run by default.
LINK_S = 24 * 3600


class Bucket:
    """A Store in an S3 bucket. Thread-safe. Raises Unreachable when the storage does not answer, Failure when it refuses."""

    keeps_results = True

    def __init__(self, environment: Environment) -> None:
        import boto3
        from botocore.config import Config

        self._name = str(environment.storage_bucket)
        self._prefix = environment.prefix_transcripts.strip("/")
        address = environment.storage_endpoint
        # R2's console shows the address with the bucket appended.
        address = address.rstrip("/").removesuffix(f"/{self._name}") if address else None
        # As in the worker (storage/s3.py): no SigV2 links, and no checksum trailers, which R2 rejects with misleading errors.
        config = Config(
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": 4},
            connect_timeout=10,
            read_timeout=60,
            s3={"addressing_style": "path" if address else "auto"},
        )
        keys = [
            key.get_secret_value() if key else None
            for key in (environment.storage_access_key, environment.storage_secret_key)
        ]
        # On AWS without an address boto3 takes the region from its own configuration.
        region = environment.storage_region or (region_of(address) if address else None)
        self._s3 = boto3.session.Session(*keys, region_name=region).client("s3", endpoint_url=address, config=config)
        # RunPod's volume API has no presigned links, so workers cannot read uploads from it.
        self.signs_links = not (urlsplit(address or "").hostname or "").endswith(".runpod.io")

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None]) -> bool:
        """Upload the file unless an object of the same size exists; return whether it was sent. `on_bytes` may raise to stop."""
        from boto3.s3.transfer import TransferConfig

        size = self._asked(lambda: self._s3.head_object(Bucket=self._name, Key=key)["ContentLength"], absent=None)
        if size == path.stat().st_size:
            return False
        extra = {"ContentType": mimetypes.guess_type(path.name)[0] or "application/octet-stream"}
        plan = TransferConfig(max_concurrency=4)
        self._asked(
            lambda: self._s3.upload_file(str(path), self._name, key, ExtraArgs=extra, Callback=on_bytes, Config=plan)
        )
        return True

    def link(self, key: str) -> str:
        """Return a URL that reads the object for LINK_S seconds."""
        place = {"Bucket": self._name, "Key": key}
        link: str = self._asked(lambda: self._s3.generate_presigned_url("get_object", place, ExpiresIn=LINK_S))
        return link

    def read(self, key: str) -> bytes | None:
        """Return the object's bytes; None if it does not exist."""
        got = partial(self._s3.get_object, Bucket=self._name, Key=key)
        data: bytes | None = self._asked(lambda: got()["Body"].read(), absent=None)
        return data

    def job_keys(self, job_id: str) -> list[str]:
        """Return the keys of all objects that the worker stored for the job."""
        under = "/".join(filter(None, (self._prefix, job_id))) + "/"
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=under)
        return self._asked(lambda: [item["Key"] for page in pages for item in page.get("Contents", ())])

    def committed(self, job_id: str) -> dict[str, Any] | None:
        """Return the job's answer from `result.json`, which the worker stores last; None if there is none."""
        marks = [key for key in self.job_keys(job_id) if key.endswith("/result.json")]
        stored = self.read(marks[0]) if marks else None
        try:
            answer = json.loads(stored) if stored else None
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None

    def probe(self) -> None:
        """Put, get and delete a small object under uploads/. Raises Failure when one of them is refused."""
        key, body = f"uploads/{uuid.uuid4().hex}", b"scribe check"
        self._asked(lambda: self._s3.put_object(Bucket=self._name, Key=key, Body=body))
        if self.read(key) != body:
            raise Failure(
                "storage_denied", "What was put under uploads/ could not be read back: check the permissions."
            )
        self.delete([key])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects; a missing one is no error."""
        for key in keys:
            self._asked(partial(self._s3.delete_object, Bucket=self._name, Key=key))

    def _asked(self, ask: Callable[[], T], **otherwise: T) -> T:
        """Return `ask()`, or `absent` if that is given and there is no such object. Raises Failure, Unreachable."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            return ask()
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            # Keys without the right to list get 403 for a missing object.
            if "absent" in otherwise and code != "NoSuchBucket" and status in (403, 404):
                return otherwise["absent"]
            raise _refusal(status, str(code)) from None
        except Boto3Error as error:
            # An upload's error has the storage's code only in its text: "An error occurred (AccessDenied) when ..."
            found = re.search(r"An error occurred \((\w+)\)", str(error))
            raise _refusal(0, found[1] if found else "") from None
        except (BotoCoreError, HTTPClientError, ValueError):
            raise Unreachable(
                "storage_unreachable", "The storage could not be reached: check STORAGE_ENDPOINT and the network."
            ) from None


def _refusal(status: int, code: str) -> Failure:
    if status >= 500 or code in ("SlowDown", "InternalError", "ServiceUnavailable", "503", "500", "RequestTimeout"):
        return Unreachable("storage_unreachable", "The storage keeps failing: run the same command again later.")
    why = f" ({code})" if re.fullmatch(r"\w{1,60}", code) else ""
    return Failure(
        "storage_denied",
        f"The storage refused{why}: check STORAGE_BUCKET, the keys, and their permission under uploads/.",
    )
