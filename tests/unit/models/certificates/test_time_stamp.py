"""A time stamp proves its time, and spares a revoked key's certificate that is older than the leak."""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certrad.models.certificates import time_stamp
from certrad.models.certificates.signature import public_key
from certrad.models.certificates.time_stamp import TimeStampError, TimeStampTrust, latest_time, query
from certrad.models.certificates.verify import verify
from tests.support.certificates import ISSUER, genuine
from tests.unit.models.certificates.test_verify import FIXED, KNOWN, refused

# Made once with `openssl ts`, over invented bytes: the authority states an inaccuracy of 1.5 s.
STORED = json.loads((Path(__file__).parents[3] / "data" / "time_stamp.json").read_text("utf-8"))
SIGNATURE, RESPONSE = bytes.fromhex(STORED["signature"]), b64decode(STORED["response"])
TRUST = TimeStampTrust(certificates=STORED["root"].encode())
LATEST = datetime.fromisoformat(STORED["latest"])


def test_stamp_proves_its_time_and_inaccuracy() -> None:
    assert latest_time(RESPONSE, SIGNATURE, TRUST, nonce=int(STORED["nonce"])) == LATEST
    assert LATEST.microsecond == 500_000
    assert LATEST.utcoffset() == timedelta()


def test_policy_of_the_operator_is_accepted() -> None:
    assert latest_time(RESPONSE, SIGNATURE, replace(TRUST, policy=STORED["policy"])) == LATEST


def reason(
    response: bytes, signature: bytes = SIGNATURE, trust: TimeStampTrust = TRUST, nonce: int | None = None
) -> str:
    with pytest.raises(TimeStampError) as refusal:
        latest_time(response, signature, trust, nonce=nonce)
    return str(refusal.value)


def test_stamp_over_another_signature_proves_nothing() -> None:
    assert "Mismatch between messages" in reason(RESPONSE, bytes(64))


def test_stamp_of_another_authority_proves_nothing() -> None:
    assert "trusted authority" in reason(RESPONSE, trust=TimeStampTrust(certificates=STORED["other_root"].encode()))


def test_stamp_under_another_policy_proves_nothing() -> None:
    assert "Policy ID mismatch" in reason(RESPONSE, trust=replace(TRUST, policy="1.2.3.4.5"))


def test_response_to_another_query_proves_nothing() -> None:
    assert "Nonce mismatch" in reason(RESPONSE, nonce=int(STORED["nonce"]) + 1)


@pytest.mark.parametrize("position", range(0, len(RESPONSE), 7))
def test_no_changed_byte_moves_the_proven_time(position: int) -> None:
    changed = bytearray(RESPONSE)
    changed[position] ^= 1
    try:
        proven = latest_time(bytes(changed), SIGNATURE, TRUST)
    except TimeStampError:
        return
    assert proven == LATEST


@pytest.mark.parametrize("response", [b"", b"\x30\x03\x02\x01\x00", RESPONSE[:-1], bytes(70_000), b"\x30\x84" * 1000])
def test_malformed_response_proves_nothing(response: bytes) -> None:
    assert reason(response)


@pytest.mark.parametrize("certificates", [b"", b"no PEM", STORED["authority"].encode()])
def test_trust_without_a_root_is_refused(certificates: bytes) -> None:
    assert "PEM with a root" in reason(RESPONSE, trust=TimeStampTrust(certificates=certificates))


def test_every_query_has_its_own_nonce() -> None:
    first, second = query(SIGNATURE), query(SIGNATURE)
    assert first.nonce != second.nonce
    assert hashlib.sha256(SIGNATURE).digest() in first.content


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rfc3161_client", None)
    with pytest.raises(TimeStampError, match="rfc3161-client"):
        time_stamp.query(SIGNATURE)


# -- a revoked key --------------------------------------------------------------------------------------------------

CONTENT = genuine(FIXED)
DIGEST = hashlib.sha256(bytes.fromhex(public_key(ISSUER))).hexdigest()
LEAK = datetime(2026, 5, 1, tzinfo=UTC)
REVOKED = replace(KNOWN, public_keys=frozenset(), revoked=frozenset({DIGEST}))
LEAKED = replace(REVOKED, leaks={DIGEST: LEAK})


def at(moment: datetime | None) -> Callable[[str, bytes], datetime | None]:
    """Returns a reader of a time stamp; it is asked about this document and its signature."""

    def proven(certificate: str, signature: bytes) -> datetime | None:
        assert certificate == hashlib.sha256(CONTENT).hexdigest()
        assert signature.hex() == json.loads(CONTENT)["signature"]["value"]
        return moment

    return proven


def test_stamp_from_before_the_leak_spares_the_certificate() -> None:
    found = verify(CONTENT, LEAKED, at(LEAK - timedelta(microseconds=1)))
    assert (found.valid, found.issuer) == (True, "stamped_before_leak")
    assert "before the leak" in next(check.detail for check in found.checks if check.name == "issuer")


@pytest.mark.parametrize("late", [timedelta(), timedelta(days=1)])
def test_stamp_from_the_leak_or_later_spares_nothing(late: timedelta) -> None:
    found = verify(CONTENT, LEAKED, at(LEAK + late))
    assert (found.valid, found.issuer, set(refused(found))) == (False, "revoked", {"issuer", "time_stamp"})


def test_revocation_without_the_time_of_the_leak_spares_nothing() -> None:
    found = verify(CONTENT, REVOKED, at(LEAK - timedelta(days=1000)))
    assert (found.issuer, list(refused(found))) == ("revoked", ["issuer"])


def test_revoked_key_without_a_stamp_is_refused_as_before() -> None:
    for proven in (None, at(None)):
        found = verify(CONTENT, LEAKED, proven)
        assert (found.issuer, list(refused(found))) == ("revoked", ["issuer"])


def test_stamp_that_proves_nothing_is_refused_with_its_reason() -> None:
    def broken(*_: object) -> datetime:
        raise TimeStampError("the time stamp does not verify")

    found = verify(CONTENT, LEAKED, broken)
    assert refused(found)["time_stamp"] == "the time stamp does not verify"


def test_stamp_does_not_make_a_changed_document_valid() -> None:
    document = json.loads(CONTENT)
    document["software"]["certrad"] = "9.9.9"
    content = json.dumps(document).encode()
    found = verify(content, LEAKED, lambda *_: LEAK - timedelta(days=1))
    assert list(refused(found)) == ["signature"]


def test_stamp_is_not_looked_at_where_the_key_is_known() -> None:
    def never(*_: object) -> datetime:
        raise AssertionError

    assert verify(CONTENT, KNOWN, never).issuer == "known"
