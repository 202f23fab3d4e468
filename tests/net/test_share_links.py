"""What people paste instead of a recording's address is answered by what to give instead."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.loopback import Loopback, page

from scribe.errors import FetchFailed, NotAudio, NotFound, UrlBlocked
from scribe.jobs.intake import advised
from scribe.net.addresses import check_url
from scribe.net.client import GuardedClient
from scribe.net.download import fetch
from scribe.net.share_links import expiry, no_address, share_advice


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("C:\\Users\\anna\\talk.mp3", "path on a disk"),
        ("\\\\server\\share\\talk.mp3", "path on a disk"),
        ("/data/x.mp3", "path on a disk"),
        ("~/talk.wav", "path on a disk"),
        ("./talk.wav", "path on a disk"),
        ("file:///data/x.mp3", "path on a disk"),
        ("my talk.mp3", "path on a disk"),
        ("data:audio/mpeg;base64,SUQz", "audio_base64"),
        ("www.example.com/a.mp3", "https://"),
        ("example.com:8000/a", "https://"),
        ("//example.com/a.mp3", "https://"),
    ],
)
def test_what_is_no_address_is_told_what_it_is(text: str, sentence: str) -> None:
    with pytest.raises(UrlBlocked) as refused:
        check_url(text)
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    "url", ["https://example.com/a.mp3", "http://h/C:/x", "ftp://h/a.mp3", "s3://bucket/a.mp3", "x"]
)
def test_of_all_else_nothing_is_guessed(url: str) -> None:
    assert no_address(url) is None


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("https://www.dropbox.com/s/abc/talk.mp3?dl=0", "dl=1"),
        ("https://drive.google.com/file/d/abc/view?usp=sharing", "drive.usercontent.google.com"),
        ("https://1drv.ms/u/s!abc", "OneDrive"),
        ("https://company.sharepoint.com/:v:/g/x", "download=1"),
        ("https://www.youtube.com/watch?v=abc", "yt-dlp"),
        ("https://youtu.be/abc", "yt-dlp"),
    ],
)
@pytest.mark.parametrize(
    "error", [NotAudio("no recording", {"found": "an HTML page"}), NotFound("x"), FetchFailed("x")]
)
def test_a_shared_link_that_gives_no_recording_says_what_its_service_needs(
    url: str, advice: str, error: NotAudio | NotFound | FetchFailed
) -> None:
    fresh = type(error)(error.message, error.details)
    with pytest.raises(type(error)) as told, advised(url):
        raise fresh
    assert told.value.message.startswith(f"{error.message}; ")
    assert advice in told.value.message


def test_any_other_page_asks_for_the_file_itself_and_any_other_fault_stays_as_it_is() -> None:
    with pytest.raises(NotAudio, match="address of the file itself"), advised("https://example.com/talk"):
        raise NotAudio("no recording but an HTML page", {"found": "an HTML page"})
    with pytest.raises(NotAudio) as told, advised("https://notdropbox.com/talk"):
        raise NotAudio("no recording but a PDF document", {"found": "a PDF document"})
    assert told.value.message == "no recording but a PDF document"
    assert share_advice("https://[") is None


BEGAN = "X-Amz-Date=20260101T100000Z"
ENDED = datetime(2026, 1, 1, 11, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("query", "end"),
    [
        (f"{BEGAN}&X-Amz-Expires=3600", ENDED),
        ("X-Goog-Date=20260101T100000Z&X-Goog-Expires=3600", ENDED),
        ("Signature=a&Expires=1767265200", ENDED),
        ("se=2026-01-01T11%3A00%3A00Z&sig=a", ENDED),
        ("Expires=1767265200", None),
        (f"{BEGAN}&X-Amz-Expires=soon", None),
        ("Signature=a&Expires=99999999999999999999", None),
        ("", None),
    ],
)
def test_a_signed_link_says_when_it_ends(query: str, end: datetime | None) -> None:
    assert expiry(f"https://bucket.example/a.mp3?{query}") == end


@pytest.mark.parametrize(("hours", "sentence"), [(-2, "the link expired at "), (2, "by this one's it ends at ")])
def test_a_refused_link_is_told_by_its_own_end(tmp_path: Path, hours: int, sentence: str) -> None:
    began = datetime.now(timezone.utc) + timedelta(hours=hours - 1)
    query = f"?X-Amz-Date={began:%Y%m%dT%H%M%SZ}&X-Amz-Expires=3600&X-Amz-Signature=canary"
    with Loopback(page(status="403 Forbidden")) as server:
        client = GuardedClient(frozenset({server.host}))
        with pytest.raises(NotFound) as refused:
            fetch(client, server.url + query, tmp_path / "a", max_bytes=100, deadline_s=30)
    assert f"{sentence}{began + timedelta(hours=1):%Y-%m-%d %H:%M} UTC" in refused.value.message
    assert "canary" not in refused.value.message
