"""Map exceptions of the loaders to errors whose message says what to do."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator

from scribe.errors import (
    DiskFull,
    GatedModel,
    HubUnreachable,
    MemoryExhausted,
    ModelNotFound,
    WeightsCorrupt,
    WorkerError,
)
from scribe.models.model_set import public_name
from scribe.models.network_errors import causes, statuses, unreachable
from scribe.runtime.gpu_errors import gpu_failure

log = logging.getLogger(__name__)


@contextlib.contextmanager
def loading(what: str, name: str) -> Iterator[None]:
    """Convert any exception in the block to a ModelError, DiskFull or GpuError; `what` and `name` describe the model."""
    try:
        yield
    except WorkerError:
        raise
    except Exception as error:
        log.warning("%s could not be loaded: %s", what, error, exc_info=log.isEnabledFor(logging.DEBUG))
        # The name of a missing folder is its full path: show callers only the last part.
        raise _model_error(what, public_name(name), error) from error


def _model_error(what: str, name: str, error: BaseException) -> WorkerError:
    """Return the error for the first known cause in the chain. Gated is checked before not found, its base class."""
    chain = list(causes(error))
    kinds = {kind.__name__ for e in chain for kind in type(e).__mro__}
    answered = statuses(error)
    details = {"model": name, "stage": what}
    failure = next(filter(None, map(gpu_failure, chain)), None)
    if "MemoryError" in kinds or isinstance(failure, MemoryExhausted):
        return MemoryExhausted(f"{what}: the machine's memory does not suffice to load {name}", details)
    if failure:
        return failure
    page = f"https://huggingface.co/{name}"
    if any("Invalid credentials" in str(e) for e in chain):
        message = f"{what}: the hub does not know the token in HF_TOKEN (any more): make a new one to get {name}"
        return GatedModel(message, details)
    if "GatedRepoError" in kinds or 403 in answered:
        own = "set HF_TOKEN to a token of that account" if 401 in answered else "with the account of HF_TOKEN"
        message = f"{what}: {name} is given only to accounts that accepted its terms: accept them at {page}, {own}"
        return GatedModel(message, details)
    if 401 in answered:
        message = (
            f"{what}: the hub shows {name} to nobody without the right token: check the name, and set HF_TOKEN to a"
            f" token of an account that accepted {page}"
        )
        return GatedModel(message, details)
    numbers = {getattr(e, "errno", None) for e in chain}
    if numbers & {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(
            f"{what}: there is no room to keep {name}: point HF_HOME and TORCH_HOME at a volume with free space",
            details,
        )
    if numbers & {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
        message = f"{what}: {name} is not on this machine and may not be written to the cache: point HF_HOME and"
        return ModelNotFound(f"{message} TORCH_HOME at folders that this user may write to", details)
    absent = {"RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError", "HFValidationError"}
    if (kinds & absent and "LocalEntryNotFoundError" not in kinds) or 404 in answered:
        return ModelNotFound(f"{what}: there is no model {name}", details)
    if unreachable(error):
        return HubUnreachable(f"{what}: {name} is not on this machine and the hub could not be reached", details)
    if "FileNotFoundError" in kinds:
        return ModelNotFound(f"{what}: files of {name} are missing at the configured place", details)
    return WeightsCorrupt(f"{what}: the files of {name} could not be loaded ({type(error).__name__})", details)
