"""A storage in memory."""

from __future__ import annotations

from scribe.errors import StorageError


class Shelf:
    """A storage in memory, with the three methods that a delivery needs; `failing` names those that raise."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.types: dict[str, tuple[str, str]] = {}
        self.failing: dict[str, StorageError] = {}
        self.links = 0

    def put(self, key: str, data: bytes, content_type: str, filename: str) -> None:
        self._fail("put")
        self.objects[key] = data
        self.types[key] = (content_type, filename)

    def get(self, key: str) -> bytes | None:
        self._fail("get")
        return self.objects.get(key)

    def presign(self, key: str) -> tuple[str, str]:
        self._fail("presign")
        self.links += 1
        return f"https://storage.example/{key}?signature={self.links}", "2030-01-01T00:00:00Z"

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise self.failing[method]
