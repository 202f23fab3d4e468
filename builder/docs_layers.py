"""The picture of docs/architecture.md: the layers that import-linter checks, and what each room says it is for."""

from __future__ import annotations

import ast
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
BODY = ROOT / "src" / "scribe"


def layers() -> list[list[str]]:
    """The rooms of src/scribe, the highest layer first, as pyproject.toml lists them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    listed = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in listed]


def picture() -> str:
    """One line a layer, in a fenced block: a room may import from the lines below its own."""
    lines = ["src/*.py (the faces)", *("   ".join(rooms) for rooms in layers())]
    return "```\n" + "\n  |\n".join(lines) + "\n```"


def rooms() -> list[tuple[str, str]]:
    """(room, the first line of its docstring), from the top down."""
    return [(f"`{room}`", purpose(room)) for layer in layers() for room in layer]


def purpose(room: str) -> str:
    """What a package, or a module by itself, says it is for."""
    file = BODY / room / "__init__.py"
    docstring = ast.get_docstring(ast.parse((file if file.is_file() else BODY / f"{room}.py").read_text("utf-8")))
    return (docstring or "").partition("\n\n")[0].replace("\n", " ")
