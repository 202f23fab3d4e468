"""Whisper's languages, and their codes by the names and codes that people write."""

from __future__ import annotations

import re

# Whisper's own list (faster_whisper.tokenizer, whisperx.utils); a test compares them. Written out here because the
# schema imports no model library.
_NAMES = (
    "af=afrikaans am=amharic ar=arabic as=assamese az=azerbaijani ba=bashkir be=belarusian bg=bulgarian "
    "bn=bengali bo=tibetan br=breton bs=bosnian ca=catalan cs=czech cy=welsh da=danish de=german el=greek "
    "en=english es=spanish et=estonian eu=basque fa=persian fi=finnish fo=faroese fr=french gl=galician "
    "gu=gujarati ha=hausa haw=hawaiian he=hebrew hi=hindi hr=croatian ht=haitian-creole hu=hungarian hy=armenian "
    "id=indonesian is=icelandic it=italian ja=japanese jw=javanese ka=georgian kk=kazakh km=khmer kn=kannada "
    "ko=korean la=latin lb=luxembourgish ln=lingala lo=lao lt=lithuanian lv=latvian mg=malagasy mi=maori "
    "mk=macedonian ml=malayalam mn=mongolian mr=marathi ms=malay mt=maltese my=myanmar ne=nepali nl=dutch "
    "nn=nynorsk no=norwegian oc=occitan pa=punjabi pl=polish ps=pashto pt=portuguese ro=romanian ru=russian "
    "sa=sanskrit sd=sindhi si=sinhala sk=slovak sl=slovenian sn=shona so=somali sq=albanian sr=serbian "
    "su=sundanese sv=swedish sw=swahili ta=tamil te=telugu tg=tajik th=thai tk=turkmen tl=tagalog tr=turkish "
    "tt=tatar uk=ukrainian ur=urdu uz=uzbek vi=vietnamese yi=yiddish yo=yoruba yue=cantonese zh=chinese "
)
_OTHER_NAMES = (
    "my=burmese es=castilian nl=flemish ht=haitian lb=letzeburgesch ro=moldavian ro=moldovan pa=panjabi ps=pushto "
    "si=sinhalese ca=valencian "
    "zh=mandarin fa=farsi no=norwegian-bokmal "
)
# Codes that Whisper does not use: withdrawn ones, and other codes of a language that it knows.
_OTHER_CODES = {"iw": "he", "in": "id", "ji": "yi", "nb": "no", "fil": "tl", "jv": "jw", "cmn": "zh", "mo": "ro"}
_ENGLISH = dict(pair.split("=") for pair in _NAMES.split())
LANGUAGES = frozenset(_ENGLISH)
_CODES = {
    name.replace("-", " "): code for code, _, name in (pair.partition("=") for pair in (_NAMES + _OTHER_NAMES).split())
} | _OTHER_CODES
DETECT = frozenset(("", "auto", "automatic", "autodetect", "auto-detect", "detect", "null", "none"))


# A script, a region, or both, as BCP 47 writes them: `hans`, `br`, `419`, `hant-tw`.
_VARIANT = re.compile(r"([a-z]{4}-)?([a-z]{2}|[0-9]{3})|[a-z]{4}")
# Has the form of Assamese as written in Iceland, but is an English phrase.
_AS_IT_IS = "as-is"


def language_code(text: str) -> tuple[str | None, str]:
    """Return (code, what was dropped): `english` is en, `auto` is None (detect it), `zh-CN` is zh without its script.

    Raises ValueError, worded for the caller of the job, when Whisper does not know the language.
    """
    word = text.strip().lower().replace("_", "-")
    if word in DETECT:
        return None, ""
    if word in LANGUAGES:
        return word, ""
    if (known := _CODES.get(word.replace("-", " "))) is not None:
        return known, ""
    code, _, variant = word.partition("-")
    code = _OTHER_CODES.get(code, code)
    if code in LANGUAGES and word != _AS_IT_IS and _VARIANT.fullmatch(variant):
        lost = "script" if code == "zh" else "regional spelling"
        return code, f"{text.strip()} acts as {code}: Whisper takes no wish for a {lost}"
    raise ValueError(f"is not one of the {len(LANGUAGES)} codes such as en, de, fr; leave it out to have it detected")


def language_name(code: str) -> str:
    """Return the English name of one of Whisper's language codes: German for de."""
    return _ENGLISH[code].replace("-", " ").title()
