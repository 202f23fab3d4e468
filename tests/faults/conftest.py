"""What every fault has in common: the pauses between the tries of a download are short."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses, which tests/net/test_download.py checks, would take most of the time here."""
    monkeypatch.setattr("scribe.net.download.BACKOFF_S", 0.02)
