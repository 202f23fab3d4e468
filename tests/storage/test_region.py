"""STORAGE_REGION: a bucket whose region its address does not show, by the worker's and the command line's own client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.demo import configured
from support.s3server import S3Server

from scribe.app.worker import storage_of
from scribe.cli.bucket import Bucket
from scribe.cli.environment import Environment
from scribe.cli.failure import Failure
from scribe.errors import StorageDenied
from scribe.schema.s3_region import region_of

REGION = "eu-central-7"


@pytest.fixture(scope="module")
def far() -> Iterator[S3Server]:
    with S3Server(REGION) as server:
        yield server


def values(server: S3Server, region: str | None) -> dict[str, str | None]:
    """The same variables serve both."""
    return {
        "storage_endpoint": server.endpoint,
        "storage_bucket": server.bucket,
        "storage_access_key": server.access_key,
        "storage_secret_key": server.secret_key,
        "storage_region": region,
    }


def test_the_workers_storage_signs_for_the_configured_region(far: S3Server) -> None:
    without, named = (storage_of(configured(**values(far, region)), attempts=1) for region in (None, REGION))
    assert without is not None
    assert named is not None
    with pytest.raises(StorageDenied, match="STORAGE_REGION"):
        without.probe()
    named.probe()


def test_the_command_lines_bucket_signs_for_the_configured_region(far: S3Server) -> None:
    def bucket(region: str | None) -> Bucket:
        return Bucket(Environment(_env_file=None, **values(far, region)))

    with pytest.raises(Failure, match="refused"):
        bucket(None).probe()
    bucket(REGION).probe()


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        (None, "us-east-1"),
        ("https://abc.r2.cloudflarestorage.com", "auto"),
        ("https://abc.eu.r2.cloudflarestorage.com", "auto"),
        ("https://s3api-eu-ro-1.runpod.io/", "EU-RO-1"),
        ("https://s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("https://s3.amazonaws.com", "us-east-1"),
        ("https://s3-accelerate.amazonaws.com", "us-east-1"),
        ("http://minio:9000", "us-east-1"),
        ("nonsense", "us-east-1"),
    ],
)
def test_the_region_is_read_off_the_endpoint(endpoint: str | None, region: str) -> None:
    assert region_of(endpoint) == region
