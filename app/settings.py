"""Settings of the HTTP process."""

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from certrad.workers.contract.access import LOCAL_TENANT, TENANT_FORM, is_tenant
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
    max_queued: int = Field(512, ge=1, description="jobs that may be queued or running at once")
    max_queued_of_tenant: int = Field(256, ge=1, description="jobs of one tenant that may be queued or running at once")
    access: Literal["auto", "closed"] = Field(
        "auto",
        description="`closed`: every request needs an API key, but for health probes and published keys; `auto`: open "
        "to what reaches a loopback address, and closed on every other address and behind `CERTRAD_TRUSTED_PROXIES`",
    )
    trusted_proxies: str = Field(
        "",
        description="addresses and networks of reverse proxies, separated by commas, whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed",
    )
    submissions_per_minute: int = Field(
        600, ge=1, description="requests of one tenant in a minute that send images; only where access is closed"
    )
    requests_per_minute: int = Field(
        6_000, ge=1, description="other requests of one tenant in a minute; only where access is closed"
    )
    refusals_per_minute: int = Field(
        60, ge=1, description="requests without a valid key in a minute from one address that are answered 401, not 429"
    )
    session_seconds: int = Field(
        43_200, ge=60, description="seconds after which a session of the page ends, however much it is used"
    )
    public_certificates: bool = Field(
        False, description="whether GET /certificates/{sha256} answers every tenant, not only those that made it"
    )
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
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="port of its own for `/metrics`, without keys; unset: the port of the interface",
    )
    metrics_host: str = Field("127.0.0.1", description="address to listen on for `CERTRAD_METRICS_PORT`")
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
    trigger_tenant: str = Field(
        LOCAL_TENANT,
        description="tenant that the PACS belongs to: `CERTRAD_TRIGGER_SECRET` speaks for it, and the connector's API "
        "key must be one of its own",
    )
    rules: Path | None = Field(
        None,
        description="file of rules of the connector, read when it starts, and of POST /rules/test, read at each call; "
        "unset: the shipped one, which certifies nothing",
    )

    @field_validator("trigger_tenant")
    @classmethod
    def _is_a_tenant(cls, name: str) -> str:
        if not is_tenant(name):
            raise ValueError(f"must be {TENANT_FORM}")
        return name

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, given: str) -> str:
        for proxy in _listed(given):
            ip_network(proxy, strict=False)
        return given

    @property
    def proxies(self) -> tuple[str, ...]:
        """Returns the addresses and networks of `trusted_proxies`."""
        return _listed(self.trusted_proxies)

    @property
    def is_closed(self) -> bool:
        """Returns whether every request needs a key, whatever address it reaches."""
        return self.access == "closed" or bool(self.proxies)

    @property
    def host_names(self) -> frozenset[str]:
        """Returns the names of `allowed_hosts`, in lower case."""
        return frozenset(filter(None, (name.strip().lower() for name in self.allowed_hosts.split(","))))


def _listed(given: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in given.split(","))))
