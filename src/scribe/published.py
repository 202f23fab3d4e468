"""A file that a project publishes at an address: brought into a folder once, whole and checked.

torch.hub and NLTK move into place whatever arrived before the connection ended. Here a file is downloaded under a name
of its own, must have the announced length and the documented SHA-256, and only then gets its name. Where no SHA-256 is
documented, length and SHA-256 of the first complete download are recorded in a file with the suffix `.checked.json`
and compared from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ModelNotFound, WeightsCorrupt

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
    folder.mkdir(parents=True, exist_ok=True)
    # A name that no other worker on this volume writes to.
    part = folder / f".{file.name}.{uuid.uuid4().hex}.part"
    try:
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
    finally:
        part.unlink(missing_ok=True)
    return place


def _is_whole(place: Path, file: Published) -> bool:
    """Whether the file is there with its documented or recorded bytes; of an unknown one the length has to do."""
    if not place.is_file():
        return False
    expected = _expected(file, place)
    if expected.sha256 is None:
        announced = _announced(file)
        if announced not in (None, place.stat().st_size):
            return False
        with contextlib.suppress(OSError):
            _record(place, file, place)
        return True
    return _matches(place, expected)


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
    return expected.sha256 is None or sha256(path) == expected.sha256


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _note(place: Path) -> Path:
    return place.with_name(f"{place.name}.checked.json")


def _record(path: Path, file: Published, place: Path) -> None:
    """Keep length and checksum of an undocumented file, to compare it with from then on."""
    if file.sha256 is None and not _note(place).exists():
        part = _note(place).with_name(f".{place.name}.{uuid.uuid4().hex}.note")
        part.write_text(json.dumps({"bytes": path.stat().st_size, "sha256": sha256(path), "url": file.url}), "utf-8")
        os.replace(part, _note(place))


def _download(file: Published, part: Path, until: float) -> None:
    """All bytes of the file into `part`, going on after each break."""
    import requests

    for pause in (*PAUSES_S, None):
        try:
            return _receive(file, part, until)
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", None)
            if status is not None and status < 500 and status not in PASSING:
                raise ModelNotFound(f"{file.url} was answered with {status}", {"model": file.name}) from error
            if pause is None or time.monotonic() + pause >= until:
                raise
            log.warning("the download of %s broke off (%s): going on", file.name, type(error).__name__)
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _receive(file: Published, part: Path, until: float) -> None:
    """One request for what is missing. Raises requests.ConnectionError when less came than was announced."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    wish = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with _asked("GET", file, wish) as answer:
        answer.raise_for_status()
        resumed = answer.status_code == 206
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise requests.ConnectionError(f"{file.name}: another part came than the one asked for")
        announced = int(answer.headers.get("Content-Length", -1))
        got = 0
        with part.open("ab" if resumed else "wb") as stream:
            for block in answer.iter_content(BLOCK_BYTES):
                got += stream.write(block)
                if time.monotonic() > until:
                    raise requests.Timeout(f"{file.name} took too long")
    if announced >= 0 and got != announced:
        raise requests.ConnectionError(f"{file.name}: {got} of {announced} bytes came")


def _announced(file: Published) -> int | None:
    """The file's length as its server tells it; None when it cannot be asked."""
    import requests

    try:
        with _asked("HEAD", file, {"Accept-Encoding": "identity"}) as answer:
            answer.raise_for_status()
            return int(answer.headers["Content-Length"])
    except (requests.RequestException, OSError, KeyError, ValueError):
        return None


def _asked(method: str, file: Published, headers: dict[str, str]) -> Any:
    import requests
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if constants.HF_HUB_OFFLINE:
        raise OfflineModeIsEnabled(f"{file.url} is not asked: HF_HUB_OFFLINE is set")
    return requests.request(method, file.url, headers=headers, stream=True, timeout=ANSWER_S, allow_redirects=True)
