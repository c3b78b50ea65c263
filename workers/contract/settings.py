"""Settings that API and workers share; every process builds one frozen object from the environment."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from certrad.workers.contract.access import LOCAL_TENANT, TENANT_FORM, is_tenant
from certrad.workers.contract.callbacks import CallbackHosts
from certrad.workers.contract.collector_headers import read_headers
from certrad.workers.contract.secret_files import SecretFileSource


class SharedSettings(BaseSettings):
    """The settings that both sides of the queue must agree on; read from `CERTRAD_*`.

    A secret can lie in a file instead, which `CERTRAD_*_FILE` names.
    """

    model_config = SettingsConfigDict(
        env_prefix="CERTRAD_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Returns where settings come from: arguments before files of secrets before the environment."""
        return init_settings, SecretFileSource(settings_cls), env_settings, dotenv_settings, file_secret_settings

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Redis or Valkey; `rediss://` is TLS, and `unix://` works too"
    )
    redis_user: str | None = Field(None, description="user of Redis' access list; unset: the user `default`")
    redis_password: SecretStr | None = Field(None, description="password for Redis; needs `CERTRAD_REDIS_URL`")
    redis_ca: Path | None = Field(
        None,
        description="PEM file of the authorities that may sign the certificate of Redis, with `rediss://`; unset: "
        "those that the system trusts",
    )
    data_dir: Path = Field(Path("certrad-data"), description="blobs, certificates, prompts, weights and secrets")
    job_ttl: int = Field(86_400, ge=60, description="seconds a job record is kept after the job ended")
    output_ttl: int = Field(
        3_600,
        ge=60,
        description="seconds after the end of a job that its reports, figures and the PNG of the model input are kept",
    )
    job_timeout: int = Field(7_200, ge=10, description="seconds one stage of a job may run, per attempt")
    audit_retention_days: int = Field(
        2_190, ge=1, description="days that a file of the audit trail is kept after its last month; 2190 are six years"
    )
    telemetry: bool = Field(
        False,
        description="whether traces are sent by OTLP/HTTP, to where the variable `OTEL_EXPORTER_OTLP_ENDPOINT` says; "
        "needs the extra `telemetry`",
    )
    telemetry_headers: SecretStr | None = Field(
        None,
        description="headers that traces are sent with, such as the credential of the collector: `name=value`, several "
        "separated by commas, in the form of `OTEL_EXPORTER_OTLP_HEADERS`; they win over those of that variable",
    )

    @field_validator("telemetry_headers")
    @classmethod
    def _are_headers(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None:
            read_headers(given.get_secret_value())
        return given

    tuning_slice_seconds: float = Field(
        10.0, ge=0, description="seconds after which a tuning makes room for the certificates that wait for an engine"
    )
    share_seconds: float = Field(
        2.0,
        ge=0,
        description="seconds that a certificate must still take for its engine to ask idle engines to help",
    )
    drift_days: int = Field(
        400, ge=1, le=3_660, description="days that the counts of certificates and abstentions of a day are kept"
    )
    job_retries: int = Field(5, ge=0, description="times a job is started again after its process died")

    callback_hosts: str = Field(
        "",
        description="hosts that callbacks may go to, separated by commas: `name`, `name:port` or `[address]:port`, "
        "after `http://` for a host without TLS; empty: no callbacks",
    )

    @field_validator("callback_hosts")
    @classmethod
    def _names_hosts(cls, hosts: str) -> str:
        CallbackHosts.read(hosts)
        return hosts

    trigger_tenant: str = Field(
        LOCAL_TENANT,
        description="tenant that the PACS belongs to: `CERTRAD_TRIGGER_SECRET` speaks for it, the connector's API key "
        "must be one of its own, and `certrad erase --study` looks for its jobs",
    )

    @field_validator("trigger_tenant")
    @classmethod
    def _is_a_tenant(cls, name: str) -> str:
        if not is_tenant(name):
            raise ValueError(f"must be {TENANT_FORM}")
        return name

    @property
    def allowed_callbacks(self) -> CallbackHosts:
        """Returns the hosts of `callback_hosts`."""
        return CallbackHosts.read(self.callback_hosts)

    tsa_certificates: Path | None = Field(
        None,
        description="PEM file with the root certificates of the time-stamping authorities that are trusted, and with "
        "intermediate ones that their responses lack",
    )
    tsa_policy: str | None = Field(
        None,
        pattern=r"^[0-2](\.(0|[1-9][0-9]{0,18}))+$",
        description="policy that a time stamp must be made under, a dotted OID; unset: any",
    )

    @model_validator(mode="after")
    def _one_redis(self) -> Self:
        given = [name for name in ("redis_user", "redis_password", "redis_ca") if getattr(self, name) is not None]
        if given and "redis_url" not in self.model_fields_set:
            raise ValueError(f"{given[0]} needs redis_url: the embedded Redis has no users and no TLS")
        parts = urlsplit(self.redis_url)
        if parts.password is not None and self.redis_password is not None:
            raise ValueError("redis_url holds a password, and redis_password is set too; keep one of them")
        if self.redis_ca is not None and parts.scheme != "rediss":
            raise ValueError("redis_ca needs a redis_url that begins with rediss://")
        return self

    @property
    def blobs_dir(self) -> Path:
        """Returns the folder of uploads, shared by API and intake only; each is deleted when its job ends."""
        return self.data_dir / "blobs"

    @property
    def outputs_dir(self) -> Path:
        """Returns the folder of reports, figures and model inputs; each is deleted `output_ttl` after its job ends."""
        return self.data_dir / "outputs"

    @property
    def pacs_dir(self) -> Path:
        """Returns the folder of triggers and of the connector's database."""
        return self.data_dir / "pacs"

    @property
    def audit_dir(self) -> Path:
        """Returns the folder of the audit trail."""
        return self.data_dir / "audit-trail"

    @property
    def assessments_dir(self) -> Path:
        """Returns the folder of the readers' assessments."""
        return self.data_dir / "assessments"

    @property
    def access_dir(self) -> Path:
        """Returns the folder of the digests of API keys, on the API host only."""
        return self.data_dir / "access"

    @property
    def owners_dir(self) -> Path:
        """Returns the folder that says which tenants made a certificate, inside the folder of the certificates."""
        return self.certificates_dir / "owners"

    @property
    def certificates_dir(self) -> Path:
        """Returns the folder of content-addressed certificate documents."""
        return self.data_dir / "certificates"
