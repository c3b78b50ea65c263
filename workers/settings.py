"""Settings of a worker process."""

import os
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from certrad.models.types.identity import BLOCK_MAX, THREADS_MAX
from certrad.models.types.smoothing import BLOCK_CPU, BLOCK_GPU
from certrad.models.types.variant_lists import VARIANTS_LIMIT
from certrad.workers.contract.settings import SharedSettings

SCANNER_MODELS_MAX: Final = 40
LONG_STRING: Final = 64
"""Characters of a DICOM element of the representation LO, which the name of a scanner model is."""


class WorkerSettings(SharedSettings):
    """The settings that intake and engine read from `CERTRAD_*` at start."""

    device: str = Field("auto", description="`auto`, `cpu` or `cuda:N`")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "openvino-bfloat16"] = Field(
        "auto",
        description="number type of the image encoder; `auto` is bfloat16 where the processor multiplies it natively; "
        "`openvino-bfloat16` computes it by OpenVINO on a CPU, which needs the extra `openvino`",
    )
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, le=THREADS_MAX, description="torch threads of an engine"
    )
    block_size: int | None = Field(
        None,
        ge=1,
        le=BLOCK_MAX,
        description="samples per batch, which are computed together; 64 on a CPU, up to 256 on a GPU",
    )
    commit_size: int | None = Field(
        None,
        ge=1,
        le=BLOCK_MAX,
        description="samples per block, which are committed together; a divisor of the batch, and by default all of it",
    )
    max_pixels: int = Field(64_000_000, ge=64, description="pixels of one decoded image")
    intake_memory_bytes: int = Field(4 << 30, ge=256 << 20, description="address space the decoding process may add")
    intake_cpu_seconds: int = Field(60, ge=1, description="processor time of the decoding process")
    max_archive_files: int = Field(20_000, ge=2, description="files in the archive of a tuning")
    max_unpacked_bytes: int = Field(2 << 30, ge=1024, description="bytes the archive of a tuning may unpack to")
    max_archive_pixels: int = Field(
        1 << 33,
        ge=64,
        description="pixels of all images of a tuning together; a small archive may have fewer: "
        "CERTRAD_MAX_PIXELS and 128 for each of its bytes",
    )
    max_tuning_bytes: int = Field(
        384 << 20, ge=1 << 20, description="memory of Redis that the decoded images of one tuning may take"
    )
    input_ttl: int = Field(86_400, ge=60, description="seconds the float tensor may stay in Redis")
    heartbeat_seconds: int = Field(5, ge=1, description="seconds between heartbeats of a worker on its job")
    maintenance_seconds: int = Field(15, ge=1, description="seconds between searches for lost jobs")
    cancel_grace_seconds: float = Field(2.0, ge=0, description="seconds that a cancelled engine has to stop by itself")

    tsa_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s]+$",
        description="address of a time-stamping authority (RFC 3161) that intake asks when it issues a certificate; "
        "needs `CERTRAD_TSA_CERTIFICATES`; unset: certificates have no time stamp",
    )
    tsa_timeout: float = Field(5.0, gt=0, le=60, description="seconds the time-stamping authority has to respond")

    @model_validator(mode="after")
    def _trusted_authority(self) -> Self:
        if self.tsa_url is not None and self.tsa_certificates is None:
            raise ValueError("tsa_certificates must name the certificates of the authority in tsa_url")
        return self

    drift_labels: str = Field(
        "",
        pattern=r"^((modality|scanner_model)(,|$))*$",
        description="labels of a DICOM image that its certificate is counted by: `modality`, `scanner_model` or both, "
        "separated by a comma; unset: neither",
    )
    drift_scanner_models: str = Field(
        "",
        description="scanner models (0008,1090) that are counted by name, separated by `;`, at most 40; any other "
        "counts as `other`",
    )

    variants_max: int = Field(
        1024,
        ge=0,
        le=VARIANTS_LIMIT,
        description="renderings of one file that a certificate may cover; each takes a model input in the job store "
        "while its job runs (at 224 x 224 pixels 0.2 MB of a grey image, 0.6 MB of one in colour); 0: none",
    )

    report_language: Literal["en", "de"] = Field("en", description="language of the texts in reports: `en` or `de`")
    copy_burned_in: bool = Field(
        False,
        description="whether the secondary capture page may copy an image that may have text burned into its pixels",
    )

    @model_validator(mode="after")
    def _whole_commits(self) -> Self:
        for block_size in (BLOCK_CPU, BLOCK_GPU) if self.block_size is None else (self.block_size,):
            if self.commit_size is not None and block_size % self.commit_size:
                raise ValueError(f"commit_size must divide block_size = {block_size}, got {self.commit_size}")
        return self

    @property
    def scanner_models(self) -> frozenset[str]:
        """Returns the names of `drift_scanner_models`."""
        return frozenset(filter(None, (name.strip() for name in self.drift_scanner_models.split(";"))))

    @model_validator(mode="after")
    def _few_short_scanner_models(self) -> Self:
        if len(self.scanner_models) > SCANNER_MODELS_MAX or any(
            len(name) > LONG_STRING for name in self.scanner_models
        ):
            raise ValueError(
                f"drift_scanner_models must be at most {SCANNER_MODELS_MAX} names of at most {LONG_STRING} characters"
            )
        return self

    @property
    def backbones_dir(self) -> Path:
        """Returns the folder of fetched weights, with one folder per backbone id."""
        return self.data_dir / "backbones"

    @property
    def prompts_dir(self) -> Path:
        """Returns the folder of content-addressed prompt checkpoints with their cards."""
        return self.data_dir / "prompts"

    @property
    def adapters_dir(self) -> Path:
        """Returns the folder of content-addressed adapters of image encoders with their cards."""
        return self.data_dir / "adapters"

    @property
    def calibrations_dir(self) -> Path:
        """Returns the folder of content-addressed calibrations of prediction sets."""
        return self.data_dir / "calibrations"

    @property
    def cards_dir(self) -> Path:
        """Returns the folder of the operator's own cards, with the folders `backbones` and `tasks`."""
        return self.data_dir / "cards"

    @property
    def reports_dir(self) -> Path:
        """Returns the folder of the index of reports, on the hosts of intake only."""
        return self.data_dir / "reports"

    @property
    def signing_dir(self) -> Path:
        """Returns the folder of the keys that sign certificates, where intake runs only."""
        return self.data_dir / "signing"

    @property
    def secrets_dir(self) -> Path:
        """Returns the folder of the secrets behind the noise keys, on the hosts of engines only."""
        return self.data_dir / "secrets"


