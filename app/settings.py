"""Settings of the HTTP process."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from certrad.workers.contract.settings import SharedSettings


class ApiSettings(SharedSettings):
    """The settings that the API reads from `CERTRAD_*` at start."""

    max_body_bytes: int = Field(64 << 20, ge=1024, description="bytes of an image that is sent")
    max_archive_bytes: int = Field(
        256 << 20, ge=1024, description="bytes of the body of POST /prompts, the images of a tuning"
    )
    max_received_bytes: int = Field(
        512 << 20,
        ge=1024,
        description="bytes of the body of POST /dicom-web/studies; each instance in it may have "
        "`CERTRAD_MAX_BODY_BYTES`",
    )
    min_free_bytes: int = Field(
        512 << 20, ge=0, description="bytes that uploads leave free on the disk, for Redis and certificates"
    )
    max_queued: int = Field(256, ge=1, description="jobs that may be queued or running at once")
    max_urgent: int = Field(
        8, ge=0, description="urgent jobs of one tenant that may be queued or running at once; 0: none is accepted"
    )
    max_wait: float = Field(30.0, ge=0, le=300, description="seconds that `Prefer: wait=N` may hold a request")
    keep_alive: float = Field(15.0, gt=0, le=300, description="seconds between comments on a silent event stream")
    header_timeout: float = Field(10.0, gt=0, description="seconds that the headers of a request may take")
    idle_timeout: float = Field(5.0, gt=0, description="seconds an idle connection is kept for the next request")
    min_body_rate: int = Field(
        10_240,
        ge=0,
        description="bytes a second that the body of a request must bring, on average over `CERTRAD_STALL_TIMEOUT`",
    )
    stall_timeout: float = Field(
        10.0, gt=0, description="seconds over which the rate of a body is taken, or that a client may read nothing"
    )
    max_connections: int = Field(
        1000,
        ge=1,
        description="requests that are answered at once, waits and event streams included; fewer where the process "
        "may not open two files for each",
    )
    allowed_hosts: str = Field(
        "localhost", description="host names the API answers to beside loopback addresses, separated by commas"
    )
    access_log: bool = Field(True, description="whether the log has a line for each request")
    access_log_probes: bool = Field(
        False, description="whether it has one for each probe of `/health` and scrape of `/metrics` that succeeds, too"
    )
    access_log_client: bool = Field(
        False,
        description="whether those lines name the address of the client, which is personal data in some countries",
    )
    redis_timeout: float = Field(5.0, gt=0, description="seconds the API waits for one answer of Redis")
    default_task: str = Field("mednist", min_length=1, description="task of a request that names none")
    default_adaptation: Literal["none", "zero_shot"] | None = Field(
        None,
        description="`none` or `zero_shot`: adaptation of a request that names none; banks are then not used by "
        "default; unset: `gated` with a bank, else `none`",
    )

    trigger_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="secret of 16 characters or more that POST /triggers and POST /dicom-web/studies demand; unset: "
        "nothing is taken",
    )
    rules: Path | None = Field(
        None,
        description="file of rules of the connector, read when it starts, and of POST /rules/test, read at each call; "
        "unset: the shipped one, which certifies nothing",
    )

    @property
    def host_names(self) -> frozenset[str]:
        """Returns the names of `allowed_hosts`, in lower case."""
        return frozenset(filter(None, (name.strip().lower() for name in self.allowed_hosts.split(","))))
