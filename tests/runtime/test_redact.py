"""A secret must not survive in any spelling that a library may give it."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scribe.runtime.redact import MARK, Redactor, safe_url

secrets = st.text(min_size=8, max_size=60)
keys = st.text(st.sampled_from("abcXYZ019/+=-_.~ &\"'\\%é<>"), min_size=8, max_size=40)

SPELLINGS = {
    "raw": lambda secret: secret,
    "quoted": lambda secret: quote(secret, safe="", errors="surrogatepass"),
    "quoted, slashes kept": lambda secret: quote(secret, errors="surrogatepass"),
    "quoted as JavaScript does": lambda secret: quote(secret, safe="-_.!~*'()", errors="surrogatepass"),
    "form": lambda secret: quote_plus(secret, errors="surrogatepass"),
    "json": lambda secret: json.dumps(secret)[1:-1],
    "json in unicode": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "json with slashes escaped": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "xml": escape,
    "repr": lambda secret: repr(secret)[1:-1],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(secret=secrets | keys, before=st.sampled_from(["", "key=", "x "]), after=st.sampled_from(["", " y", "&z"]))
def test_a_secret_does_not_survive_in_any_spelling(spelling: str, secret: str, before: str, after: str) -> None:
    assume(secret not in f"?{MARK}")
    spelt = SPELLINGS[spelling](secret)
    redactor = Redactor()
    redactor.add(secret)
    cleaned = redactor.clean(f"{before}{spelt}{after}")
    assert spelt not in cleaned
    assert secret not in cleaned
    assert MARK in cleaned


@given(secret=keys, before=st.binary(max_size=5), after=st.binary(max_size=5), urlsafe=st.booleans())
def test_a_secret_inside_base64_does_not_survive_at_any_offset(
    secret: str, before: bytes, after: bytes, urlsafe: bool
) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    redactor = Redactor()
    redactor.add(secret)
    cleaned = redactor.clean(encode(before + secret.encode() + after).decode())
    left = cleaned.replace(MARK, "")
    assert MARK in cleaned
    # What is left are the neighbours and at most a few bits at either end.
    assert len(left) <= len(base64.b64encode(before + after)) + 4


@given(secret=keys)
def test_percent_codes_in_lower_case_are_known_too(secret: str) -> None:
    spelt = quote(secret, safe="")
    lower = "".join(
        char.lower() if index and "%" in spelt[max(0, index - 2) : index] else char for index, char in enumerate(spelt)
    )
    redactor = Redactor()
    redactor.add(secret)
    assert lower not in redactor.clean(lower)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("GET https://host/a/b.mp3?X-Amz-Signature=1&b=2 failed", "GET https://host/a/b.mp3?[secure] failed"),
        ("https://user:word@host:8443/a#frag", "https://host:8443/a?[secure]"),
        ("https://user@host", "https://host"),
        ("s3://bucket/key?versionId=1", "s3://bucket/key?[secure]"),
        ('{"url":"https:\\/\\/host\\/p?x=1\\u0026y"}', '{"url":"https:\\/\\/host\\/p?[secure]"}'),
        ('log "{\\"u\\": \\"https://host/p?x=1\\"}"', 'log "{\\"u\\": \\"https://host/p?[secure]\\"}"'),
        (
            "Max retries exceeded with url: /a.mp3?X-Amz-Signature=1 (x)",
            "Max retries exceeded with url: /a.mp3?[secure] (x)",
        ),
        ("to=https%3A%2F%2Fhost%2Fp%3Fsig%3D1 end", "to=https%3A%2F%2Fhost%2Fp?[secure] end"),
        ("two http://a/?1 and http://b/#2.", "two http://a/?[secure] and http://b/?[secure]"),
        ("see https://host/path, really? yes/no", "see https://host/path, really? yes/no"),
        ("00:00:01.000 --> 00:00:02.000", "00:00:01.000 --> 00:00:02.000"),
    ],
)
def test_urls_lose_what_may_be_signed_and_text_stays(text: str, cleaned: str) -> None:
    assert Redactor().clean(text) == cleaned


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = Redactor().clean(text)
    assert Redactor().clean(once) == once


@given(query=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<>\"'\\"), min_size=12))
def test_no_query_survives_in_a_url(query: str) -> None:
    assert query not in Redactor().clean(f"fetch of https://host/path?{query} failed").replace(MARK, "")


def test_values_are_cleaned_to_the_bottom_keys_included() -> None:
    redactor = Redactor()
    redactor.add("canary-secret")
    value = {"canary-secret": [1, None, ("x canary-secret", {"deep": "https://h/?canary"})], "n": 2.5, "t": True}
    assert redactor.clean_value(value) == {
        MARK: [1, None, [f"x {MARK}", {"deep": "https://h/?[secure]"}]],
        "n": 2.5,
        "t": True,
    }


def test_of_two_secrets_that_begin_alike_the_longer_leaves_nothing_behind() -> None:
    redactor = Redactor()
    redactor.add("canary-1")
    redactor.add("canary-1-and-more")
    assert redactor.clean("canary-1-and-more canary-1") == f"{MARK} {MARK}"


def test_short_words_are_not_secrets() -> None:
    redactor = Redactor()
    for word in ("", "minio", "a", "secure"):
        redactor.add(word)
    assert redactor.clean("minio says a secure thing") == "minio says a secure thing"


def test_a_secret_is_forgotten_when_the_last_job_that_brought_it_leaves() -> None:
    redactor = Redactor()
    redactor.add("canary-secret")
    redactor.add("canary-secret")
    redactor.discard("canary-secret")
    assert redactor.clean("canary-secret") == MARK
    redactor.discard("canary-secret")
    redactor.discard("canary-secret")
    assert redactor.clean("canary-secret") == "canary-secret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@host:8443/a%20b?x#y", "https://host:8443/a%20b"),
        ("http://host", "http://host"),
        ("nonsense", ""),
        ("http://[::1", ""),
        ("http://", ""),
    ],
)
def test_a_safe_url_is_scheme_host_and_path(url: str, shown: str) -> None:
    assert safe_url(url) == shown
