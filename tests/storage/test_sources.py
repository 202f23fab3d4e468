"""`s3://` as a source: what the operator shares can be read with the worker's keys, and nothing else, however spelled.

The S3 server is real and holds a canary wherever a job must not read; the wiring is the worker's own.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from support.demo import SAMPLES, configured
from support.desk import Desk
from support.predictor import FakePredictor
from support.s3server import S3Server
from support.wiring import PREFIX, answered, intake_at

from scribe.app.worker import sources_of
from scribe.errors import UrlBlocked
from scribe.settings import Settings

CANARY = b'{"segments": [{"start": 0, "end": 1, "text": "canary"}]}'
STORED = json.dumps({"language": "en", "segments": [{"start": 0, "end": 1, "text": "shared"}]}).encode()
OTHERS = [f"{PREFIX}/job-0/f00d/transcript.json", "shared-other/a.json", "sharedx.json", "private/a.json", "a.json"]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        contents = {
            "shared/silence.flac": (SAMPLES / "silence.flac").read_bytes(),
            "shared/stored.json": STORED,
            "shared/a b+c%25ü.json": STORED,
            "team/deep/stored.json": STORED,
            **dict.fromkeys(OTHERS, CANARY),
        }
        for key, data in contents.items():
            assert running.behind("PUT", f"/{running.bucket}/{quote(key)}", body=data)[0] == 200
        yield running


def sharing(server: S3Server, prefixes: tuple[str, ...], prefix: str = PREFIX) -> Settings:
    """Settings of a worker with the server as its storage and `prefixes` shared."""
    return configured(
        storage_endpoint=server.endpoint,
        storage_bucket=server.bucket,
        storage_access_key=server.access_key,
        storage_secret_key=server.secret_key,
        storage_source_prefixes=prefixes,
        prefix_transcripts=prefix,
    )


class Reader:
    """A worker that shares `prefixes`."""

    def __init__(self, server: S3Server, folder: Path, prefixes: tuple[str, ...]) -> None:
        settings = sharing(server, prefixes)
        self.bucket = server.bucket
        self.sources = sources_of(settings)
        self.predictor = FakePredictor()
        intake = intake_at(folder, settings, sources=self.sources)
        self.handler = Desk(server).handler(self.predictor, intake=intake)

    def read(self, url: str) -> dict[str, Any]:
        """What a job gets that names `url` as its stored transcript."""
        return answered(self.handler, {"id": "j", "input": {"source": {"transcript_url": url}, "inline": "full"}})

    def hear(self, url: str) -> dict[str, Any]:
        return answered(self.handler, {"id": "j", "input": {"audio_file": url}})


@pytest.fixture(scope="module")
def reader(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(server, tmp_path_factory.mktemp("jobs"), (f"{server.bucket}/shared",))


@pytest.fixture(scope="module")
def open_reader(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The whole bucket is shared, but for the transcripts."""
    return Reader(server, tmp_path_factory.mktemp("jobs"), (server.bucket,))


def test_a_recording_under_a_shared_prefix_is_read_with_the_workers_keys(reader: Reader, server: S3Server) -> None:
    answer = reader.hear(f" s3://{server.bucket}/shared/silence.flac\n")
    assert (answer["segments_total"], reader.predictor.runs) == (60, 1)
    assert "X-Amz" not in json.dumps(answer)


@pytest.mark.parametrize("name", ["stored.json", "a%20b%2Bc%2525%C3%BC.json", "%73tored.json"])
def test_a_key_is_named_as_urls_name_it(reader: Reader, server: S3Server, name: str) -> None:
    answer = reader.read(f"s3://{server.bucket}/shared/{name}")
    assert [segment["text"] for segment in answer["segments"]] == ["shared"]


@pytest.mark.parametrize("shared", ["{}/shared", "{}/shared/", "s3://{}/shared/", "{}", "/{}/shared"])
def test_the_operator_may_write_a_prefix_with_or_without_slashes_and_scheme(
    server: S3Server, tmp_path: Path, shared: str
) -> None:
    reader = Reader(server, tmp_path, (shared.format(server.bucket),))
    assert reader.read(f"s3://{server.bucket}/shared/stored.json")["segments"][0]["text"] == "shared"


def test_several_prefixes_are_shared_side_by_side(server: S3Server, tmp_path: Path) -> None:
    reader = Reader(server, tmp_path, (f"{server.bucket}/shared", f"{server.bucket}/team/deep"))
    for name in ("shared/stored.json", "team/deep/stored.json"):
        assert reader.read(f"s3://{server.bucket}/{name}")["segments"][0]["text"] == "shared"
    assert reader.read(f"s3://{server.bucket}/team/stored.json")["code"] == "url_blocked"


