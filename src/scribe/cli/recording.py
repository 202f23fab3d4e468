"""What is to be transcribed: files, folders and addresses from the command line -> recordings with a name each."""

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

# Only what a folder is searched for: a file that is named by itself is sent whatever it is called.
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
    """One file or one address."""

    path: Path | None = None
    url: str | None = None
    known_as: str | None = None
    """What the state file knows it by where that is not its path: the standard input has a path of its own each time."""

    @classmethod
    def of(cls, text: str) -> Place:
        """Raises InvalidInput where there is neither an address nor a file."""
        if text.lower().startswith(SCHEMES):
            if not safe_url(text):
                raise InvalidInput("one of the addresses has no host, or none that can be read")
            return cls(url=text)
        if not Path(text).is_file():
            raise InvalidInput(f"there is no file {text}")
        return cls(path=Path(text).resolve())

    @property
    def source(self) -> str:
        """What the state file knows it by: the path, or the address, its query hashed because it may be a signature."""
        if self.url is None:
            return self.known_as or str(self.path)
        query = self.url.partition("?")[2]
        return safe_url(self.url).partition("?")[0] + (f"?{_digest(query.encode())[:12]}" if query else "")

    @property
    def file_name(self) -> str:
        """The bare file name that the path or the address ends in."""
        if self.path is not None:
            return self.path.name
        return (
            unquote(PurePosixPath(urlsplit(self.url or "").path).name).replace("/", "_").replace("\\", "_")
            or "recording"
        )

    @property
    def is_transcript(self) -> bool:
        """A stored transcript.json: to be rendered or named anew, without audio."""
        return self.file_name.lower().endswith(".json")

    def content(self) -> str:
        """What changes when the recording does: the file's sha256 in hex; of an address only the address is known."""
        if self.path is None:
            return _digest((self.url or "").encode())
        return file_digest(self.path)


@dataclass(frozen=True, slots=True)
class Recording:
    """`name` is what its output files are called, without their ending; it may hold folders, with `/`."""

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
    """Each recording once, in order; folders are searched to the bottom, and their shape is kept in the names.

    `named` are the names that sources got in an earlier run: they keep them, and nobody else gets them. `stdin` is the
    recording that `-` stands for. What lies below `output` is left out where a folder around it is searched: recordings
    are copied there beside their pages. Raises InvalidInput where an argument is nothing, or, unless `empty`, where a
    folder holds no recording.
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
    """The recording of a stream in a temporary file called `name`, for as long as the block. Raises InvalidInput."""
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
    """talk, then talk.wav beside talk.mp3, then talk.wav-2 and so on."""
    yield name
    whole = str(PurePosixPath(name).with_name(file_name))
    yield whole
    yield from (f"{whole}-{n}" for n in range(2, 1_000_000))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
