"""Read the client's variables from the environment or from `.env` in the current folder."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Environment(BaseSettings):
    """The client's variables: three of RunPod's, and the worker's STORAGE_*, so that one `.env` serves both. All optional."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    runpod_api_key: SecretStr | None = Field(None, description="Without it, the key that `runpod config` stored.")
    runpod_endpoint_id: str | None = Field(None, description="What --endpoint says when it is not given.")
    runpod_endpoint_base_url: str | None = Field(None, description="What --api-base says when it is not given.")
    storage_endpoint: str | None = Field(None, description="S3 or R2 address; empty for AWS.")
    storage_region: str | None = Field(None, description="Region of the bucket; without it what the address says.")
    storage_bucket: str | None = Field(None, description="Without it, recordings travel inside the job.")
    storage_access_key: SecretStr | None = None
    storage_secret_key: SecretStr | None = None
    prefix_transcripts: str = Field("transcripts", description="The worker's: where `delete` and lost answers look.")

    @property
    def api_key(self) -> str | None:
        """RUNPOD_API_KEY, else the key that `runpod config` stored in the home folder."""
        return self.runpod_api_key.get_secret_value() if self.runpod_api_key else _stored_key()


def _stored_key() -> str | None:
    """Return the key in ~/.runpod/config.toml; None if the file is missing or invalid."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        stored = tomllib.loads((Path.home() / ".runpod" / "config.toml").read_text("utf-8"))
        return str(stored["default"]["api_key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
