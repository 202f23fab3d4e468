"""Which errors of the download libraries mean that a server or the network between failed for now."""

from __future__ import annotations

from collections.abc import Iterator

# By name: urllib's, requests', httpx' and the hub's client's are not imported for it, and two of them share one name.
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
# What the hub's client says when it was told to stay offline, and when it had no answer and the file is not here.
OFFLINE = frozenset({"OfflineModeIsEnabled", "LocalEntryNotFoundError"})
# hf_xet raises a bare RuntimeError with these words of its Rust parts.
XET = ("Data processing error", "CAS service", "CAS error", "reqwest")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def statuses(error: BaseException) -> set[int]:
    """The HTTP statuses that an error and its causes carry: requests', httpx' and the hub's, and urllib's `code`."""
    found = set()
    for cause in causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is None and "HTTPError" in _kinds(cause):
            status = getattr(cause, "code", None)
        if isinstance(status, int):
            found.add(status)
    return found


def passing(error: BaseException) -> bool:
    """Whether another try may succeed: no answer, half an answer, or one that says so (408, 429, 5xx)."""
    found = list(causes(error))
    if any("OfflineModeIsEnabled" in _kinds(cause) for cause in found):
        return False
    if answered := statuses(error):
        return any(status in (408, 429) or status >= 500 for status in answered)
    return any(_kinds(cause) & PASSING or _of_xet(cause) for cause in found)


def unreachable(error: BaseException) -> bool:
    """Whether a server could not be asked, for now or because the worker is offline."""
    return passing(error) or any(_kinds(cause) & OFFLINE for cause in causes(error))


def _of_xet(error: BaseException) -> bool:
    return type(error) is RuntimeError and any(word in str(error) for word in XET)


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
