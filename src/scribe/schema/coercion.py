"""Convert values that forms and no-code tools send as text to the types of the contract.

Only unambiguous values are converted: "true", "2", "0.5", "srt" for ["srt"], "" for a key that is absent. All others
stay as they are, and validation refuses them.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from scribe.schema.languages import language_code

_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
# Keys whose value may be an empty text.
_FREE = frozenset(("initial_prompt", "hotwords"))
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")


def unquoted(raw: Mapping[str, object], fields: Mapping[str, FieldInfo]) -> tuple[dict[str, object], list[str]]:
    """Return (the input with unambiguous texts converted to the types of `fields`, sentences about what was dropped)."""
    meant: dict[str, object] = {}
    lost: list[str] = []
    for key, value in raw.items():
        if isinstance(value, str) and key in fields:
            if not value.strip() and key not in _FREE:
                continue
            if key == "language":
                value, sentence = _language(value)
                lost += [f"language {sentence}"] if sentence else []
            else:
                value = _typed(value, fields[key].annotation)
        elif isinstance(value, list) and key in fields:
            options = [kind for kind in _kinds(fields[key].annotation) if get_origin(kind) is list]
            value = [_typed(v, get_args(options[0])[0]) if options and isinstance(v, str) else v for v in value]
        meant[key] = value
    return meant, lost


def _language(text: str) -> tuple[str | None, str]:
    """Return (code, what was dropped); an unknown language is returned unchanged, and validation refuses it."""
    try:
        return language_code(text)
    except ValueError:
        return text, ""


def _typed(text: str, annotation: object) -> object:
    """Convert the text to the first type of the annotation that it can be read as; else return it unchanged."""
    word = text.strip()
    for kind in _kinds(annotation):
        if kind is bool and word.lower() in _TRUTH:
            return _TRUTH[word.lower()]
        if kind is int and _WHOLE.fullmatch(word):
            return int(word)
        if kind is float and _NUMBER.fullmatch(word):
            return float(word)
        if get_origin(kind) is Literal and word.lower() in get_args(kind):
            return word.lower()
        if get_origin(kind) is list and get_origin(choice := get_args(kind)[0]) is Literal:
            return [_typed(part.strip().removeprefix("."), choice) for part in word.split(",") if part.strip()]
    return text


def _kinds(annotation: object) -> Iterator[object]:
    """Yield the members of a union, nested ones too, or the type itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _kinds(member)
    else:
        yield annotation
