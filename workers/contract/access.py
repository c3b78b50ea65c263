"""The caller of the service: a tenant, and what it may do."""

import re
from dataclasses import dataclass
from typing import Final, Literal

Scope = Literal["submit", "read", "tune", "admin"]

SCOPES: Final[dict[Scope, str]] = {
    "submit": "submit images, and cancel or erase the tenant's own jobs that certify",
    "read": "read the tenant's own jobs, certificates and assessments, and verify documents",
    "tune": "tune prompts, change and withdraw the tenant's own, and cancel or erase the jobs that tune them",
    "admin": "change the defaults and the prompts that are everyone's, read metrics, and run the self-test",
}
LOCAL_TENANT: Final = "local"
"""The tenant of a service that is open on loopback, and of every job of a release without tenants."""

TENANT_FORM: Final = "1 to 32 of a-z, 0-9 and inner hyphens"
"""What `is_tenant` asks of a name, for people."""

_TENANT: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def is_tenant(name: str) -> bool:
    """Returns whether a name can be that of a tenant, see `TENANT_FORM`."""
    return _TENANT.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The sender of a request.

    Attributes:
        tenant: The tenant whose jobs, prompts and assessments the caller sees.
        scopes: What the caller may do.
        key_id: Public id of the API key; None for the local caller, and for the PACS, which brings a secret.
    """

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None = None

    def __post_init__(self) -> None:
        if not is_tenant(self.tenant):
            raise ValueError(f"tenant must be {TENANT_FORM}, got {self.tenant!r}")


LOCAL_CALLER: Final = Caller(tenant=LOCAL_TENANT, scopes=frozenset(SCOPES))
