"""AWS Signature Version 4 from the server's side, recomputed from the request as it came over the wire.

Written after the AWS General Reference and not with botocore, so that botocore is checked by something else.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Protocol
from urllib.parse import parse_qsl, quote, urlsplit

SKEW = timedelta(minutes=15)
LONGEST = 7 * 24 * 3600


class Refusal(Exception):
    """An S3 error to be sent: status and code."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Account(Protocol):
    """Whose signature is right."""

    access_key: str
    secret_key: str
    region: str


def check(method: str, path: str, headers: Mapping[str, str], body: bytes, account: Account, now: datetime) -> None:
    """Raise a Refusal unless the header's signature or the presigned link is right, in time and for this request.

    `headers` must not mind the case of names.
    """
    query = parse_qsl(urlsplit(path).query, keep_blank_values=True)
    if any(name == "X-Amz-Signature" for name, _ in query):
        given, payload = dict(query), "UNSIGNED-PAYLOAD"
        stamp = given.get("X-Amz-Date", "")
    else:
        scheme, _, rest = headers.get("Authorization", "").partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            raise Refusal(403, "AccessDenied", "Access Denied")
        given = {f"X-Amz-{name.strip()}": value for name, value in (part.split("=", 1) for part in rest.split(","))}
        payload, stamp = headers.get("x-amz-content-sha256", ""), headers.get("x-amz-date", "")
        if payload not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            raise Refusal(400, "XAmzContentSHA256Mismatch")
    try:
        access_key, day, region, service, ending = given["X-Amz-Credential"].split("/")
        signed = given["X-Amz-SignedHeaders"].split(";")
        begin = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except (KeyError, ValueError):
        raise Refusal(400, "AuthorizationQueryParametersError") from None
    if access_key != account.access_key:
        raise Refusal(403, "InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records.")
    if (region, service, ending, day) != (account.region, "s3", "aws4_request", stamp[:8]):
        raise Refusal(400, "AuthorizationHeaderMalformed", f"the region is wrong; expecting '{account.region}'")
    _check_time(given, begin, now)
    pairs = sorted((name, value) for name, value in query if name != "X-Amz-Signature")
    request = [
        method,
        urlsplit(path).path,
        "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs),
        *(f"{name}:{' '.join((headers.get(name) or '').split())}" for name in signed),
        "",
        ";".join(signed),
        payload,
    ]
    digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
    key = f"AWS4{account.secret_key}".encode()
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, f"{day}/{region}/s3/aws4_request", digest])
    for part in (day, region, "s3", "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    if "host" not in signed or not hmac.compare_digest(key.hex(), given.get("X-Amz-Signature", "")):
        raise Refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")


def _check_time(given: Mapping[str, str], begin: datetime, now: datetime) -> None:
    if "X-Amz-Expires" not in given:
        if abs(now - begin) > SKEW:
            raise Refusal(403, "RequestTimeTooSkewed")
    elif not 0 < int(given["X-Amz-Expires"]) <= LONGEST:
        raise Refusal(400, "AuthorizationQueryParametersError")
    elif begin - now > SKEW or now > begin + timedelta(seconds=int(given["X-Amz-Expires"])):
        raise Refusal(403, "AccessDenied", "Request has expired")
