"""Read a checkpoint of PyTorch Lightning without importing or running the classes in it.

A Lightning checkpoint is a pickle: it can name any function, which the default unpickler imports and calls. Reading
pyannote's that way takes seconds of imports for a few attributes, and a manipulated file could run any program.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

# The only classes that are really constructed; torch's own reader handles its storages.
HARMLESS: dict[tuple[str, str], type] = {
    ("builtins", "dict"): dict,
    ("__builtin__", "dict"): dict,
    ("builtins", "list"): list,
    ("__builtin__", "list"): list,
    ("__builtin__", "long"): int,
    ("builtins", "int"): int,
    ("collections", "OrderedDict"): OrderedDict,
}


class Foreign:
    """Stub of a class or function that is not imported; keeps the arguments and an object's state."""

    arguments: tuple[object, ...]
    state: Any = None

    def __new__(cls, *arguments: object) -> Foreign:
        self = super().__new__(cls)
        self.arguments = arguments
        return self

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *arguments: object) -> Foreign:
        """Return a stub for the result of a stubbed function."""
        return Foreign(*arguments)

    def __setitem__(self, key: object, value: object) -> None:
        """Ignore items set on a stubbed mapping."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., object]:
        from torch._utils import _rebuild_tensor_v2

        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            rebuild: Callable[..., object] = _rebuild_tensor_v2
            return rebuild
        return HARMLESS.get((module, name), Foreign)


def read(path: Path) -> dict[str, Any]:
    """Return the checkpoint's dict, with tensors on the CPU and objects of other classes as `Foreign`.

    Raises what torch and pickle raise for a missing or invalid file.
    """
    import torch

    reader = SimpleNamespace(__name__=__name__, Unpickler=_Unpickler, load=_load)
    found: dict[str, Any] = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    return found


def _load(file: IO[bytes], **options: Any) -> object:
    """Load one object; torch calls this for the format used before torch 1.6."""
    return _Unpickler(file, **options).load()
