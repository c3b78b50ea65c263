"""openssl verifies every signature of a certificate with the published PEM, and refuses one over other bytes."""

import json
import subprocess
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from certrad.models.certificates.canonical import compact
from certrad.models.certificates.signature import public_key
from certrad.models.types.public_key import pem
from certrad.workers.issue import seal
from tests.support.certificates import CASES, ISSUER, genuine

pytestmark = pytest.mark.system

DOCUMENT = genuine(CASES[6])
ENVELOPES = seal(DOCUMENT, ISSUER)


def of_document() -> tuple[bytes, bytes]:
    document = json.loads(DOCUMENT)
    return compact({**document, "signature": None}), bytes.fromhex(document["signature"]["value"])


def of_dsse() -> tuple[bytes, bytes]:
    envelope = json.loads(ENVELOPES["dsse"])
    payload, kind = b64decode(envelope["payload"]), envelope["payloadType"].encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload), b64decode(envelope["signatures"][0]["sig"])


def of_jws() -> tuple[bytes, bytes]:
    message, _, signature = ENVELOPES["jws"].rpartition(b".")
    return message, urlsafe_b64decode(signature + b"==")


@pytest.mark.parametrize("parts", [of_document, of_dsse, of_jws])
def test_openssl_verifies_the_signature_and_no_other_message(
    parts: Callable[[], tuple[bytes, bytes]], tmp_path: Path
) -> None:
    message, signature = parts()
    key, signed, sealed = (tmp_path / name for name in ("key.pem", "message.bin", "signature.bin"))
    key.write_text(pem(public_key(ISSUER)))
    sealed.write_bytes(signature)
    files = ("-inkey", str(key), "-in", str(signed), "-sigfile", str(sealed))
    verify = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", *files]
    for content, verified in ((message, True), (message + b" ", False)):
        signed.write_bytes(content)
        ended = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert (ended.returncode == 0, "Verified Successfully" in ended.stdout) == (verified, verified)
