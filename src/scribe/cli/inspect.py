"""`scribe status`, `delete` and `check`: show a job, delete its stored files, check what the client can reach."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scribe.cli.environment import Environment
from scribe.cli.exits import DONE, SOME_FAILED, UNREACHABLE, printable, report
from scribe.cli.failure import Failure, Unreachable
from scribe.cli.means import bucket_of, connection_to
from scribe.errors import InvalidInput

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
ENDED_BADLY = ("FAILED", "CANCELLED", "TIMED_OUT")


def checked_id(job_id: str) -> str:
    """Return the id unchanged. Raises InvalidInput if it is invalid, because it becomes part of a URL and of a key."""
    if not JOB_ID.fullmatch(job_id):
        raise InvalidInput("that is no job id: letters, digits, - and _ only")
    return job_id


def status(job_id: str, environment: Environment, endpoint: str | None, api_base: str | None, as_json: bool) -> int:
    """Print a job's status from the platform, else its answer from the storage. Raises InvalidInput, Failure."""
    connect, bucket = connection_to(environment, endpoint, api_base), bucket_of(environment)
    body = connect().status(checked_id(job_id))
    if body is None and bucket is not None and (answer := bucket.committed(job_id)) is not None:
        body = {"id": job_id, "status": "COMPLETED", "output": answer}
    if body is None:
        return report(SOME_FAILED, f"the platform knows no job {job_id}; it forgets a job some time after its end")
    print(json.dumps(body, ensure_ascii=False, indent=1) if as_json else "\n".join(sentences(body)))
    return SOME_FAILED if body.get("status") in ENDED_BADLY else DONE


def sentences(body: Mapping[str, Any]) -> list[str]:
    """Format a /status as lines."""
    output = body.get("output")
    shown = [str(body.get("status"))]
    if isinstance(output, Mapping) and "percent" in output:
        shown.append(f"{output.get('stage')}: {output['percent']:.0f} % of the job")
    for key, what in (("delayTime", "waited in the queue"), ("executionTime", "ran")):
        if isinstance(body.get(key), int | float):
            shown.append(f"{what} for {body[key] / 1000:.1f} s")
    if isinstance(output, Mapping) and "segments_total" in output:
        shown.append(
            f"{output['segments_total']} segments in {output.get('duration')} s, {output.get('detected_language')}"
        )
        shown += [f"{form}: {artifact['key']}" for form, artifact in output.get("artifacts", {}).items()]
        shown += [f"warning ({w['stage']}): {w['message']}" for w in output.get("warnings", ())]
    if body.get("error"):
        shown.append(str(body["error"]))
    return [printable(line) for line in shown]


def delete(job_id: str, environment: Environment) -> int:
    """Delete all that the worker stored for a job. Raises InvalidInput without a storage or for an invalid id."""
    checked_id(job_id)
    bucket = bucket_of(environment)
    if bucket is None:
        raise InvalidInput(
            "which storage? Set STORAGE_BUCKET, STORAGE_ACCESS_KEY, STORAGE_SECRET_KEY and STORAGE_ENDPOINT"
        )
    keys = bucket.job_keys(job_id)
    if not keys:
        return report(SOME_FAILED, f"nothing is stored for job {job_id}")
    bucket.delete(keys)
    print(f"{len(keys)} objects of job {job_id} are removed.")
    return DONE


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: ok, failed or skipped."""

    check: str
    state: str
    found: str


def check(environment: Environment, endpoint: str | None, api_base: str | None, as_json: bool) -> int:
    """Check the endpoint and the storage and print the results. Returns 0 if all works, 1 if not, 3 without an answer."""
    found: list[Finding] = []
    codes = {DONE}
    looks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("endpoint", lambda: _endpoint(environment, endpoint, api_base)),
        ("storage", lambda: _storage(environment)),
    )
    for what, ask in looks:
        try:
            found.append(ask())
        except InvalidInput as error:
            found.append(Finding(what, "failed", error.message))
            codes.add(SOME_FAILED)
        except Failure as failure:
            found.append(Finding(what, "failed", f"{failure.code}: {failure.message}"))
            codes.add(UNREACHABLE if isinstance(failure, Unreachable) else SOME_FAILED)
    code = SOME_FAILED if SOME_FAILED in codes else max(codes)
    if as_json:
        print(json.dumps({"ok": code == DONE, "findings": [asdict(finding) for finding in found]}, indent=2))
    else:
        print("\n".join(f"{finding.check:<9} {finding.state:<8} {finding.found}" for finding in found))
    return code


def _endpoint(environment: Environment, endpoint: str | None, api_base: str | None) -> Finding:
    health = connection_to(environment, endpoint, api_base)().health()
    workers, jobs = health.get("workers") or {}, health.get("jobs") or {}
    ready = sum(int(workers.get(state) or 0) for state in ("idle", "ready", "running", "throttled", "initializing"))
    return Finding("endpoint", "ok", f"it answers: {ready} workers, {jobs.get('inQueue', 0)} jobs in its queue")


def _storage(environment: Environment) -> Finding:
    bucket = bucket_of(environment)
    if bucket is None:
        return Finding("storage", "skipped", "none is named: recordings up to 7 MB travel inside the job (STORAGE_*)")
    bucket.probe()
    return Finding("storage", "ok", "put, get and delete work")
