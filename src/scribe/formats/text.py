"""Text as every format may hold it: well-formed Unicode, one line, joined as its script is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# Whatever some reader takes for the end of a line or a field. No-break and ideographic spaces are text and stay.
_FOLD = re.compile("[ \t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
# Thai, Lao, Burmese, Khmer; kana; Han: scripts that put no space between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u33ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff00-\uff9f\U00020000-\U000323af]"
)
# Japanese and Chinese typography (kinsoku): these never open a line, those never close one.
_NOT_FIRST = frozenset("、。，．,.!?:;！？：；）」』】〕〉》”’)]}…‥・ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々ๆฯ")
# Thai and Lao vowels that are written before their consonant cling to it.
_NOT_LAST = frozenset("（「『【〔〈《“‘([{เแโใไເແໂໃໄ")


def well_formed(text: str) -> str:
    """The same text without lone surrogates, which no encoding can hold: each becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def one_line(text: str) -> str:
    """Well-formed text on one line: breaks, tabs and runs of spaces become one space, control characters go."""
    return _FOLD.sub(" ", _CONTROL.sub("", well_formed(text))).strip(" ")


def unspaced(char: str) -> bool:
    """True for a character of a script that puts no space between words."""
    return _UNSPACED.match(char) is not None


def join(parts: Iterable[str]) -> str:
    """Join stretches of one-line text: a space between them, none where both sides are written without spaces."""
    joined: list[str] = []
    for part in parts:
        if not part:
            continue
        if joined and not (unspaced(joined[-1][-1]) and unspaced(part[0])):
            joined.append(" ")
        joined.append(part)
    return "".join(joined)


@lru_cache(maxsize=8192)
def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def columns(text: str) -> int:
    """Width on a screen: Han, kana and emoji take two columns, combining marks and joiners none."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def clusters(text: str) -> list[str]:
    """The smallest parts at which a text without spaces may be broken: a letter with its marks, an emoji with its
    joiners, punctuation with the letter that it belongs to. `"".join(clusters(t)) == t`."""
    found: list[str] = []
    for char in text:
        if found and _clings(found[-1], char):
            found[-1] += char
        else:
            found.append(char)
    return found


def _clings(before: str, char: str) -> bool:
    last = before[-1]
    flag = "\U0001f1e6" <= char <= "\U0001f1ff" and len(before) == 1 and "\U0001f1e6" <= last <= "\U0001f1ff"
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me", "Cf")
        or last == "\u200d"
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or flag
        or char in _NOT_FIRST
        or last in _NOT_LAST
    )
