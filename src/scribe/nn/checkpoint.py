"""A checkpoint of PyTorch Lightning, read without the packages whose classes it holds, and without running any of them.

What Lightning saves is a pickle: it may name any function, and an ordinary reader imports and calls it. To read one of
pyannote's so takes seconds of imports for a few attributes, and whoever can exchange the file can run a program.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

# Nothing here does anything but build what it is named for; torch's own reader knows its storages by itself.
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
    """Stands for whatever is not imported, and for what calling it gives: the arguments, and an object's state."""

    arguments: tuple[object, ...]
    state: Any = None

    def __new__(cls, *arguments: object) -> Foreign:
        self = super().__new__(cls)
        self.arguments = arguments
        return self

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *arguments: object) -> Foreign:
        """What a foreign function gives is as foreign."""
        return Foreign(*arguments)

    def __setitem__(self, key: object, value: object) -> None:
        """A foreign mapping's items are nobody's business here."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., object]:
        from torch._utils import _rebuild_tensor_v2

        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            rebuild: Callable[..., object] = _rebuild_tensor_v2
            return rebuild
        return HARMLESS.get((module, name), Foreign)


def read(path: Path) -> dict[str, Any]:
    """The checkpoint's dict, its tensors on the CPU, an object of any other class as a `Foreign`.

    Raises whatever a file that is missing, damaged or of another kind makes torch and pickle raise.
    """
    import torch

    reader = SimpleNamespace(__name__=__name__, Unpickler=_Unpickler, load=_load)
    found: dict[str, Any] = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    return found


def _load(file: IO[bytes], **options: Any) -> object:
    """What files of before torch 1.6 are begun with."""
    return _Unpickler(file, **options).load()
