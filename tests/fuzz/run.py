"""make fuzz: damaged recordings of every container through the real decoder child, by the thousand.

python tests/fuzz/run.py [--files 3000] [--seed 1] [--keep out/fuzz]

Every file must end as sound or as one of the worker's error codes: never a hang, another exception, bytes of a file that
is not its own, a child or a file left behind. Prints what came of them; a file that broke a promise is kept.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from faults.healthy import decoders_of  # noqa: E402
from support.sounds import tone, write, write_video, write_wav  # noqa: E402

from fuzz.mutate import damaged  # noqa: E402
from scribe.audio.decode import decode  # noqa: E402
from scribe.errors import AudioError  # noqa: E402

# (container, codec): one of every container that the decoder opens and PyAV can write.
WRITTEN = (
    ("wav", "pcm_s16le"), ("w64", "pcm_s16le"), ("aiff", "pcm_s16be"), ("caf", "pcm_s16le"), ("mp3", "libmp3lame"),
    ("flac", "flac"), ("ogg", "flac"), ("ogg", "libopus"), ("webm", "libopus"), ("matroska", "aac"),
    ("mp4", "aac"), ("mov", "alac"), ("mpegts", "aac"), ("adts", "aac"), ("asf", "wmav2"), ("flv", "aac"),
    ("ac3", "ac3"),
)  # fmt: skip
CANARY = b"another job's private recording"
PLAYLISTS = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{private}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile '{private}'\n",
    "[playlist]\nFile1={private}\nNumberOfEntries=1\n",
)
MAX_SECONDS = 60.0
TIMEOUT_S = 20.0


@dataclass
class Outcomes:
    """Files by what came of them; `broken` tells each promise that did not hold."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def originals(folder: Path) -> Iterator[bytes]:
    """Whole recordings of a second and a half, a video, an IEEE-float wav and playlists that name a private file."""
    sound = tone(440, 1.5, 48000)[None]
    for number, (container, codec) in enumerate(WRITTEN):
        yield write(folder / f"{number}.{container}", container, codec, sound, 48000).read_bytes()
    yield write_video(folder / "video.mp4", sound=True).read_bytes()
    yield write_wav(folder / "float.wav", sound, 48000).read_bytes()
    private = folder / "private.wav"
    private.write_bytes(CANARY)
    for text in PLAYLISTS:
        yield text.format(private=private).encode()


def fuzz(count: int, seed: int, folder: Path, keep: Path | None = None, every: int = 0) -> Outcomes:
    """Decode `count` damaged files; with `every`, print a line after so many."""
    dice, found = random.Random(seed), Outcomes()
    (folder / "whole").mkdir()
    files = list(originals(folder / "whole"))
    for number in range(count):
        data = damaged(files, dice)
        source = folder / "audio"
        source.write_bytes(data)
        began = time.monotonic()
        try:
            heard = decode(source, folder, max_seconds=MAX_SECONDS, timeout_s=TIMEOUT_S)
            outcome = "sound"
            if any(CANARY in channel.path.read_bytes() for channel in heard.channels):
                found.broken.append(f"file {number}: bytes of another file")
        except AudioError as error:
            outcome = error.code
        except Exception as error:
            outcome = type(error).__name__
            found.broken.append(f"file {number}: {outcome}: {error}")
        found.counts[outcome] += 1
        found.slowest_s = max(found.slowest_s, time.monotonic() - began)
        for channel in folder.glob("audio.*.pcm"):
            channel.unlink()
            if outcome != "sound":
                found.broken.append(f"file {number}: decoded sound is left after {outcome}")
        if list(decoders_of("self")):
            found.broken.append(f"file {number}: a decoder is left")
        if keep and found.broken and found.broken[-1].startswith(f"file {number}:"):
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{seed}-{number}").write_bytes(data)
        if every and (number + 1) % every == 0:
            print(f"{number + 1} of {count}: {dict(found.counts)}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=ROOT / "out" / "fuzz")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(options.files, options.seed, Path(folder), options.keep, every=250)
    spent = time.monotonic() - began
    print(f"{options.files} files in {spent:.0f} s, seed {options.seed}; the slowest took {found.slowest_s:.1f} s")
    for outcome, count in found.counts.most_common():
        print(f"{count:6d}  {outcome}")
    print("\n".join(found.broken) or "every file ended as sound or as a code; no child and no file was left")
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
