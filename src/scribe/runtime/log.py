"""Configure logging: JSON lines on RunPod, readable lines on a terminal, with secrets and signed URLs redacted.

The root handler's formatter redacts, so that the logs of libraries are redacted too.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar

job_id: ContextVar[str] = ContextVar("job_id", default="-")

NOISY = (
    "speechbrain",
    "pyannote",
    "lightning",
    "lightning_fabric",
    "pytorch_lightning",
    "urllib3",
    "botocore",
    "boto3",
    "s3transfer",
    "numba",
    "matplotlib",
    "whisperx",
    "faster_whisper",
    "asyncio",
    "fsspec",
    "huggingface_hub",
)


class CleanFormatter(logging.Formatter):
    """Formats a record, traceback included, and redacts the line with `clean`."""

    def __init__(self, clean: Callable[[str], str], as_json: bool) -> None:
        super().__init__()
        self._clean = clean
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        message = self._clean(message)
        job = job_id.get()
        if self._as_json:
            line = {
                "time": record.created,
                "level": record.levelname,
                "logger": record.name,
                "job": job,
                "message": message,
            }
            return json.dumps(line, ensure_ascii=False)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{clock} {record.levelname:<7} {'' if job == '-' else job + ' '}{message}"


def configure(level: str, as_json: bool, clean: Callable[[str], str]) -> None:
    """Replace the root logger's handlers, which importing runpod has set, and set the level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleanFormatter(clean, as_json))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    quiet_libraries(level)


def quiet_libraries(level: str) -> None:
    """Keep whisperX's log off the standard output, and libraries' messages below WARNING out (below INFO at DEBUG)."""
    # Unless its logger has a handler, whisperX adds one that writes to stdout without redaction.
    whisperx = logging.getLogger("whisperx")
    whisperx.handlers, whisperx.propagate = [logging.NullHandler()], True
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING if level != "DEBUG" else logging.INFO)


def quiet_prints(module: str) -> None:
    """Replace `print` in a library's module by a DEBUG log. stdout itself is not redirected, because other threads, or
    the SDK, may write to it."""
    said = logging.getLogger(module)
    setattr(importlib.import_module(module), "print", lambda *words, **_: said.debug(" ".join(map(str, words))))  # noqa: B010