class StackSettings(WorkerSettings):
    """The settings that the local stack reads from `CERTRAD_*` besides those of its workers."""

    redis_maxmemory: str = Field("512mb", description="memory of the embedded Redis; it refuses jobs beyond it")


class CallbackSettings(SharedSettings):
    """The settings that the process that sends callbacks reads from `CERTRAD_*`."""

    callback_secret: SecretStr | None = Field(
        None, description="`whsec_` and the base64 of 24 to 64 random bytes: signs callbacks"
    )
    callback_former_secret: SecretStr | None = Field(
        None, description="the secret before it, which signs too until every receiver has the new one"
    )
    callback_ca: Path | None = Field(
        None,
        description="PEM file of the authorities that may sign the certificates of receivers; unset: the system's",
    )
    callback_timeout: float = Field(10.0, gt=0, le=120, description="seconds that one attempt may take")
    callback_attempts: int = Field(30, ge=1, description="attempts after which a callback is given up")
    callback_days: float = Field(3.0, gt=0, le=30, description="days after which a callback is given up")
    callback_retry_seconds: float = Field(
        5.0, gt=0, description="seconds before the second attempt; each later wait doubles"
    )
    callback_retry_max_seconds: float = Field(14_400.0, gt=0, description="longest wait between two attempts")


class ConnectorSettings(SharedSettings):
    """The settings that the connector to a PACS reads from `CERTRAD_*`."""

    pacs_url: str | None = Field(
        None, description="DICOMweb root of the PACS, such as `http://pacs:8042/dicom-web`; `certrad up` connects to it"
    )
    pacs_token: SecretStr | None = Field(None, description="bearer token for the PACS")
    pacs_user: str | None = Field(None, description="user for the PACS, with `CERTRAD_PACS_PASSWORD`")
    pacs_password: SecretStr | None = Field(None, description="password for the PACS")
    pacs_ca: Path | None = Field(None, description="PEM file of the authorities that may sign the PACS's certificate")
    orthanc_url: str | None = Field(
        None, description="address of Orthanc's own interface; its list of changes then recovers lost triggers"
    )
    url: str = Field("http://127.0.0.1:8000", description="address of the service, for the connector and for commands")
    api_key: SecretStr | None = Field(
        None, description="API key with which the connector and commands speak to the service; unset: without one"
    )
    rules: Path | None = Field(
        None,
        description="file of rules of the connector, read when it starts, and of POST /rules/test, read at each call; "
        "unset: the shipped one, which certifies nothing",
    )
    pacs_timeout: float = Field(30.0, gt=0, le=600, description="seconds the PACS may keep a connection silent")
    pacs_poll_seconds: float = Field(10.0, gt=0, description="seconds between looks at Orthanc's list of changes")
    pacs_max_bytes: int = Field(64 << 20, ge=1024, description="bytes of one instance, or of one answer in JSON")
    pacs_attempts: int = Field(
        8,
        ge=1,
        description="refusals after which a delivery is put aside, and a series or an instance fails; 401, 403, faults "
        "of TLS and times at which nobody answers never count",
    )
    pacs_retry_seconds: float = Field(
        5.0, gt=0, description="seconds before the second attempt; each later wait doubles"
    )
    pacs_retry_max_seconds: float = Field(600.0, gt=0, description="longest wait between two attempts")
    pacs_retention_days: float = Field(
        90.0, gt=0, description="days the connector remembers what it has done with an instance"
    )
