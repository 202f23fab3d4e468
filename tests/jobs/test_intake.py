"""What a job brings: fetched and decoded within limits, its samples optional, its folder always removed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contract.files import FileServer
from support.demo import SAMPLES, configured, job_context, truth

from scribe.errors import (
    Cancelled,
    InvalidInput,
    NoAudioStream,
    NotAudio,
    NotFound,
    StageFailed,
    TooLarge,
    TooLong,
    UrlBlocked,
    WorkerError,
)
from scribe.jobs.intake import Intake, JobFiles
from scribe.jobs.workspace import Workspaces
from scribe.net.client import GuardedClient
from scribe.pipeline.record import JobRecord
from scribe.schema.parsing import parse


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    folder = tmp_path_factory.mktemp("files")
    for name in ("silence.flac", "call.flac", "voices/anna.flac"):
        (folder / Path(name).name).symlink_to(SAMPLES / name)
    (folder / "page.html").write_text("<html><body>Sign in</body></html>")
    (folder / "list.m3u8").write_text("#EXTM3U\n/etc/passwd\n")
    (folder / "noise.mp3").write_bytes(bytes(range(256)) * 40)
    (folder / "stored.json").write_text(
        json.dumps({"language": "en", "segments": [{"start": 0, "end": 1, "text": "Hello"}]})
    )
    (folder / "other.json").write_text(json.dumps({"segments": 5}))
    with FileServer(folder) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def intake(files: FileServer, root: Path, **limits: Any) -> Intake:
    return Intake(configured(**limits), GuardedClient(frozenset({files.host})), Workspaces(root, "w1"))


@dataclass(frozen=True)
class Gathered:
    """What a job brought, and what is recorded of it."""

    files: JobFiles
    record: JobRecord

    def __getattr__(self, name: str) -> Any:
        return getattr(self.record if hasattr(self.record, name) else self.files, name)


def gathered(this: Intake, raw: dict[str, Any], check: Any = lambda: None) -> Gathered:
    request = parse(raw)
    with job_context(request, check) as context, this.open(request, context) as found:
        for audio in found.channels:
            assert audio.path.is_file()
            assert len(audio[:1600]) == 1600
        return Gathered(found, context.record)


def left(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.is_file()] if root.is_dir() else []


def test_a_recording_is_fetched_decoded_and_gone_after_the_block(files: FileServer, root: Path) -> None:
    found = gathered(intake(files, root), {"audio_file": f"{files.url}silence.flac?token=abc"})
    (audio,) = found.channels
    assert audio.seconds == pytest.approx(10.0, abs=0.01)
    assert found.warnings == []
    assert set(found.timings) == {"fetch", "decode"}
    assert left(root) == []


def test_a_recording_in_the_job_itself_is_the_same_recording(files: FileServer, root: Path) -> None:
    text = base64.b64encode((SAMPLES / "silence.flac").read_bytes()).decode()
    for encoded in (text, f"data:audio/flac;base64,{text}"):
        (audio,) = gathered(intake(files, root), {"audio_base64": encoded}).channels
        assert audio.seconds == pytest.approx(10.0, abs=0.01)


def test_a_split_recording_has_an_audio_a_channel(files: FileServer, root: Path) -> None:
    found = gathered(intake(files, root), {"audio_file": f"{files.url}call.flac", "channels": "split"})
    assert [a.seconds for a in found.channels] == pytest.approx([truth("call")["duration"]] * 2, abs=0.05)
    assert found.warnings == []


def test_one_channel_cannot_be_split_and_the_caller_is_told(files: FileServer, root: Path) -> None:
    found = gathered(intake(files, root), {"audio_file": f"{files.url}silence.flac", "channels": "split"})
    assert len(found.channels) == 1
    assert [n.code for n in found.warnings] == ["one_channel"]


@pytest.mark.parametrize(
    ("name", "limits", "kind"),
    [
        ("absent.mp3", {}, NotFound),
        ("page.html", {}, NotAudio),
        ("list.m3u8", {}, NotAudio),
        ("noise.mp3", {}, WorkerError),
        ("silence.flac", {"max_audio_bytes": 5000}, TooLarge),
        ("silence.flac", {"max_audio_seconds": 9.5}, TooLong),
    ],
)
def test_what_is_no_usable_recording_is_told_and_leaves_nothing(
    files: FileServer, root: Path, name: str, limits: dict[str, Any], kind: type[WorkerError]
) -> None:
    with pytest.raises(kind) as failed:
        gathered(intake(files, root, **limits), {"audio_file": f"{files.url}{name}?secret=1"})
    assert failed.value.code != "internal"
    assert not isinstance(failed.value, NoAudioStream)
    assert "secret" not in str(failed.value.to_dict())
    assert str(root) not in str(failed.value.to_dict())
    assert left(root) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a.mp3",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "s3://bucket/key.mp3",
    ],
)
def test_an_address_that_a_job_may_not_name_is_refused(files: FileServer, root: Path, url: str) -> None:
    with pytest.raises(UrlBlocked):
        gathered(intake(files, root), {"audio_file": url})
    assert left(root) == []


def naming(files: FileServer, *samples: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "audio_file": f"{files.url}silence.flac",
        "speaker_verification": True,
        "speaker_samples": list(samples),
        **more,
    }


def test_samples_are_fetched_decoded_and_keep_their_names_in_order(files: FileServer, root: Path) -> None:
    text = base64.b64encode((SAMPLES / "voices" / "anna.flac").read_bytes()).decode()
    known = {"model": "ecapa@1", "vector": [0.5] * 8}
    found = gathered(
        intake(files, root),
        naming(
            files,
            {"url": f"{files.url}anna.flac"},
            {"name": "B", "audio_base64": text},
            {"name": "C", "embedding": known},
        ),
    )
    by_name = {v.name: v for v in found.voices}
    assert set(by_name) == {"anna", "B", "C"}
    assert by_name["anna"].audio is not None
    assert by_name["anna"].audio.seconds == pytest.approx(truth("voices/anna")["duration"], abs=0.05)
    assert by_name["C"].vector == (0.5,) * 8
    assert found.warnings == []


def test_samples_are_left_alone_when_nobody_is_to_be_named(files: FileServer, root: Path) -> None:
    files.requests.clear()
    raw = {"audio_file": f"{files.url}silence.flac", "speaker_samples": [{"url": f"{files.url}anna.flac"}]}
    assert gathered(intake(files, root), raw).voices == []
    assert files.requests == ["/silence.flac"]


BAD = ["absent.flac", "page.html"]


@pytest.mark.parametrize("name", BAD)
def test_a_sample_that_cannot_be_had_is_a_warning(files: FileServer, root: Path, name: str) -> None:
    found = gathered(
        intake(files, root),
        naming(files, {"url": f"{files.url}{name}?key=1", "name": "Ghost"}, {"url": f"{files.url}anna.flac"}),
    )
    assert [v.name for v in found.voices] == ["anna"]
    (notice,) = found.warnings
    assert (notice.code, notice.stage) == ("sample_unusable", "name")
    assert "Ghost" in notice.message
    assert "key=1" not in notice.message


@pytest.mark.parametrize("name", BAD)
def test_with_strict_a_sample_that_cannot_be_had_fails_the_job(files: FileServer, root: Path, name: str) -> None:
    with pytest.raises(StageFailed):
        gathered(intake(files, root), naming(files, {"url": f"{files.url}{name}"}, strict=True))
    assert left(root) == []


def test_a_sample_on_a_private_address_is_never_asked_for(files: FileServer, root: Path) -> None:
    with FileServer(SAMPLES) as private:
        found = gathered(intake(files, root), naming(files, {"url": f"{private.url}voices/anna.flac"}))
        assert private.requests == []
    assert [n.code for n in found.warnings] == ["sample_unusable"]


def test_a_stop_ends_the_intake_and_leaves_nothing(files: FileServer, root: Path) -> None:
    def check() -> None:
        raise Cancelled("x")

    with pytest.raises(Cancelled):
        gathered(intake(files, root), {"audio_file": f"{files.url}call.flac"}, check)
    assert left(root) == []


def test_the_folder_goes_also_when_the_job_fails_inside_the_block(files: FileServer, root: Path) -> None:
    request = parse({"audio_file": f"{files.url}silence.flac"})

    def fail() -> None:
        with job_context(request) as context, intake(files, root).open(request, context):
            assert left(root)
            raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        fail()
    assert left(root) == []


def test_a_stored_transcript_is_read_instead_of_a_recording(files: FileServer, root: Path) -> None:
    found = gathered(intake(files, root), {"source": {"transcript_url": f"{files.url}stored.json"}})
    assert found.channels == ()
    assert found.stored is not None
    assert [s.text for s in found.stored.segments] == ["Hello"]


@pytest.mark.parametrize("name", ["other.json", "page.html", "silence.flac"])
def test_a_source_that_is_no_transcript_is_told(files: FileServer, root: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        gathered(intake(files, root), {"source": {"transcript_url": f"{files.url}{name}"}})
