"""Download a file published at a URL once, complete and with its checksum verified.

torch.hub and NLTK keep whatever arrived before the connection ended. Here each worker downloads to a folder of its own
(staging.py), and a file gets its final name only after its length and its documented SHA-256 were verified.
Where no SHA-256 is documented, length and SHA-256 of the first complete download are recorded in a file with the suffix
`.checked.json` and compared from then on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scribe.errors import ModelNotFound, WeightsCorrupt, WorkerError
from scribe.models.staging import FOLDER, TURN_S, staged, turn
from scribe.runtime.digest import file_digest

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

PAUSES_S = (1.0, 4.0, 10.0)
# To connect, and between two reads.
ANSWER_S = (10.0, 30.0)
BLOCK_BYTES = 1 << 16
# Statuses besides 5xx after which another try may succeed: request timeout, too many requests.
PASSING = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Published:
    """A file at a public URL; `bytes` and `sha256` as publicly documented, None if they are not."""

    url: str
    bytes: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def bring(file: Published, folder: Path, limit_s: float = 1800.0) -> Path:
    """Download the file into `folder`, unless it is there already, verify it and return its path.

    `limit_s`: seconds for all tries together. Raises WeightsCorrupt when the bytes differ from the published ones twice,
    ModelNotFound when the server has no such file, OSError, and what requests raises.
    """
    place, until = folder / file.name, time.monotonic() + limit_s
    if _is_whole(place, file):
        return place
    before = _stamp(place)
    with turn(folder / FOLDER / f"{file.name}.lock", lambda: _stamp(place) != before, min(TURN_S, limit_s)):
        if _stamp(place) != before and _is_whole(place, file):
            return place
        with staged(folder, file.name) as own:
            part = own / file.name
            for again in (True, False):
                _download(file, part, until)
                if _matches(part, _expected(file, place)):
                    break
                part.unlink()
                log.warning("%s arrived with other bytes than published", file.name)
                if not again:
                    raise WeightsCorrupt(f"{file.name} arrived twice from {file.url} with other bytes than published")
            _record(part, file, place)
            part.replace(place)
    return place


def discard(place: Path) -> None:
    """Remove a downloaded file and its `.checked.json`."""
    place.unlink(missing_ok=True)
    _note(place).unlink(missing_ok=True)


def _stamp(place: Path) -> tuple[int, int] | None:
    """Return (inode, time of the last change), which differ after another worker replaced the file; None without a file."""
    with contextlib.suppress(OSError):
        found = place.stat()
        return found.st_ino, found.st_mtime_ns
    return None


def _is_whole(place: Path, file: Published) -> bool:
    """Return whether the file exists with its documented or recorded checksum; if none is known, with the server's length.

    A file that was not changed since its last check is not read again, because a gigabyte takes seconds.
    """
    if not place.is_file():
        return False
    expected = _expected(file, place)
    if expected.sha256 is not None and _checked(place) == (expected.sha256, place.stat().st_mtime_ns):
        return True
    if expected.sha256 is None:
        if _announced(file) not in (None, place.stat().st_size):
            return False
    elif not _matches(place, expected):
        return False
    with contextlib.suppress(OSError):
        _record(place, file, place)
    return True


def _checked(place: Path) -> tuple[str, int] | None:
    """Return (SHA-256, time of the last change in ns) from the file's last check; None if there was none."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(_note(place).read_text("utf-8"))
        return str(known["sha256"]), int(known["changed_ns"])
    return None


def _expected(file: Published, place: Path) -> Published:
    """Return the file with its documented checksum, else with the one recorded at its first complete download, if any."""
    if file.sha256 is None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            known = json.loads(_note(place).read_text("utf-8"))
            return Published(file.url, int(known["bytes"]), str(known["sha256"]))
    return file


def _matches(path: Path, expected: Published) -> bool:
    if expected.bytes is not None and path.stat().st_size != expected.bytes:
        return False
    return expected.sha256 is None or file_digest(path) == expected.sha256


def _note(place: Path) -> Path:
    return place.with_name(f"{place.name}.checked.json")


def _record(path: Path, file: Published, place: Path) -> None:
    """Record length, checksum and time of a verified file; an undocumented file is compared with them from then on."""
    digest = _expected(file, place).sha256 or file_digest(path)
    found = path.stat()
    note = {"bytes": found.st_size, "sha256": digest, "changed_ns": found.st_mtime_ns, "url": file.url}
    part = _note(place).with_name(f".{place.name}.{uuid.uuid4().hex}.note")
    part.write_text(json.dumps(note), "utf-8")
    os.replace(part, _note(place))


def _download(file: Published, part: Path, until: float) -> None:
    """Download the file to `part`, resuming after each broken connection. Raises what requests raises."""
    import requests

    for pause in (*PAUSES_S, None):
        try:
            return _receive(file, part, until)
        except requests.RequestException as error:
            if pause is None or time.monotonic() + pause >= until:
                raise
            log.warning("the download of %s broke off (%s): going on", file.name, type(error).__name__)
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _receive(file: Published, part: Path, until: float) -> None:
    """Request the missing bytes and append them. Raises requests.ConnectionError when fewer than announced arrive."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    if have and have == file.bytes:
        return
    wish = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with _asked("GET", file, wish) as answer:
        resumed = answer.status_code == 206
        follows = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status_code == 416 or (resumed and not follows):
            part.unlink(missing_ok=True)
            raise requests.ConnectionError(f"{file.name}: the server did not go on at byte {have}")
        _admit(answer, file)
        announced = int(answer.headers.get("Content-Length", -1))
        got = 0
        with part.open("ab" if resumed else "wb") as stream:
            for block in answer.iter_content(BLOCK_BYTES):
                got += stream.write(block)
                if time.monotonic() > until:
                    raise requests.Timeout(f"{file.name} took too long")
    if announced >= 0 and got != announced:
        raise requests.ConnectionError(f"{file.name}: {got} of {announced} bytes came")


def ask(file: Published) -> int:
    """Ask the server for the file's length in bytes. Raises ModelNotFound, and what requests raises."""
    with _asked("HEAD", file, {"Accept-Encoding": "identity"}) as answer:
        _admit(answer, file)
        return int(answer.headers.get("Content-Length", 0))


def _announced(file: Published) -> int | None:
    """Return the file's length in bytes by its server; None if the server cannot be reached or does not say."""
    with contextlib.suppress(WorkerError, OSError, ValueError):
        return ask(file) or None
    return None


def _admit(answer: requests.Response, file: Published) -> None:
    """Raise ModelNotFound for a permanent error status, and requests.HTTPError for one that a retry may change."""
    if 400 <= answer.status_code < 500 and answer.status_code not in PASSING:
        raise ModelNotFound(f"{file.url} was answered with {answer.status_code}", {"model": file.name})
    answer.raise_for_status()


def _asked(method: str, file: Published, headers: dict[str, str]) -> requests.Response:
    import requests
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if constants.HF_HUB_OFFLINE:
        raise OfflineModeIsEnabled(f"{file.url} is not asked: HF_HUB_OFFLINE is set")
    return requests.request(method, file.url, headers=headers, stream=True, timeout=ANSWER_S, allow_redirects=True)
