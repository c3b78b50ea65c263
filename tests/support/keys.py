"""API keys as tests make and send them."""

from collections.abc import Sequence
from pathlib import Path

from certrad.workers.contract.access import SCOPES, Scope
from certrad.workers.contract.access_keys import AccessKeys


def make_key(access_dir: Path, tenant: str, scopes: Sequence[Scope] = tuple(SCOPES)) -> str:
    """Makes a key, and gives it."""
    return AccessKeys(access_dir).add(tenant, scopes).secret


def bearing(key: str) -> dict[str, str]:
    """The headers that send a key."""
    return {"authorization": f"Bearer {key}"}
