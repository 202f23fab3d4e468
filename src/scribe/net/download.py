"""Download a URL, or decode base64, to a file that is complete or does not exist.

Never more than `max_bytes` are on disk, one deadline covers everything, and temporary failures are retried. A download
that is shorter than announced fails here, because FFmpeg decodes half a file without an error.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import email.utils
import errno
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from scribe.errors import DiskFull, FetchError, FetchFailed, FetchIncomplete, InvalidInput, NotFound, TooLarge
from scribe.net.client import GuardedClient, Response
from scribe.net.share_links import expiry
from scribe.runtime.monitor import UNWATCHED, Monitor
from scribe.runtime.redact import safe_url

TRIES = 3
BACKOFF_S = 0.5  # doubled with every try, half of it random
MAX_PAUSE_S = 30.0  # a longer Retry-After is not waited for, because the GPU would be idle
SLICE_S = 0.5  # of a pause, between two checks of the job's stop signal
CHUNK_BYTES = 1 << 16
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_SECOND_TRY = frozenset({"tls", "redirects", "deadline", "status"})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DATA_URI = re.compile(r"data:[^,]{0,200}?;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A downloaded file: its size in bytes, the content type that the server claims, and warning codes."""

    path: Path
    size: int
    content_type: str = ""
    warnings: tuple[str, ...] = ()


def fetch(
    client: GuardedClient,
    url: str,
    target: Path,
    *,
    max_bytes: int,
    deadline_s: float,
    monitor: Monitor = UNWATCHED,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Download `url` to `target`, in at most TRIES tries within `deadline_s` seconds.

    `monitor` is asked four times a second whether to stop, from another thread during network calls, and gets the
    downloaded fraction if the length is known. Warning "length_unverified": the server announced no length and only
    closed the connection. A Retry-After of at most MAX_PAUSE_S is honoured.
    Raises UrlBlocked, NotFound, FetchFailed, FetchIncomplete, TooLarge, DiskFull; no message shows the URL's query.
    """
    deadline = time.monotonic() + deadline_s
    for attempt in range(1, TRIES + 1):
        monitor.raise_if_stopped()
        try:
            return _try(client, url, target, max_bytes, deadline, monitor)
        except (FetchFailed, FetchIncomplete) as error:
            pause = _pause(error, attempt)
            hopeless = error.details.get("reason") in _NO_SECOND_TRY
            if hopeless or attempt == TRIES or pause > MAX_PAUSE_S or time.monotonic() + pause >= deadline:
                raise
        while pause > 0:
            monitor.raise_if_stopped()
            sleep(min(SLICE_S, pause))
            pause -= SLICE_S
    raise AssertionError("the last try returns or raises")


def decode_base64(text: str, target: Path, max_bytes: int) -> Fetched:
    """Decode base64 text to `target`. Accepts a data: URI, white space, the URL-safe alphabet and missing padding.

    The size is checked before anything is decoded. Raises TooLarge, InvalidInput, DiskFull.
    """
    prefix = _DATA_URI.match(text)
    content_type = prefix[0][5:].split(";")[0].lower() if prefix else ""
    packed = "".join(text[prefix.end() if prefix else 0 :].split()).rstrip("=").replace("-", "+").replace("_", "/")
    size = len(packed) * 3 // 4
    if size > max_bytes:
        raise TooLarge(f"audio_base64 holds {size} bytes, more than {max_bytes}", {"max_bytes": max_bytes})
    if not size:
        raise InvalidInput("audio_base64 holds no data", {"key": "audio_base64"})
    step = CHUNK_BYTES // 4 * 4
    with _whole(target), target.open("wb") as file:
        for start in range(0, len(packed), step):
            piece = packed[start : start + step]
            try:
                file.write(base64.b64decode(piece + "=" * (-len(piece) % 4), validate=True))
            except (binascii.Error, ValueError) as error:
                raise InvalidInput("audio_base64 is not valid base64", {"key": "audio_base64"}) from error
    return Fetched(target, size, content_type)


def _try(
    client: GuardedClient,
    url: str,
    target: Path,
    max_bytes: int,
    deadline: float,
    monitor: Monitor,
) -> Fetched:
    with client.request("GET", url, deadline=deadline, check=monitor.raise_if_stopped) as response:
        _accept(response)
        if response.length is not None and response.length > max_bytes:
            raise _too_large(max_bytes)
        if response.length is not None and response.length > shutil.disk_usage(target.parent).free:
            raise DiskFull("the worker's disk has no room for the file", {"bytes": response.length})
        size = 0
        with _whole(target), target.open("wb") as file:
            for piece in response.stream(CHUNK_BYTES):
                monitor.raise_if_stopped()
                size += len(piece)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                file.write(piece)
                if response.length:
                    monitor.progress(size / response.length)
            if response.length not in (None, size):
                raise FetchIncomplete("the connection ended before the file did")
        warnings = () if response.provable else ("length_unverified",)
        return Fetched(target, size, response.headers.get("Content-Type", ""), warnings)


def _accept(response: Response) -> None:
    """Raise FetchFailed or NotFound, with the server's status, unless the response carries the file."""
    status, details = response.status, {"status": response.status}
    if status in (200, 203):
        return
    place = safe_url(response.url)
    if status in BUSY or status >= 500:
        pause = _retry_after(response.headers.get("Retry-After", ""))
        raise FetchFailed(f"{place} answered with status {status}", {**details, "retry_after": pause})
    if status in (400, 401, 403):
        raise NotFound(f"{place} may not be read (status {status}): {_denial(response.url)}", details)
    if 400 <= status < 500:
        raise NotFound(f"there is no file at {place} (status {status})", details)
    raise FetchFailed(f"{place} answered with status {status} instead of the file", {**details, "reason": "status"})


def _denial(url: str) -> str:
    """Say why the server may have refused; for a signed link, with its expiry time."""
    end, now = expiry(url), datetime.now(timezone.utc)
    if end is None:
        return "the link expired or access is denied"
    if end > now:
        return f"access is denied, or the link expired by the server's clock: by this one's it ends at {end:%Y-%m-%d %H:%M} UTC"
    return f"the link expired at {end:%Y-%m-%d %H:%M} UTC, sign it for as long as the job may wait in the queue"


def _retry_after(value: str) -> float | None:
    """Parse Retry-After, a number or a date, into seconds; None if it is absent or invalid."""
    if value.strip().isdecimal():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _pause(error: FetchError, attempt: int) -> float:
    """Return the seconds until the next try, with jitter so that many workers do not retry at once."""
    asked = error.details.get("retry_after")
    return asked if isinstance(asked, float) else float(BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the file has more than {max_bytes} bytes", {"max_bytes": max_bytes})


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[None]:
    """Delete the file if the block fails. Raises DiskFull when the disk is full."""
    try:
        yield
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise DiskFull("the worker's disk has no room for the download") from error
        raise
