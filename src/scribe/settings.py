"""Read the environment: `load()` returns one frozen `Settings`, or reports all invalid values at once.

`.env.template` and the table of docs/settings.md are generated from the fields' descriptions. No other module of
the worker reads the environment.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def data_root(package: Path) -> Path:
    """Return the folder that holds `models/` and `builder/`: `data` in an installed package, else the repository."""
    carried = package / "data"
    return carried if (carried / "models").is_dir() else package.parents[1]


ROOT = data_root(Path(__file__).resolve().parent)
VOLUME = Path("/runpod-volume")
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
CommaList = Annotated[tuple[str, ...], NoDecode]


class InvalidSettings(Exception):
    """Some variables are invalid; the message names each of them, without the values of secrets."""


class Settings(BaseSettings):
    """The operator's settings, one field for each environment variable. All are optional."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # Models
    model_set: str = Field(
        "default",
        pattern=r"^[a-z0-9_-]{1,32}$",
        description="Which folder of models/ names the models: `default` (the real ones) or `demo` (small, made for this project).",
    )
    whisperx_model: str | None = Field(
        None,
        validation_alias=AliasChoices("whisperx_model", "whisperx_model_name"),
        description="Speech model, a name (`small`, `large-v3`, `name@revision`) or a path; WHISPERX_MODEL_NAME is read too.",
    )
    whisperx_model_dir: Path = Field(
        Path("/app/models/faster-whisper-large-v3"),
        description="Used when no name is set and it holds `model.bin`.",
    )
    whisperx_device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="`auto` takes the GPU when there is one; on a GPU endpoint it requires one."
    )
    whisperx_compute_type: str | None = Field(
        None,
        description="CTranslate2's type; without it float16 on a GPU and int8 on a CPU.",
    )
    allowed_models: CommaList = Field(
        (),
        description="Comma-separated names a job may ask for with `model` (a path by its last part); without it only the configured one.",
    )
    align_model: str | None = Field(
        None,
        description="Alignment model, a name or a path, for every language; without it the model set's.",
    )
    diarization_model: str | None = Field(
        None, description="pyannote pipeline, a repository (also `name@revision`) or a folder."
    )
    speaker_model: str | None = Field(
        None, description="SpeechBrain ECAPA encoder, a repository (also `name@revision`) or a folder."
    )
    speaker_threshold: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Least cosine of a name, as `builder/calibrate.py` found it; else the model set's.",
    )
    speaker_margin: float | None = Field(
        None, ge=0, le=2, description="Least lead over the second-best name, found the same way; else the model set's."
    )
    vad_model_path: Path | None = Field(
        None,
        description="Weights of the pyannote voice activity model; without it those in whisperX's wheel.",
    )
    hf_token: SecretStr | None = Field(
        None,
        description="Hugging Face token of an account that accepted the diarization model's terms.",
    )
    parity: bool = Field(
        False,
        description="Every stage exactly as WhisperX and pyannote run it: slower, for comparing with them.",
    )
    diarization_precision: Literal["full", "half"] = Field(
        "full",
        description="`half` distinguishes voices in 16 bits: faster; `make lab` prints what it costs.",
    )
    warmup: CommaList = Field(
        ("asr",),
        description="What to load before the first job, comma-separated: asr, align, diarization, speakers; or `none`.",
    )

    # Caches and scratch
    hf_home: Path | None = Field(None, description="Hub cache; on a volume models are downloaded once.")
    hf_hub_cache: Path | None = Field(
        None, description="Hub cache of models; without it HUGGINGFACE_HUB_CACHE, else `hub` in HF_HOME."
    )
    huggingface_hub_cache: Path | None = Field(None, description="The older name of HF_HUB_CACHE.")
    transformers_cache: Path | None = Field(None, description="Cache of transformers.")
    torch_home: Path | None = Field(None, description="Cache of torch and torchaudio.")
    cuda_cache_path: Path | None = Field(
        None,
        description="Where the GPU's driver keeps what it compiles; without it `cuda-cache` next to HF_HOME, or on the volume.",
    )
    jobs_dir: Path = Field(
        Path(tempfile.gettempdir()) / "whisperx-jobs",
        description="Scratch of the jobs, one folder each, always removed; best on the container's own disk.",
    )
    tmpdir: Path | None = Field(None, description="Temporary files of libraries; made when missing.")

    # Delivery
    storage_endpoint: str | None = Field(None, description="S3 or R2 address; empty for AWS.")
    storage_region: str | None = Field(
        None,
        description="Region of the bucket; without it what the address says (R2, RunPod, AWS), else `us-east-1`.",
    )
    storage_bucket: str | None = Field(None, description="Bucket; storage is on when it is set.")
    storage_access_key: SecretStr | None = Field(None, description="Access key id.")
    storage_secret_key: SecretStr | None = Field(None, description="Secret access key.")
    storage_source_prefixes: CommaList = Field(
        (),
        description="Comma-separated bucket/prefix under which jobs may name s3://bucket/key; without it s3:// is off.",
    )
    prefix_transcripts: str = Field("transcripts", description="First part of every stored object's key.")
    presign_ttl: int = Field(
        3600,
        ge=60,
        le=604800,
        description="Seconds a link stays valid; the signature allows 7 days at most.",
    )
    inline_default: Literal["preview", "full", "none"] | None = Field(
        None,
        description="`inline` of jobs that do not set it; without it none with storage, preview without.",
    )
    result_max_bytes: int = Field(
        5_000_000,
        ge=10_000,
        le=20_000_000,
        description="Largest answer in bytes; above it the inline part shrinks to the preview.",
    )

    # Limits
    max_audio_bytes: int = Field(2 * 1024**3, ge=1024, description="Largest download.")
    max_audio_seconds: float = Field(36000, gt=0, description="Longest recording, decoded.")
    max_base64_bytes: int = Field(
        10_000_000,
        ge=1024,
        description="Largest `audio_base64`, in bytes of text; RunPod itself takes 10 MB by /run and 20 MB by /runsync.",
    )
    fetch_deadline_s: float = Field(300, gt=0, description="Seconds for one download, retries included.")
    fetch_allow_hosts: CommaList = Field(
        (),
        description="Development and tests: comma-separated host[:port] exempt from the address check.",
    )
    concurrency: int = Field(
        1,
        ge=1,
        le=8,
        description="Jobs in flight; one uses the GPU, the others fetch and deliver meanwhile.",
    )

    overlap: Literal["auto", "off"] = Field(
        "auto",
        description="Separate the speakers while the speech is recognized: `auto` where 6 GB of GPU memory are free, or "
        "on 4 CPU cores; `off` never. Same transcript, and `PARITY=1` switches it off.",
    )

    # Logs
    debug: bool = Field(False, description="Console at DEBUG, and jobs default to `debug: true`.")
    console_log_level: Level | None = Field(None, description="Console level; wins over DEBUG.")
    print_mounts: bool = Field(False, description="Print the mounts' free space at start.")

    # Set by RunPod
    runpod_pod_id: str | None = Field(None, description="This worker's id.")
    runpod_endpoint_id: str | None = Field(
        None, description="Logs are JSON when it is set; `auto` then requires a GPU."
    )
    runpod_gpu_count: int | None = Field(None, description="GPUs of this worker; at 0 `auto` takes the CPU.")
    runpod_ai_api_key: SecretStr | None = Field(None, description="The platform's key; never shown.")

    @field_validator("allowed_models", "warmup", "fetch_allow_hosts", "storage_source_prefixes", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("warmup")
    @classmethod
    def _known_warmup(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = {"asr", "align", "diarization", "speakers", "none"}
        if set(value) - known:
            raise ValueError(f"should be a comma-separated list of {', '.join(sorted(known))}")
        return () if "none" in value else value

    @field_validator("model_set")
    @classmethod
    def _known_set(cls, value: str) -> str:
        if not (ROOT / "models" / value / "model_set.json").is_file():
            raise ValueError(f"there is no models/{value}/model_set.json")
        return value

    def __getstate__(self) -> NoReturn:
        raise TypeError("the settings hold secrets and are never pickled")

    @property
    def log_level(self) -> str:
        return self.console_log_level or ("DEBUG" if self.debug else "INFO")

    @property
    def model_set_file(self) -> Path:
        return ROOT / "models" / self.model_set / "model_set.json"

    @property
    def hub_caches(self) -> tuple[Path, Path]:
        """Folders searched for downloaded hub models, in order: RunPod's cached models, then the configured cache."""
        named = self.hf_hub_cache or self.huggingface_hub_cache
        own = named or (self.hf_home or Path.home() / ".cache" / "huggingface") / "hub"
        return (VOLUME / "huggingface-cache" / "hub", own)

    @property
    def expects_gpu(self) -> bool:
        """Whether this endpoint has a GPU and WHISPERX_DEVICE does not choose the CPU."""
        given = self.runpod_endpoint_id is not None if self.runpod_gpu_count is None else self.runpod_gpu_count > 0
        return given and self.whisperx_device == "auto"

    @property
    def kernel_cache(self) -> Path | None:
        """Folder for the driver's compiled kernels: CUDA_CACHE_PATH, else a folder next to the models' cache, if there is one."""
        models = self.hf_home or self.hf_hub_cache or self.huggingface_hub_cache
        folder = models.parent if models else VOLUME if VOLUME.is_dir() else None
        return self.cuda_cache_path or (folder / "cuda-cache" if folder else None)

    @property
    def storage_configured(self) -> bool:
        return self.storage_bucket is not None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that no log and no answer may show."""
        held = (self.hf_token, self.storage_access_key, self.storage_secret_key, self.runpod_ai_api_key)
        return tuple(s.get_secret_value() for s in held if s is not None)


def load(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """Read the environment and, in development, `.env`; `overrides` are fields. Raises InvalidSettings naming every bad one."""
    try:
        settings = Settings(_env_file=env_file, **overrides)
    except ValidationError as error:
        raise InvalidSettings("\n".join(_sentence(problem) for problem in error.errors())) from None
    if settings.storage_endpoint and not settings.storage_endpoint.startswith(("http://", "https://")):
        raise InvalidSettings("STORAGE_ENDPOINT: must begin with https:// (or http://)")
    if settings.storage_access_key and not settings.storage_configured:
        raise InvalidSettings("STORAGE_BUCKET: is not set although STORAGE_ACCESS_KEY is")
    if settings.storage_configured and not (settings.storage_access_key and settings.storage_secret_key):
        raise InvalidSettings("STORAGE_ACCESS_KEY, STORAGE_SECRET_KEY: needed when STORAGE_BUCKET is set")
    return settings


def _sentence(problem: Mapping[str, object]) -> str:
    """Describe a problem in one line, without the value: it may be a secret that was put into the wrong variable."""
    where = problem["loc"]
    name = str(where[0]).upper() if isinstance(where, tuple) and where else "?"
    return f"{name}: {str(problem['msg']).removeprefix('Value error, ')}"
