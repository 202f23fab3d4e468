"""Convert the command line's options to job options, and check them before anything is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scribe.cli.recording import Place
from scribe.errors import InvalidInput
from scribe.formats import JOB_KEYS, TextOptions
from scribe.schema.parsing import parse

# Keys at the job's top level, not in `input`.
JOB_LEVEL = ("s3Config",)
AUDIO = {"audio_file", "audio", "audio_url", "audio_base64", "audio_base_64"}
ANYWHERE = "https://recordings.invalid/recording"


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker's name and a recording of their voice."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Order:
    """The options of all jobs of one run.

    `options` go into the job's input, `job_level` next to it; `voices` become speaker samples when the job is sent.
    `formats` and `text` (their options) are not sent: the job returns json, from which the formats are rendered here.
    """

    options: dict[str, Any]
    job_level: dict[str, Any]
    voices: tuple[Voice, ...]
    formats: tuple[str, ...]
    text: dict[str, Any]

    def mark(self, content: str, voices: Iterable[str]) -> str:
        """Return the digest of all that determines the job's result: the recording's and the voices' content, the options."""
        named = [[voice.name, digest] for voice, digest in zip(self.voices, voices, strict=True)]
        whole = json.dumps([content, named, self.options, self.job_level], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()

    def text_options(self, audio_name: str, warnings: Iterable[str]) -> TextOptions:
        """Return the options for rendering; the HTML page shows `warnings`."""
        return TextOptions(**self.text, audio_name=audio_name, warnings=tuple(warnings))


def order_of(
    formats: Sequence[str] = (), names: Sequence[str] = (), settings: Sequence[str] = (), **given: Any
) -> Order:
    """Return the order for the command's `--format`, `--name` and `--set`; `given` are keys of the job, None if not given.

    Raises InvalidInput listing every problem.
    """
    wanted = [name.strip() for text in formats or ["json"] for name in text.split(",") if name.strip()]
    options = {"formats": wanted, **{key: value for key, value in given.items() if value is not None}}
    voices = tuple(_voice(text) for text in names)
    if voices:
        options |= {"diarization": True, "speaker_verification": True}
    options |= dict(map(_setting, settings))
    if AUDIO & set(options):
        raise InvalidInput(
            f"--set {', '.join(AUDIO & set(options))}: recordings are given by themselves, not as an option"
        )
    return checked(options, voices)


def checked(given: Mapping[str, Any], voices: tuple[Voice, ...] = ()) -> Order:
    """Return the order for the keys of a job. Raises InvalidInput listing every problem."""
    options = dict(given)
    job_level = {key: options.pop(key) for key in JOB_LEVEL if key in options}
    options["formats"] = options.get("formats") or ["json"]
    samples = [*options.get("speaker_samples", []), *({"url": ANYWHERE, "name": voice.name} for voice in voices)]
    job = {"audio_file": ANYWHERE, **options, **({"speaker_samples": samples} if samples else {})}
    request = parse(job, s3_config=job_level.get("s3Config"))
    text = {key: getattr(request.options, key) for key in JOB_KEYS if key in options}
    options = {key: value for key, value in options.items() if key not in JOB_KEYS} | {"formats": ["json"]}
    if request.plan.diarize:
        # Diarization aligns words anyway, and every format benefits from them.
        options.setdefault("align_output", True)
    return Order(options, job_level, voices, tuple(dict.fromkeys(request.options.formats or ["json"])), text)


def _voice(text: str) -> Voice:
    name, equals, place = text.partition("=")
    if not (name.strip() and equals and place):
        raise InvalidInput(f"--name {text}: write it as --name alice=alice.wav, a name and a recording of that voice")
    return Voice(name.strip(), Place.of(place))


def _setting(text: str) -> tuple[str, Any]:
    """Parse key=value; a value that is not JSON is text."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise InvalidInput(f"--set {text}: write it as --set key=value")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
