"""Map boto3's exceptions to the worker's two storage errors.

Each storage has its own codes (R2 answers Unauthorized where AWS answers InvalidAccessKeyId), and their messages quote
keys and signatures. Only the code is kept, reduced to letters and digits.
"""

from __future__ import annotations

import re

from scribe.errors import StorageDenied, StorageError, StorageUnavailable

# The storage's code: our reason.
_REASONS = {
    "InvalidAccessKeyId": "wrong_key",
    "InvalidClientTokenId": "wrong_key",
    "Unauthorized": "wrong_key",
    "SignatureDoesNotMatch": "wrong_secret",
    "NoSuchBucket": "wrong_bucket",
    "InvalidBucketName": "wrong_bucket",
    "PermanentRedirect": "wrong_region",
    "TemporaryRedirect": "wrong_region",
    "AuthorizationHeaderMalformed": "wrong_region",
    "IllegalLocationConstraintException": "wrong_region",
    "RequestTimeTooSkewed": "wrong_clock",
    "AccessDenied": "no_permission",
    "AllAccessDisabled": "no_permission",
    "AccountProblem": "no_permission",
    "NoSuchKey": "absent",
    "SlowDown": "failing",
    "RequestTimeout": "failing",
    "TooManyRequests": "failing",
}
_STATUS_REASONS = {301: "wrong_region", 401: "wrong_key", 403: "no_permission", 404: "absent", 429: "failing"}

_DENIED = {
    "wrong_key": "The storage does not know the access key: check STORAGE_ACCESS_KEY and STORAGE_ENDPOINT.",
    "wrong_secret": "The secret key does not belong to the access key: check STORAGE_SECRET_KEY.",
    "wrong_bucket": "The storage has no bucket of that name: check STORAGE_BUCKET and STORAGE_ENDPOINT.",
    "wrong_region": "The bucket is in another region: set STORAGE_REGION to it, or STORAGE_ENDPOINT to that region's endpoint.",
    "wrong_clock": "The storage finds the worker's clock wrong: the machine's time must be set.",
    "no_permission": "The keys may not {action} under the prefix: give them put, get and delete there.",
    "absent": "The storage has no such object.",
    "bad_endpoint": "STORAGE_ENDPOINT is not an address that begins with http:// or https://.",
    "refused": "The storage refused to {action} ({code}).",
}
_UNAVAILABLE = {
    "unreachable": "The storage could not be reached: check STORAGE_ENDPOINT, or try again.",
    "timeout": "The storage did not answer in time.",
    "tls": "The storage's certificate could not be verified: check STORAGE_ENDPOINT.",
    "cut": "The storage broke the connection off.",
    "failing": "The storage kept failing ({code}).",
}


def storage_error(error: Exception, action: str) -> StorageError:
    """Return the error for an exception of boto3 during `action` (put, get, delete, presign).

    `details`: action, reason (a key of the tables above) and the storage's own code if it gave one.
    """
    reason, code = _reason_of(error)
    details = {"action": action, "reason": reason} | ({"storage_code": code} if code else {})
    if reason in _DENIED:
        return StorageDenied(_DENIED[reason].format(action=action, code=code), details)
    return StorageUnavailable(_UNAVAILABLE[reason].format(code=code), details)


def _reason_of(error: Exception) -> tuple[str, str]:
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        code = re.sub(r"[^A-Za-z0-9]", "", str(error.response.get("Error", {}).get("Code", "")))[:40]
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        reason = _REASONS.get(code) or _STATUS_REASONS.get(status)
        if reason is None:
            # R2 answers InvalidArgument to a key of the wrong length, and 501 to operations that it does not implement.
            reason = "failing" if status >= 500 and status != 501 else "refused"
        return reason, code or str(status)
    for kind, reason in (
        (boto.ParamValidationError, "wrong_bucket"),
        (ValueError, "bad_endpoint"),
        (boto.SSLError, "tls"),
        ((boto.ConnectTimeoutError, boto.ReadTimeoutError), "timeout"),
        ((boto.ConnectionClosedError, boto.ResponseStreamingError, boto.IncompleteReadError), "cut"),
    ):
        if isinstance(error, kind):
            return reason, ""
    return "unreachable", ""
