"""A file that a project publishes at an address: brought into a folder once, whole and checked.

torch.hub and NLTK move into place whatever arrived before the connection ended. Here a file is downloaded in a folder of
its worker's own (staging.py), must have the announced length and the documented SHA-256, and only then gets its name.
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
# Answers that another try may change, beside 5xx: too slow, too many.
PASSING = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Published:
    """A file at a public address; `bytes` and `sha256` as they are publicly documented, None where they are not."""

    url: str
    bytes: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def bring(file: Published, folder: Path, limit_s: float = 1800.0) -> Path:
    """The whole, checked file in `folder`; one that is there already is not downloaded again.

    `limit_s`: seconds for all tries together. Raises WeightsCorrupt when other bytes than the published ones arrived
    twice, ModelNotFound when the server has no such file, OSError, and what requests raises.
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
    """Remove a file that was brought, with what is known of it."""
    place.unlink(missing_ok=True)
    _note(place).unlink(missing_ok=True)


def _stamp(place: Path) -> tuple[int, int] | None:
    """What changes when another worker puts a file into this place."""
    with contextlib.suppress(OSError):
        found = place.stat()
        return found.st_ino, found.st_mtime_ns
    return None


def _is_whole(place: Path, file: Published) -> bool:
    """Whether the file is there with its documented or recorded bytes; of an unknown one the length has to do.

    A file that has not been written to since it was checked is not read again: a gigabyte takes seconds.
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
    """(SHA-256, time of the last change in ns) of the file when it was checked; None when that is not known."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(_note(place).read_text("utf-8"))
        return str(known["sha256"]), int(known["changed_ns"])
    return None


def _expected(file: Published, place: Path) -> Published:
    """The file with the documented checksum, else the one recorded at the first complete download, if there was one."""
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
    """Keep length, checksum and time of a checked file; an undocumented one is compared with them from then on."""
    digest = _expected(file, place).sha256 or file_digest(path)
    found = path.stat()
    note = {"bytes": found.st_size, "sha256": digest, "changed_ns": found.st_mtime_ns, "url": file.url}
    part = _note(place).with_name(f".{place.name}.{uuid.uuid4().hex}.note")
    part.write_text(json.dumps(note), "utf-8")
    os.replace(part, _note(place))


def _download(file: Published, part: Path, until: float) -> None:
    """All bytes of the file into `part`, going on after each break."""
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
    """One request for what is missing. Raises requests.ConnectionError when less came than was announced."""
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
    """The file's bytes as its server tells them. Raises ModelNotFound, and what requests raises."""
    with _asked("HEAD", file, {"Accept-Encoding": "identity"}) as answer:
        _admit(answer, file)
        return int(answer.headers.get("Content-Length", 0))


def _announced(file: Published) -> int | None:
    """The file's length; None when the server cannot be asked."""
    with contextlib.suppress(WorkerError, OSError, ValueError):
        return ask(file) or None
    return None


def _admit(answer: requests.Response, file: Published) -> None:
    """Raise ModelNotFound for a refusal, and requests.HTTPError for an answer that another try may change."""
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
