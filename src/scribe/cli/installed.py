"""Which optional packages are here, and the pip command that brings the others."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "scribe-worker"


def absent(packages: Iterable[str]) -> list[str]:
    """Those that are not installed; nothing is imported."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def pip_command(extra: str) -> str:
    """What installs this distribution with the extra, from where this one came."""
    try:
        origin = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        repository = Path(__file__).resolve().parents[3]
        return f"pip install '{repository}[{extra}]'"
    found = json.loads(origin) if origin else {}
    url, commit = found.get("url", ""), found.get("vcs_info", {})
    place = f"{commit['vcs']}+{url}@{commit['commit_id']}" if commit else url
    return f"pip install '{DISTRIBUTION}[{extra}]{f' @ {place}' if place else ''}'"
