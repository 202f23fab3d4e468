"""Use a RunPod endpoint by its REST routes: submit a job, watch it until it ends, get its status."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from scribe.cli.failure import Failure, Unreachable
from scribe.version import __version__

T = TypeVar("T")
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
POLL_FIRST_S = 0.5
POLL_LAST_S = 10.0
POLL_GROWTH = 1.5
# Seconds without an answer after which watching ends: enough for a laptop's sleep or a change of networks.
SILENCE_S = 600.0
# RunPod keeps no job for longer than a week.
WATCH_S = 7 * 24 * 3600.0
CONNECT_TRIES = 3
GET_S, POST_S = 10, 15
SLOW_BYTES_S = 50_000
RUNPOD = "https://api.runpod.ai/v2"


class Endpoint:
    """A RunPod endpoint. `base` is the API's URL without the endpoint's id; None uses RunPod's. Not thread-safe."""

    def __init__(self, endpoint_id: str, api_key: str, base: str | None) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util.retry import Retry

        def signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {api_key}"
            return request

        self._id = endpoint_id
        self._base = (base or RUNPOD).rstrip("/")
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"scribe-worker/{__version__}"
        # Set as `auth`, because requests replaces a plain header by an entry of ~/.netrc.
        self._session.auth = signed
        # No retry after a read error: the job may have been accepted.
        retries = Retry(
            connect=CONNECT_TRIES,
            read=False,
            other=0,
            status=CONNECT_TRIES,
            status_forcelist=(429,),
            allowed_methods=None,
            backoff_factor=0.5,
            raise_on_status=False,
            retry_after_max=60,
        )
        # urllib3 logs every retry; the errors raised here report the final result.
        logging.getLogger("urllib3.connectionpool").addFilter(_is_no_retry)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retries))

    @property
    def identity(self) -> str:
        """The name under which job ids are stored."""
        return f"{self._base}/{self._id}"

    def submit(self, job: Mapping[str, Any]) -> str:
        """Submit a job and return its id. Raises Unreachable, or Failure when the platform refuses the job."""
        # A recording inside the job takes longer to send on a slow connection.
        patience = int(POST_S + len(json.dumps(job)) / SLOW_BYTES_S)
        sent = self._asked(lambda: str(self._request("POST", "run", patience, job)["id"]))
        if sent is None:
            raise self._unknown()
        return sent

    def status(self, job_id: str) -> dict[str, Any] | None:
        """Return the job's /status; None for a job that the platform does not know (any more). Raises Unreachable."""
        return self._asked(lambda: self._request("GET", f"status/{job_id}", GET_S))

    def health(self) -> dict[str, Any]:
        """Return the endpoint's numbers of workers and jobs. Raises Unreachable."""
        found = self._asked(lambda: self._request("GET", "health", GET_S))
        if found is None:
            raise self._unknown()
        return found

    def watch(
        self, job_id: str, on_progress: Callable[[Mapping[str, Any]], None], wait: Callable[[float], None]
    ) -> dict[str, Any] | None:
        """Wait for the job to end and return its answer; None when the platform no longer knows the job.

        `on_progress` gets each /status; `wait(seconds)` may raise to stop. Raises Failure with the worker's code when the
        job failed, Unreachable after SILENCE_S without an answer (at once if there was never one).
        """
        began = last_answer = time.monotonic()
        delay, last, answered = POLL_FIRST_S, None, False
        while time.monotonic() - began < WATCH_S:
            try:
                body = self.status(job_id)
            except Unreachable as silence:
                if silence.code != "endpoint_unreachable" or not answered or time.monotonic() - last_answer > SILENCE_S:
                    raise
            else:
                if body is None:
                    return None
                last_answer, answered = time.monotonic(), True
                if body.get("status") in FINAL:
                    return answer_of(body)
                on_progress(body)
                delay, last = (POLL_FIRST_S if body != last else delay), body
            wait(delay * random.uniform(0.8, 1.2))
            delay = min(delay * POLL_GROWTH, POLL_LAST_S)
        raise Failure("job_lost", f"Job {job_id} has not ended in a week.")

    def _request(self, method: str, route: str, timeout: int, job: Mapping[str, Any] | None = None) -> dict[str, Any]:
        response = self._session.request(method, f"{self.identity}/{route}", json=job, timeout=timeout)
        response.raise_for_status()
        body = response.json()
        if not isinstance(body, dict):
            raise TypeError("an answer of the API is an object")
        return body

    def _unknown(self) -> Unreachable:
        why = f"RunPod knows no endpoint {self._id}: check --endpoint or RUNPOD_ENDPOINT_ID."
        return Unreachable("endpoint_not_found", why)

    def _asked(self, ask: Callable[[], T]) -> T | None:
        """Return `ask()`, None for 404. Raises Failure or Unreachable for its exceptions, without URL or key in the message."""
        import requests

        try:
            return ask()
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status == 404:
                return None
            if status == 401:
                raise Unreachable("endpoint_denied", "RunPod refused the API key: check RUNPOD_API_KEY.") from None
            if status == 403:
                why = "The API key may not use this endpoint: check RUNPOD_API_KEY and --endpoint."
                raise Unreachable("endpoint_denied", why) from None
            if status == 429 or status >= 500:
                why = f"RunPod answered with status {status}: run the same command again."
                raise Unreachable("endpoint_unreachable", why) from None
            hint = ": the request is too large, configure STORAGE_*" if status == 413 else ""
            raise Failure("job_refused", f"RunPod refused the job with status {status}{hint}.") from None
        except (requests.JSONDecodeError, KeyError, TypeError):
            raise Unreachable("endpoint_unreachable", "What answered is not RunPod's API: check --api-base.") from None
        except requests.RequestException as error:
            kind = "took too long to answer" if isinstance(error, requests.Timeout) else "could not be reached"
            raise Unreachable("endpoint_unreachable", f"RunPod {kind}: check the network and --api-base.") from None


def answer_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the output of a completed job. Raises Failure with the worker's code and message, else the platform's."""
    output, status = body.get("output"), body["status"]
    if status == "COMPLETED":
        if isinstance(output, dict) and "segments" in output and "segments_total" in output:
            return output
        raise Failure(
            "unexpected_answer", "The job completed and its answer is none of this worker's: check --endpoint."
        )
    if status == "CANCELLED":
        raise Failure("cancelled", "The job was cancelled at the platform.")
    if status == "TIMED_OUT":
        raise Failure(
            "timed_out", "The job ran into the endpoint's execution timeout: raise it, or split the recording."
        )
    error = str(body.get("error") or "The platform gives no reason; the endpoint's log may.")
    code, sentence = (
        found.groups() if (found := re.match(r"([a-z][a-z_]{2,40}): (.+)", error, re.DOTALL)) else ("job_failed", error)
    )
    raise Failure(str(output["code"]) if isinstance(output, dict) and "code" in output else code, sentence[:2000])


def _is_no_retry(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Retrying (")
