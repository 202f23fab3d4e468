"""The version, in its only place: pyproject.toml and `scribe --version` read it here."""

__version__ = "0.9.0"
