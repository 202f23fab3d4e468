"""Convert files, folders and URLs from the command line to recordings, each with a unique name."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from scribe.errors import InvalidInput
from scribe.runtime.digest import file_digest
from scribe.runtime.redact import safe_url

# Used only to search folders: a file that is given by itself may have any suffix.
SUFFIXES = frozenset(
    (
        ".3gp .aac .aif .aiff .amr .avi .caf .flac .m4a .m4b .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mxf"
        " .oga .ogg .opus .ts .wav .webm .wma .wmv"
    ).split()
)
SCHEMES = ("http://", "https://", "s3://")
READ_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """A file or a URL."""

    path: Path | None = None
    url: str | None = None
    known_as: str | None = None
    """The source's name in the state file if that is not its path: standard input has another path each time."""

    @classmethod
    def of(cls, text: str) -> Place:
        """Return the place of a URL or path. Raises InvalidInput when the URL is invalid or the file does not exist."""
        if text.lower().startswith(SCHEMES):
            if not safe_url(text):
                raise InvalidInput("one of the addresses has no host, or none that can be read")
            return cls(url=text)
        if not Path(text).is_file():
            raise InvalidInput(f"there is no file {text}")
        return cls(path=Path(text).resolve())

    @property
    def source(self) -> str:
        """The source's name in the state file: the path, or the URL with its query hashed, as it may be a signature."""
        if self.url is None:
            return self.known_as or str(self.path)
        query = self.url.partition("?")[2]
        return safe_url(self.url).partition("?")[0] + (f"?{_digest(query.encode())[:12]}" if query else "")

    @property
    def file_name(self) -> str:
        """The file name that the path or URL ends in."""
        if self.path is not None:
            return self.path.name
        return (
            unquote(PurePosixPath(urlsplit(self.url or "").path).name).replace("/", "_").replace("\\", "_")
            or "recording"
        )

    @property
    def is_transcript(self) -> bool:
        """Whether this is a stored transcript.json, to be rendered or named again without audio."""
        return self.file_name.lower().endswith(".json")

    def content(self) -> str:
        """Return the file's sha256 in hex; for a URL that of the URL itself."""
        if self.path is None:
            return _digest((self.url or "").encode())
        return file_digest(self.path)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording to transcribe. `name` is its output files' path without extension, relative to the output folder."""

    place: Place
    name: str

    @property
    def source(self) -> str:
        return self.place.source


def gather(
    arguments: Iterable[str],
    named: Mapping[str, str],
    *,
    stdin: Place | None = None,
    output: Path | None = None,
    empty: bool = False,
) -> list[Recording]:
    """Return each recording once, in order; folders are searched recursively, and names keep their structure.

    `named` holds the names of sources in an earlier run, which they keep and no other source gets. `stdin` is the
    recording that `-` stands for. Files below `output` are left out of a searched folder, because recordings are copied
    there next to their pages. Raises InvalidInput for an argument that does not exist and, unless `empty`, for a folder
    without recordings.
    """
    wanted: dict[str, tuple[Place, str]] = {}
    for argument in arguments:
        for place, name in [(stdin, _stem(stdin))] if argument == "-" and stdin else _found(argument, output, empty):
            wanted[place.source] = (place, name)
    taken = set(named.values())
    recordings = []
    for source, (place, name) in wanted.items():
        free = named.get(source) or next(n for n in _candidates(name, place.file_name) if n not in taken)
        taken.add(free)
        recordings.append(Recording(place, free))
    return recordings


@contextlib.contextmanager
def buffered(stream: IO[bytes], name: str) -> Iterator[Place]:
    """Copy a stream to a temporary file called `name` that exists inside the block. Raises InvalidInput."""
    if not name or name != Path(name).name:
        raise InvalidInput("--stdin-name is a bare file name, such as talk.mp3")
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="scribe-") as folder:
        path = Path(folder) / name
        with path.open("wb") as file:
            while data := stream.read(READ_BYTES):
                digest.update(data)
                file.write(data)
        if not path.stat().st_size:
            raise InvalidInput("the standard input is empty")
        yield Place(path=path, known_as=f"stdin:{name}#{digest.hexdigest()[:16]}")


def _stem(place: Place) -> str:
    return PurePosixPath(place.file_name).stem


def _found(argument: str, output: Path | None, empty: bool) -> list[tuple[Place, str]]:
    folder = Path(argument)
    if argument.lower().startswith(SCHEMES) or not folder.is_dir():
        place = Place.of(argument)
        return [(place, _stem(place))]
    around = output is not None and folder.resolve() in output.resolve().parents
    files = [
        f
        for f in sorted(folder.rglob("*"))
        if f.suffix.lower() in SUFFIXES
        and f.is_file()
        and not f.name.startswith(".")
        and not (around and output and output.resolve() in f.resolve().parents)
    ]
    if not files and not empty:
        raise InvalidInput(f"the folder {argument} holds no recording")
    return [(Place(path=f.resolve()), f.relative_to(folder).with_suffix("").as_posix()) for f in files]


def _candidates(name: str, file_name: str) -> Iterable[str]:
    """Yield the names to try: talk, then talk.wav, then talk.wav-2 and so on."""
    yield name
    whole = str(PurePosixPath(name).with_name(file_name))
    yield whole
    yield from (f"{whole}-{n}" for n in range(2, 1_000_000))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
