"""The pages of this repository and the examples in them."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *map(ROOT.joinpath, ("README.md", "PRD.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
TEXTS = {str(file.relative_to(ROOT)): file.read_text("utf-8") for file in FILES}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, those inside lists too."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in found]


def prose(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def shown(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The jobs and the answers that a page shows."""
    parsed = [json.loads(block) for block in blocks(TEXTS[name], "json")]
    return [one for one in parsed if "input" in one], [one for one in parsed if "input" not in one]
