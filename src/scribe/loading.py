"""What went wrong when a model was loaded, as a sentence about what to do: the libraries' own words help nobody."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator
from pathlib import Path

from .errors import DiskFull, GatedModel, HubUnreachable, ModelNotFound, WeightsCorrupt, WorkerError
from .gpu_fault import gpu_failure

log = logging.getLogger(__name__)


@contextlib.contextmanager
def loading(what: str, name: str) -> Iterator[None]:
    """Turn whatever a loader raises into a model error, DiskFull or a GpuError, each a sentence about what to do."""
    try:
        yield
    except WorkerError:
        raise
    except Exception as error:
        log.warning("%s could not be loaded: %s", what, error, exc_info=log.isEnabledFor(logging.DEBUG))
        # A configured folder that is not there still goes by its path, which no caller needs to see.
        raise _model_error(what, Path(name).name if Path(name).is_absolute() else name, error) from error


def _model_error(what: str, name: str, error: BaseException) -> WorkerError:
    """The first recognized cause in the chain decides. Gated comes first: it derives from 'not found'."""
    chain = list(_causes(error))
    kinds = {kind.__name__ for e in chain for kind in type(e).__mro__}
    statuses = {getattr(getattr(e, "response", None), "status_code", None) for e in chain}
    details = {"model": name, "stage": what}
    if failure := next(filter(None, map(gpu_failure, chain)), None):
        return failure
    if any("No default align-model" in str(e) for e in chain):
        return ModelNotFound(
            f"{what}: there is no model for this language: set ALIGN_MODEL to one that knows it", details
        )
    page = f"https://huggingface.co/{name}"
    if any("Invalid credentials" in str(e) for e in chain):
        message = f"{what}: the hub does not know the token in HF_TOKEN (any more): make a new one to get {name}"
        return GatedModel(message, details)
    if "GatedRepoError" in kinds or 403 in statuses:
        own = "set HF_TOKEN to a token of that account" if 401 in statuses else "with the account of HF_TOKEN"
        message = f"{what}: {name} is given only to accounts that accepted its terms: accept them at {page}, {own}"
        return GatedModel(message, details)
    if 401 in statuses:
        message = (
            f"{what}: the hub shows {name} to nobody without the right token: check the name, and set HF_TOKEN to a"
            f" token of an account that accepted {page}"
        )
        return GatedModel(message, details)
    numbers = {getattr(e, "errno", None) for e in chain}
    if numbers & {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"{what}: there is no room to keep {name}: point HF_HOME at a volume with free space", details)
    if numbers & {errno.EACCES, errno.EPERM, errno.EROFS}:
        message = f"{what}: {name} is not on this machine and may not be written to the hub cache: point HF_HOME at a"
        return ModelNotFound(f"{message} folder that this user may write to", details)
    absent = {"RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError", "HFValidationError"}
    if kinds & absent and "LocalEntryNotFoundError" not in kinds:
        return ModelNotFound(f"{what}: there is no model {name}", details)
    busy = any(isinstance(status, int) and (status == 429 or status >= 500) for status in statuses)
    if busy or kinds & {
        "LocalEntryNotFoundError",
        "OfflineModeIsEnabled",
        "ConnectionError",
        "ChunkedEncodingError",
        "ConnectError",
        "Timeout",
        "TimeoutException",
    }:
        return HubUnreachable(f"{what}: {name} is not on this machine and the hub could not be reached", details)
    if "FileNotFoundError" in kinds:
        return ModelNotFound(f"{what}: files of {name} are missing at the configured place", details)
    return WeightsCorrupt(f"{what}: the files of {name} could not be loaded ({type(error).__name__})", details)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
