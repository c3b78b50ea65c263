"""The issuer of a document: its keys, those that it has revoked, and what a time stamp spares of a revoked one."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from certrad.models.certificates.envelopes.opening import Opened
from certrad.models.certificates.findings import Check
from certrad.models.certificates.signature import signer

IssuerStatus = Literal["known", "unknown", "revoked", "stamped_before_leak", "not_checked"]
ProvenTime = Callable[[str, bytes], datetime | None]
"""Returns the latest time at which a signature was made, for the SHA-256 of its document and its 64 bytes.

It returns None without a time stamp, and raises ValueError with the reason if one does not verify.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """The keys and facts that an issuer has published.

    Attributes:
        public_keys: Its public keys in hexadecimal.
        revoked: SHA-256 of the public keys that it has disowned.
        leaks: SHA-256 of a disowned key -> the time before which, as the issuer states, only the issuer had the key.
        secrets: SHA-256 of a noise secret -> the revealed secret.
        epochs: SHA-256 of every noise secret that it committed to; None where only its keys are known.
    """

    public_keys: frozenset[str]
    revoked: frozenset[str] = frozenset()
    leaks: Mapping[str, datetime] = field(default_factory=dict)
    secrets: Mapping[str, bytes]
    epochs: frozenset[str] | None = None


def check_issuer(
    opened: Opened, issuer: Issuer | None, proven_time: ProvenTime | None
) -> tuple[list[Check], IssuerStatus]:
    """Returns the checks of who signed, and the outcome.

    Args:
        opened: The document.
        issuer: What the issuer has published; None if it is not known.
        proven_time: Reads the time stamp of a signature.
    """
    if issuer is None:
        return [], "not_checked"
    holder = signer(opened.document)
    digest = hashlib.sha256(bytes.fromhex(holder or "")).hexdigest()
    if digest in issuer.revoked:
        return _of_revoked_key(opened, issuer.leaks.get(digest), proven_time)
    if holder in issuer.public_keys:
        return [Check("issuer", True, "signed with a key of the issuer's")], "known"
    return [Check("issuer", False, "the document is signed with a key that is not the issuer's")], "unknown"


def _of_revoked_key(
    opened: Opened, leaked: datetime | None, proven_time: ProvenTime | None
) -> tuple[list[Check], IssuerStatus]:
    """Returns the checks of a revoked key's signature: a time stamp from before the leak spares it."""
    refusal = Check("issuer", False, "the signing key was revoked by the issuer: somebody else may have signed this")
    if leaked is None or proven_time is None:
        return [refusal], "revoked"
    try:
        proven = proven_time(opened.sha256, bytes.fromhex(opened.document["signature"]["value"]))
        if proven is None:
            return [refusal], "revoked"
        if proven >= leaked:
            raise ValueError(f"it proves a time up to {proven.isoformat()}, and the key leaked at {leaked.isoformat()}")
    except (ValueError, TypeError, KeyError) as error:
        return [refusal, Check("time_stamp", False, str(error))], "revoked"
    spared = "the signing key was revoked, but made this signature before the leak that the issuer states"
    stamped = f"the signature was made by {proven.isoformat()}; the key leaked at {leaked.isoformat()}"
    return [Check("issuer", True, spared), Check("time_stamp", True, stamped)], "stamped_before_leak"
