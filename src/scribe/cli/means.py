"""The connection that runs jobs and the store that transfers their files: remote, or on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from scribe.cli.bucket import Bucket
from scribe.cli.endpoint import Endpoint
from scribe.cli.environment import Environment
from scribe.cli.installed import absent, pip_command
from scribe.errors import InvalidInput


class Connection(Protocol):
    """Runs jobs. Not thread-safe."""

    @property
    def identity(self) -> str: ...
    def submit(self, job: Mapping[str, Any]) -> str: ...
    def watch(
        self, job_id: str, on_progress: Callable[[Mapping[str, Any]], None], wait: Callable[[float], None]
    ) -> dict[str, Any] | None: ...


class Store(Protocol):
    """Transfers recordings to jobs and, if `keeps_results`, their results back. Thread-safe."""

    signs_links: bool
    keeps_results: bool

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None]) -> bool: ...
    def link(self, key: str) -> str: ...
    def read(self, key: str) -> bytes | None: ...
    def committed(self, job_id: str) -> dict[str, Any] | None: ...
    def delete(self, keys: Iterable[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Means:
    """How jobs are run. `connect` returns a connection for the calling thread; `outlives`: jobs continue after this process."""

    connect: Callable[[], Connection]
    store: Store | None
    outlives: bool = True


@dataclass(frozen=True, slots=True)
class Here:
    """The worker on this machine, which scribe.app passes to the command.

    `missing()` returns a sentence that says what to install, None if nothing is missing; `check(as_json)` checks the
    machine and returns the exit code; `local(model)` yields the Means of jobs on this machine.
    """

    missing: Callable[[], str | None]
    check: Callable[[bool], int]
    local: Callable[[str | None], AbstractContextManager[Means]]


def remote(environment: Environment, endpoint: str | None, api_base: str | None) -> Means:
    """Return the configured RunPod endpoint and storage. Raises InvalidInput when a variable is missing."""
    store = bucket_of(environment)
    connect = connection_to(environment, endpoint, api_base)
    return Means(connect, store)


def connection_to(environment: Environment, endpoint: str | None, api_base: str | None) -> Callable[[], Endpoint]:
    """Return a function that makes connections to the endpoint. Raises InvalidInput when its id or the key is missing."""
    endpoint_id = endpoint or environment.runpod_endpoint_id
    if not endpoint_id:
        raise InvalidInput("which endpoint? Give --endpoint or set RUNPOD_ENDPOINT_ID")
    key, base = environment.api_key, api_base or environment.runpod_endpoint_base_url
    if not key:
        raise InvalidInput("set RUNPOD_API_KEY: https://console.runpod.io/user/settings makes one")
    return lambda: Endpoint(endpoint_id, key, base)


def bucket_of(environment: Environment) -> Bucket | None:
    """Return the configured storage or None. Raises InvalidInput when its keys or boto3 are missing."""
    if environment.storage_bucket is None:
        return None
    if not (environment.storage_access_key and environment.storage_secret_key):
        raise InvalidInput("STORAGE_ACCESS_KEY and STORAGE_SECRET_KEY are needed when STORAGE_BUCKET is set")
    if absent(["boto3"]):
        raise InvalidInput(f"STORAGE_BUCKET is set, and a storage needs boto3: {pip_command('storage')}")
    return Bucket(environment)
