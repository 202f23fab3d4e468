"""RunPod's `s3Config`: the bucket that a job names for its results, instead of the worker's own."""

from __future__ import annotations

from pydantic import ConfigDict, Field, SecretStr

from scribe.schema.speaker_sample import Strict


class S3Config(Strict):
    """An S3 bucket of the caller's own, as RunPod documents it: a key of the job next to `input`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=False)

    access_id: SecretStr = Field(alias="accessId", min_length=1, max_length=256)
    access_secret: SecretStr = Field(alias="accessSecret", min_length=1, max_length=256)
    bucket_name: str = Field(alias="bucketName", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$")
    endpoint_url: str = Field(alias="endpointUrl", max_length=2048)

    @property
    def secrets(self) -> tuple[str, str]:
        """The values that no log and no answer may show."""
        return self.access_id.get_secret_value(), self.access_secret.get_secret_value()
