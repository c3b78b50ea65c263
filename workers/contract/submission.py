"""The facts about the submission of a job that decide nothing about its result."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final
from unicodedata import category

from certrad.workers.contract.access import LOCAL_TENANT, TENANT_FORM, is_tenant

REFERENCE_MAX: Final = 128

_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """Returns a text that has no control character, surrogate or line separator.

    Args:
        text: The text.

    Raises:
        ValueError: It has one.
    """
    if any(category(character) in _UNPRINTABLE for character in text):
        raise ValueError("must have no control characters")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Who sent a job, and what the sender wants besides the result. A certificate depends on none of it.

    Attributes:
        tenant: The tenant that the job belongs to.
        reference: The sender's own note, at most 128 characters. It is kept in the job record only.
        callback: Address that hears of the end of the job.
        deadline_at: Seconds since 1970 after which nobody needs the result.
        request_id: Id of the HTTP request, in every log line about the job.
        traceparent: W3C trace context of the HTTP request.
    """

    tenant: str = LOCAL_TENANT
    reference: str | None = None
    callback: str | None = None
    deadline_at: float | None = None
    request_id: str | None = None
    traceparent: str | None = None

    def __post_init__(self) -> None:
        if not is_tenant(self.tenant):
            raise ValueError(f"tenant must be {TENANT_FORM}, got {self.tenant!r}")
        if self.reference is not None and len(self.reference) > REFERENCE_MAX:
            raise ValueError(f"reference must have at most {REFERENCE_MAX} characters, got {len(self.reference)}")

    def to_fields(self) -> dict[str, str]:
        """Returns the fields of the job's hash."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: repr(value) if isinstance(value, float) else value
            for name, value in values.items()
            if value is not None
        }

    @classmethod
    def from_fields(cls, stored: Mapping[bytes, bytes]) -> "Submission":
        """Returns the submission of a job's hash; a release without tenants wrote none of its fields.

        Args:
            stored: The fields of the hash.

        Raises:
            ValueError: A field is not what `to_fields` writes.
        """
        text = {
            field.name: stored[field.name.encode()].decode() for field in fields(cls) if field.name.encode() in stored
        }
        deadline = text.pop("deadline_at", None)
        return cls(**text, deadline_at=None if deadline is None else float(deadline))


ANONYMOUS: Final = Submission()
"""The submission of a local caller who wants nothing but the result."""
