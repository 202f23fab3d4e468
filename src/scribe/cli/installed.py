"""Find out which optional packages are installed, and the pip command that installs the others."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "scribe-worker"


def absent(packages: Iterable[str]) -> list[str]:
    """Return the packages that are not installed, without importing any."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def pip_command(extra: str) -> str:
    """Return the pip command that installs this distribution with the extra, from the same source."""
    try:
        origin = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        repository = Path(__file__).resolve().parents[3]
        return f"pip install '{repository}[{extra}]'"
    found = json.loads(origin) if origin else {}
    url, commit = found.get("url", ""), found.get("vcs_info", {})
    place = f"{commit['vcs']}+{url}@{commit['commit_id']}" if commit else url
    return f"pip install '{DISTRIBUTION}[{extra}]{f' @ {place}' if place else ''}'"
