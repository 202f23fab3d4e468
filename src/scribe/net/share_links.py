"""Recognize pasted addresses that do not lead to a recording, such as sharing pages, and say what to give instead.

Only the text of the address is looked at; nothing is requested.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

_ON_DISK = re.compile(
    r"([A-Za-z]:[\\/]|\\\\|/(?!/)|~|\.{1,2}[\\/]|file:)|[^/:]+\.(mp3|wav|flac|m4a|aac|ogg|opus|wma|mp4|mov|mkv|webm|avi)$",
    re.IGNORECASE,
)
_BARE_HOST = re.compile(r"//?(?=\w)|[\w-]+(\.[\w-]+)*\.[a-z]{2,24}(:\d+)?(/|$)", re.IGNORECASE)
# Advice by host; a subdomain gets its domain's.
_SHARED = {
    "dropbox.com": "a Dropbox link shows a page: write dl=1 instead of dl=0 at its end",
    "drive.google.com": "a Google Drive link shows a page: share the file with anyone who has the link, and give "
    "https://drive.usercontent.google.com/download?id=FILE_ID&export=download&confirm=t",
    "docs.google.com": "a Google Drive link shows a page: download the file, and upload it to a bucket",
    "1drv.ms": "a OneDrive link shows a page: open it, and copy the address of its download button",
    "onedrive.live.com": "a OneDrive link shows a page: copy the address of its download button",
    "sharepoint.com": "a SharePoint link shows a page: add download=1 to it, and share the file with anyone who has the link",
    "icloud.com": "an iCloud link shows a page: download the file, and upload it to a bucket",
    "wetransfer.com": "a WeTransfer link shows a page: download the file, and upload it to a bucket",
    "we.tl": "a WeTransfer link shows a page: download the file, and upload it to a bucket",
    **dict.fromkeys(
        ("youtube.com", "youtu.be", "vimeo.com", "tiktok.com", "twitch.tv", "soundcloud.com", "spotify.com", "x.com"),
        "this worker reads files and no players: save the sound first (yt-dlp does), where you may, and give the file",
    ),
}


def no_address(text: str) -> str | None:
    """Return a sentence that says why this text is not a web address; None if it may be one."""
    text = text.strip()
    if _ON_DISK.match(text):
        return "this is a path on a disk, which no worker can read: send the file by `scribe transcribe`, or as audio_base64"
    if text[:5].lower() == "data:":
        return "this is the file itself: send it as audio_base64"
    if "://" not in text and _BARE_HOST.match(text):
        return "the address lacks its beginning: write https:// before it"
    return None


def share_advice(url: str) -> str | None:
    """Return what to give instead of a sharing service's or a player's page; None for other addresses."""
    try:
        host = (urlsplit(url.strip()).hostname or "").lower()
    except ValueError:
        return None
    return next((advice for end, advice in _SHARED.items() if host == end or host.endswith(f".{end}")), None)


def expiry(url: str) -> datetime | None:
    """Return when a presigned link of S3, R2, Google or Azure expires (UTC), read from its query; None if it does not say."""
    try:
        query = {key.lower(): values[0] for key, values in parse_qs(urlsplit(url).query).items()}
        for vendor in ("amz", "goog"):
            if (begun := query.get(f"x-{vendor}-date")) and (lasts := query.get(f"x-{vendor}-expires")):
                start = datetime.strptime(begun, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
                return start + timedelta(seconds=int(lasts))
        if "signature" in query and "expires" in query:
            return datetime.fromtimestamp(int(query["expires"]), timezone.utc)
        if "sig" in query and "se" in query:
            return datetime.fromisoformat(query["se"].replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    return None
