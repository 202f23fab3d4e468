"""A worker's parts put together as init_and_run does, around any predictor: the only place in tests that does it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rp_handler import Handler
from scribe.jobs.delivery import Outbox
from scribe.jobs.intake import Intake, JobFiles
from scribe.jobs.runner import JobRunner
from scribe.jobs.workspace import Workspaces
from scribe.net.client import GuardedClient
from scribe.net.connections import default_context
from scribe.pipeline.context import JobContext
from scribe.pipeline.progress import Event
from scribe.runtime.redact import Redactor
from scribe.settings import Settings
from scribe.storage.sources import S3Sources
from support.demo import configured

PREFIX = "transcripts"


@cache
def authorities() -> ssl.SSLContext:
    """Read once: the list of certificates takes longer than a whole job here."""
    return default_context()


def guarded(allow_hosts: frozenset[str] = frozenset(), **more: Any) -> GuardedClient:
    """The guarded client as the worker has it."""
    return GuardedClient(allow_hosts, ssl_context=authorities(), **more)


class NothingToFetch:
    """An intake that brings nothing, and asks as a download does whether the job is still wanted."""

    @contextlib.contextmanager
    def open(self, request: object, context: JobContext) -> Iterator[JobFiles]:
        context.raise_if_stopped()
        yield JobFiles()


def intake_at(
    folder: Path,
    settings: Settings | None = None,
    client: GuardedClient | None = None,
    sources: S3Sources | None = None,
) -> Intake:
    """Make an intake whose jobs have their files under `folder`."""
    return Intake(settings or configured(), client or guarded(), Workspaces(folder, "worker"), sources)


def runner_of(
    predictor: Any,
    settings: Settings | None = None,
    *,
    intake: Any = None,
    storage: Any = None,
    client: GuardedClient | None = None,
    redactor: Redactor | None = None,
) -> JobRunner:
    """Make the runner of a worker. Without an `intake` nothing is fetched."""
    settings = settings or configured()
    outbox = Outbox(storage, client or guarded(), settings.prefix_transcripts, settings.presign_ttl)
    return JobRunner(settings, intake or NothingToFetch(), predictor, outbox, redactor or Redactor())


def silent(job: Mapping[str, Any]) -> Callable[[Event], None]:
    """Report no progress."""
    return lambda event: None


def handler_of(
    predictor: Any,
    settings: Settings | None = None,
    report: Callable[[Mapping[str, Any]], Callable[[Event], None]] = silent,
    **parts: Any,
) -> Handler:
    """Make the RunPod door over `runner_of(predictor, settings, **parts)`."""
    return Handler(runner_of(predictor, settings, **parts), report)


def answered(handler: Handler, job: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a job: what the door gives, after its way through strict JSON."""
    return json.loads(json.dumps(asyncio.run(handler(job)), allow_nan=False))
