"""Text as every format may hold it: well-formed Unicode, one line, joined as its script is written."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
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
# Those of them that put none between sentences either: Han, kana and their punctuation.
_RUNNING = re.compile(
    "[\u2e80-\u312f\u31a0-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff9f\U00020000-\U000323af]"
)
# Japanese and Chinese typography (kinsoku): these never open a line, those never close one. Thai and Lao vowels that are
# written behind or before their consonant cling to it.
_NOT_FIRST = frozenset(
    "、。，．,.!?:;！？：；）」』】〕〉》”’)]}»…‥・ー—〜～〟％%°℃‼⁇⁈⁉｡､｣ｰ゛゜ゝゞヽヾ々〻"
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
    "ะาำๅๆฯະາຳໆຯ"
)
_NOT_LAST = frozenset("（「『【〔〈《〝“‘([{«＄￥￡｢$¥£€เแโใไເແໂໃໄ")
# Signs that silence their consonant, which then ends the syllable before it: Thai, Burmese; and those that stack the
# next consonant below theirs: Burmese, Khmer.
_SILENCERS, _STACKERS = frozenset("\u0e4c\u103a"), frozenset("\u1039\u17d2")
_QUOTES = "\"'“”‘’«»()[]"
RIGHT_TO_LEFT_MARK, LEFT_TO_RIGHT_MARK = "\u200f", "\u200e"


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
    """Join stretches of one-line text: a space between them, none in Chinese and Japanese."""
    joined: list[str] = []
    for part in parts:
        if not part:
            continue
        if joined and parted(joined[-1], part):
            joined.append(" ")
        joined.append(part)
    return "".join(joined)


def parted(before: str, after: str) -> bool:
    """Whether a space stands between two stretches of text. Thai, Lao, Burmese and Khmer part sentences by spaces."""
    last, first = before.rstrip(_QUOTES)[-1:], after.lstrip(_QUOTES)[:1]
    return not (_RUNNING.match(last) and _RUNNING.match(first))


def direction(text: str) -> str:
    """ "rtl" or "ltr": how most of the letters run; "auto" without letters."""
    kinds = Counter(map(_runs, text))
    return max(("ltr", "rtl"), key=kinds.__getitem__) if kinds["ltr"] or kinds["rtl"] else "auto"


@lru_cache(maxsize=8192)
def _runs(char: str) -> str | None:
    return {"L": "ltr", "R": "rtl", "AL": "rtl"}.get(unicodedata.bidirectional(char))


def directed(line: str, way: str) -> str:
    """The line with marks that nobody sees, so that a reader who takes its direction from its first letter, or always
    from the left, shows it as `way` (rtl, ltr) says: a name or a brand at its start, or its full stop, changes sides."""
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
    """The smallest parts at which a text without spaces may be broken: a letter with its marks, an emoji with its
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
    """Whether no line may be broken between two words that no space parts."""
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
    """Full-width figures and Latin letters are words as their narrow ones are."""
    return "\uff10" <= char <= "\uff5a" and char.isalnum()
