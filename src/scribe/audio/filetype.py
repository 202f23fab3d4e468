"""Recognize a file by its first bytes, to reject other kinds before decoding and to explain why decoding failed."""

from __future__ import annotations

HEAD_BYTES = 1024  # bytes that both functions need

_FOREIGN = {
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"\x1f\x8b": "a GZIP archive",
    b"BZh": "a BZIP2 archive",
    b"\xfd7zXZ\x00": "an XZ archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a ZSTD archive",
    b"\x89PNG\r\n": "a PNG image",
    b"\xff\xd8\xff\xe0": "a JPEG image",
    b"\xff\xd8\xff\xe1": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
}
_FOREIGN_TEXT = {
    b"#extm3u": "a playlist",
    b"ffconcat": "a playlist",
    b"[playlist]": "a playlist",
    b"<asx": "a playlist",
    b"<smil": "a playlist",
    b"{": "JSON",
    b"[": "JSON",
}
_RECORDINGS = (
    *(b"ID3", b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"FLV\x01", b"caff", b"#!AMR"),
    *(b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"\x0b\x77"),
)


def foreign_kind(head: bytes) -> str | None:
    """Return what a file is that is certainly no recording ("an HTML page"), or None if it may be one."""
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return "a TAR archive"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text or not _is_text(text):
        return None
    return _text_kind(text.lower())


def looks_recorded(head: bytes) -> bool:
    """Return whether a file begins like a recording; if it then cannot be opened, it is damaged."""
    return head.startswith(_RECORDINGS) or head[4:8] in (b"ftyp", b"moov", b"mdat")


def _text_kind(text: bytes) -> str:
    for start, name in _FOREIGN_TEXT.items():
        if text.startswith(start):
            return name
    if text.startswith(b"<"):
        if b"<mpd" in text:
            return "a playlist"
        return "an HTML page" if b"<html" in text or b"<!doctype html" in text else "an XML document"
    return "plain text"


def _is_text(head: bytes) -> bool:
    """Return whether bytes are UTF-8 without control characters; the last character may be cut."""
    if any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4
    return True
