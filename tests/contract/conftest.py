"""One stand-in of the platform and one file server for each module that drives a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .files import FileServer
from .platform import Platform
from .worker import REPOSITORY


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    with FileServer(REPOSITORY / "samples") as running:
        yield running
