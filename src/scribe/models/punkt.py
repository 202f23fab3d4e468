"""Download NLTK's punkt_tab, the tables with which WhisperX splits sentences, a folder for each of 19 languages."""

from __future__ import annotations

import logging
import re
import shutil
import uuid
import zipfile
from pathlib import Path

from scribe.errors import WeightsCorrupt
from scribe.models import published
from scribe.models.published import Published

log = logging.getLogger(__name__)

# The archive of nltk.download("punkt_tab"), at the commit of nltk_data whose index.xml lists this SHA-256.
ARCHIVE = Published(
    "https://raw.githubusercontent.com/nltk/nltk_data/550b6625bcef1f2abff2ff770a5a0d272c9c6b2a/packages/tokenizers/punkt_tab.zip",
    sha256="e57f64187974277726a3417ca6f181ec5403676c717672eef6a748a7b20e0106",
)
# The job that needs the tables first waits at most this long when the server is unreachable.
LIMIT_S = 30.0
FILES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")
_NAME = re.compile(rf"punkt_tab/([a-z]+)/({'|'.join(map(re.escape, FILES))})")
# The largest real table has 2 MB.
LARGEST_BYTES = 64 * 1024**2


def holds(folder: Path, language: str) -> bool:
    """Return whether `folder`, an entry of nltk.data.path, has the non-empty tables of a language (`german`)."""
    tables = folder / "tokenizers" / "punkt_tab" / language
    return all((tables / name).is_file() for name in FILES) and (tables / "ortho_context.tab").stat().st_size > 0


def bring(folder: Path) -> None:
    """Download the archive, check it and unpack it into `folder`/tokenizers/punkt_tab.

    Raises WeightsCorrupt, ModelNotFound, OSError, and what requests raises.
    """
    tokenizers = folder / "tokenizers"
    archive = published.bring(ARCHIVE, tokenizers, LIMIT_S)
    part = tokenizers / f".punkt_tab.{uuid.uuid4().hex}"
    try:
        unpack(archive, part)
        for language in sorted(part.iterdir()):
            place = tokenizers / "punkt_tab" / language.name
            place.parent.mkdir(exist_ok=True)
            if not holds(folder, language.name):
                shutil.rmtree(place, ignore_errors=True)
                language.replace(place)
        published.discard(archive)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unpack(archive: Path, folder: Path) -> None:
    """Write each language's tables to `folder`/<language>, ignoring all other files. Raises WeightsCorrupt."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                found = _NAME.fullmatch(entry.filename)
                if found is None:
                    continue
                if entry.file_size > LARGEST_BYTES:
                    raise WeightsCorrupt(f"{archive.name} holds a file of {entry.file_size} bytes")
                (folder / found[1]).mkdir(parents=True, exist_ok=True)
                (folder / found[1] / found[2]).write_bytes(opened.read(entry))
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise WeightsCorrupt(f"{archive.name} is no archive of NLTK's") from error
