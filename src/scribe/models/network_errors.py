"""Recognize errors of the download libraries that mean a temporary failure of a server or the network."""

from __future__ import annotations

from collections.abc import Iterator

# Class names of urllib, requests, httpx and the hub's client, so that none of them is imported here.
PASSING = frozenset(
    {
        "URLError",
        "TimeoutError",
        "gaierror",
        "ConnectionError",
        "ChunkedEncodingError",
        "ConnectError",
        "RemoteProtocolError",
        "IncompleteRead",
        "Timeout",
        "TimeoutException",
    }
)
# Raised by the hub's client in offline mode, and when the hub does not answer and the file is not in the cache.
OFFLINE = frozenset({"OfflineModeIsEnabled", "LocalEntryNotFoundError"})
# hf_xet raises a plain RuntimeError whose message contains one of these.
XET = ("Data processing error", "CAS service", "CAS error", "reqwest")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def statuses(error: BaseException) -> set[int]:
    """Return the HTTP statuses in an error and its causes, of requests, httpx, the hub's client and urllib."""
    found = set()
    for cause in causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is None and "HTTPError" in _kinds(cause):
            status = getattr(cause, "code", None)
        if isinstance(status, int):
            found.add(status)
    return found


def passing(error: BaseException) -> bool:
    """Return whether another try may succeed: no answer, a cut answer, or the status 408, 429 or 5xx."""
    found = list(causes(error))
    if any("OfflineModeIsEnabled" in _kinds(cause) for cause in found):
        return False
    if answered := statuses(error):
        return any(status in (408, 429) or status >= 500 for status in answered)
    return any(_kinds(cause) & PASSING or _of_xet(cause) for cause in found)


def unreachable(error: BaseException) -> bool:
    """Return whether the server could not be reached, temporarily or because the worker is offline."""
    return passing(error) or any(_kinds(cause) & OFFLINE for cause in causes(error))


def _of_xet(error: BaseException) -> bool:
    return type(error) is RuntimeError and any(word in str(error) for word in XET)


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
