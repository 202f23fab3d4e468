"""Clean, join and measure text for all formats: well-formed Unicode, one line, spaces as its script uses them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

# Characters that some program reads as the end of a line or a field. No-break and ideographic spaces are kept.
_FOLD = re.compile("[ \t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
# Thai, Lao, Burmese, Khmer, kana and Han: scripts without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u33ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff00-\uff9f\U00020000-\U000323af]"
)
# Han, kana and their punctuation: scripts without spaces between sentences either.
_RUNNING = re.compile(
    "[\u2e80-\u312f\u31a0-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff9f\U00020000-\U000323af]"
)
# Japanese and Chinese line breaking (kinsoku): characters that may not begin or end a line; and Thai and Lao vowels, which
# are not separated from the consonant before or after them.
_NOT_FIRST = frozenset(
    "、。，．,.!?:;！？：；）」』】〕〉》”’)]}»…‥・ー—〜～〟％%°℃‼⁇⁈⁉｡､｣ｰ゛゜ゝゞヽヾ々〻"
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
    "ะาำๅๆฯະາຳໆຯ"
)
_NOT_LAST = frozenset("（「『【〔〈《〝“‘([{«＄￥￡｢$¥£€เแโใไເແໂໃໄ")
# Signs that silence their consonant, which then belongs to the syllable before it (Thai, Burmese), and signs that stack
# the next consonant below theirs (Burmese, Khmer).
_SILENCERS, _STACKERS = frozenset("\u0e4c\u103a"), frozenset("\u1039\u17d2")
_QUOTES = "\"'“”‘’«»()[]"
RIGHT_TO_LEFT_MARK, LEFT_TO_RIGHT_MARK = "\u200f", "\u200e"


def well_formed(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def one_line(text: str) -> str:
    """Return well-formed text on one line: breaks, tabs and runs of spaces become one space, control characters are removed."""
    return _FOLD.sub(" ", _CONTROL.sub("", well_formed(text))).strip(" ")


def unspaced(char: str) -> bool:
    """Return whether a character belongs to a script without spaces between words."""
    return _UNSPACED.match(char) is not None


def join(parts: Iterable[str]) -> str:
    """Join one-line texts with spaces, in Chinese and Japanese without."""
    joined: list[str] = []
    for part in parts:
        if not part:
            continue
        if joined and parted(joined[-1], part):
            joined.append(" ")
        joined.append(part)
    return "".join(joined)


def parted(before: str, after: str) -> bool:
    """Return whether two texts are joined with a space. Thai, Lao, Burmese and Khmer separate sentences by spaces."""
    last, first = before.rstrip(_QUOTES)[-1:], after.lstrip(_QUOTES)[:1]
    return not (_RUNNING.match(last) and _RUNNING.match(first))


def direction(text: str) -> str:
    """Return the direction of most letters, "rtl" or "ltr"; "auto" without letters."""
    kinds = Counter(map(_runs, text))
    return max(("ltr", "rtl"), key=kinds.__getitem__) if kinds["ltr"] or kinds["rtl"] else "auto"


@lru_cache(maxsize=8192)
def _runs(char: str) -> str | None:
    return {"L": "ltr", "R": "rtl", "AL": "rtl"}.get(unicodedata.bidirectional(char))


def directed(line: str, way: str) -> str:
    """Add invisible direction marks, so that programs that take the direction from the first letter, or always from the
    left, show the line in the direction `way` (rtl, ltr), with its first word and its full stop on the right sides."""
    mark = {"rtl": RIGHT_TO_LEFT_MARK, "ltr": LEFT_TO_RIGHT_MARK}.get(way, "")
    first = next(filter(None, map(_runs, line)), way)
    opened = mark + line if first != way else line
    return opened + mark if way == "rtl" and _runs(line[-1:] or " ") != "rtl" else opened


@lru_cache(maxsize=8192)
def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def columns(text: str) -> int:
    """Width on a screen: Han, kana and emoji take two columns, combining marks and joiners none."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def clusters(text: str) -> list[str]:
    """Split text into the smallest parts between which a line may be broken: a letter with its marks, an emoji with its
    joiners, punctuation with the letter that it belongs to. `"".join(clusters(t)) == t`."""
    found: list[str] = []
    for char in text:
        if found and _clings(found[-1], char):
            found[-1] += char
            if char in _SILENCERS and len(found) > 1 and unspaced(found[-2][-1]):
                found[-2:] = ["".join(found[-2:])]
        else:
            found.append(char)
    return found


def inseparable(before: str, after: str) -> bool:
    """Return whether no line may be broken between two words without a space between them."""
    return len(clusters(before + after)) < len(clusters(before)) + len(clusters(after))


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
        or last in _STACKERS
        or (_is_wide_figure(last) and _is_wide_figure(char))
    )


def _is_wide_figure(char: str) -> bool:
    """Return whether a character is a full-width digit or Latin letter; a run of them is one word."""
    return "\uff10" <= char <= "\uff5a" and char.isalnum()
