"""The message to a receiver: one small JSON object, signed by the rules of Standard Webhooks."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from standardwebhooks import Webhook

from certrad.workers.callbacks.note import Note
from certrad.workers.contract.access import LOCAL_TENANT

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # only what every secret begins with
EVENT: Final = "job.ended"
_SECRET_BYTES: Final = (24, 64)
_DERIVED: Final = b"certrad callbacks of tenant "


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is sent.

    Attributes:
        content: The body.
        headers: Its headers, with the signatures.
    """

    content: bytes
    headers: dict[str, str]


def message(note: Note, secrets: Sequence[str], *, now: float) -> Message:
    """Returns what to send about a job that has ended: its id and its status, and nothing of its result.

    Args:
        note: The note.
        secrets: The secrets of the installation that are in use, each of which signs.
        now: Seconds since 1970: the receiver refuses a message that is signed long before it comes.
    """
    body = {
        "type": EVENT,
        "timestamp": datetime.fromtimestamp(note.ended_at, UTC).isoformat(timespec="milliseconds"),
        "data": {"id": note.job, "status": note.status, "links": {"self": f"/jobs/{note.job}"}},
    }
    content = json.dumps(body, separators=(",", ":"))
    identity, at = message_id(note), datetime.fromtimestamp(int(now), UTC)
    signatures = (Webhook(secret_of(note.tenant, secret)).sign(identity, at, content) for secret in secrets)
    headers = {
        "content-type": "application/json",
        "user-agent": f"certrad/{version('certrad')}",
        "webhook-id": identity,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
    }
    return Message(content.encode(), headers)


def message_id(note: Note) -> str:
    """Returns the id of the message, the same at every attempt: a receiver that knows it has had the message."""
    return f"msg_{note.job}"


def secret_of(tenant: str, secret: str) -> str:
    """Returns the secret that a tenant's receivers check signatures with.

    Each tenant has another, so that none can sign in the service's name to another one. That of the local tenant is the
    installation's own.

    Args:
        tenant: The tenant.
        secret: The secret of the installation.

    Raises:
        ValueError: It is none.
    """
    key = read_secret(secret)
    if tenant != LOCAL_TENANT:
        key = hmac.new(key, _DERIVED + tenant.encode(), hashlib.sha256).digest()
    return SECRET_PREFIX + base64.b64encode(key).decode()


def read_secret(secret: str) -> bytes:
    """Returns the bytes of a secret.

    Args:
        secret: `whsec_` and base64 of 24 to 64 random bytes.

    Raises:
        ValueError: It is none; the message does not hold it.
    """
    smallest, largest = _SECRET_BYTES
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not smallest <= len(key) <= largest:
        raise ValueError(f"must be `{SECRET_PREFIX}` and the base64 of {smallest} to {largest} bytes")
    return key