@pytest.mark.parametrize(
    "name",
    [
        "{b}/private/a.json",
        "{b}/a.json",
        "{b}/shared-other/a.json",
        "{b}/sharedx.json",
        "{b}/shared",
        "{b}/shared/",
        "{b}/",
        "{b}",
        "",
        "other-bucket/shared/stored.json",
        "user@{b}/shared/stored.json",
        "{b}:80/shared/stored.json",
        "/shared/stored.json",
        "{b}/" + PREFIX + "/job-0/f00d/transcript.json",
    ],
)
def test_what_is_not_shared_is_refused_before_anything_is_asked(reader: Reader, server: S3Server, name: str) -> None:
    before = len(server.requests)
    answer = reader.read("s3://" + name.format(b=server.bucket))
    assert answer["code"] == "url_blocked"
    assert "STORAGE_SOURCE_PREFIXES" in answer["error"]
    assert len(server.requests) == before


ESCAPES = [
    "shared/../{}",
    "shared/%2e%2e/{}",
    "shared/%2E%2E%2F{}",
    "shared/..%2f{}",
    "shared/%252e%252e/{}",
    "shared/x/../../{}",
    "shared/./../{}",
    "shared//../{}",
    "/shared/../{}",
    "shared/..;/{}",
    "shared\\..\\{}",
    "shared/\t../{}",
    "/{}",
    "//{}",
    "%2F{}",
    "%2f%2F{}",
    "./{}",
    "%2e/{}",
]


@pytest.mark.parametrize("spelling", ESCAPES)
def test_no_spelling_reaches_another_jobs_transcript(reader: Reader, open_reader: Reader, spelling: str) -> None:
    for worker in (reader, open_reader):
        answer = worker.read(f"s3://{reader.bucket}/" + spelling.format(OTHERS[0]))
        assert answer["code"] in ("url_blocked", "not_found")
        assert "canary" not in json.dumps(answer)


@pytest.mark.parametrize("prefix", ["/" + PREFIX, PREFIX + "/", "//" + PREFIX, "", "/"])
def test_the_transcripts_stay_closed_however_the_operator_writes_the_prefixes(server: S3Server, prefix: str) -> None:
    shared = (server.bucket, "/", f"{server.bucket}/{PREFIX}", f"{server.bucket}/{PREFIX}/job-0")
    sources = sources_of(sharing(server, shared, prefix))
    for bucket in (server.bucket, ""):  # the worker's own bucket is what an empty name would mean
        with pytest.raises(UrlBlocked):
            sources.signed(f"s3://{bucket}/{OTHERS[0]}")


PARTS = st.sampled_from(
    [
        "shared",
        "..",
        ".",
        "",
        "%2e%2e",
        "%2F",
        "private",
        PREFIX,
        "job-0",
        "f00d",
        "transcript.json",
        "a.json",
        "shared-other",
    ]
)


@effort(max_examples=100, deadline=None)
@given(parts=st.lists(PARTS, max_size=7))
def test_a_signed_address_always_lies_under_the_shared_prefix(
    reader: Reader, server: S3Server, parts: list[str]
) -> None:
    assert reader.sources is not None
    try:
        signed = reader.sources.signed(f"s3://{server.bucket}/{'/'.join(parts)}")
    except UrlBlocked:
        return
    path = unquote(urlsplit(signed).path)
    assert path == posixpath.normpath(path)
    assert path.startswith(f"/{server.bucket}/shared/")


def test_off_by_default_and_the_sentence_says_what_to_do(server: S3Server, tmp_path: Path) -> None:
    answer = Reader(server, tmp_path, ()).read(f"s3://{server.bucket}/shared/stored.json")
    assert answer["code"] == "url_blocked"
    assert "presign" in answer["error"]
    assert "s3:// is off" in answer["error"]


def test_a_shared_key_that_is_not_there_is_not_found_and_shows_no_signature(reader: Reader, server: S3Server) -> None:
    answer = reader.read(f"s3://{server.bucket}/shared/absent.json")
    assert answer["code"] == "not_found"
    for hidden in ("X-Amz", server.access_key, server.secret_key):
        assert hidden not in json.dumps(answer)


def test_a_sample_of_a_voice_may_be_named_by_s3_only_where_it_is_shared(reader: Reader, server: S3Server) -> None:
    samples = [{"url": f"s3://{server.bucket}/{name}/silence.flac", "name": name} for name in ("shared", "private")]
    audio = f"s3://{server.bucket}/shared/silence.flac"
    options = {"audio_file": audio, "speaker_verification": True, "speaker_samples": samples, "diarization": True}
    answer = answered(reader.handler, {"id": "j", "input": options})
    (warning,) = [w for w in answer["warnings"] if w["code"] == "sample_unusable"]
    assert "private" in warning["message"]
