"""DSSE envelopes and JWS: tools outside this project verify them, and the service refuses all that is changed."""

import hashlib
import json
from base64 import b64decode, b64encode, urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws as joserfc_jws
from joserfc.jwk import KeySet, OKPKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # it has no __all__

from certrad.models.certificates.canonical import canonical, compact
from certrad.models.certificates.envelopes import dsse, jws
from certrad.models.certificates.signature import public_key, sign
from certrad.models.certificates.verify import Verification, verify
from certrad.models.errors import Rejected
from certrad.models.types.public_key import base64url, jwk, jwk_set, thumbprint
from tests.support.certificates import CASES, ISSUER, genuine
from tests.unit.models.certificates.test_verify import FIXED, FORGER, KNOWN, refused

CONTENT = genuine(FIXED)
DOCUMENT = json.loads(CONTENT)
HOLDER = public_key(ISSUER)
DSSE, JWS = dsse.seal(DOCUMENT, ISSUER), jws.seal(DOCUMENT, ISSUER)


# -- tools outside this project ------------------------------------------------------------------------------------


def outside_key(public: str) -> SSlibKey:
    return SSlibKey(thumbprint(public), "ed25519", "ed25519", {"public": public})


def test_securesystemslib_verifies_the_envelope_and_finds_the_document_in_it() -> None:
    envelope = Envelope.from_dict(json.loads(DSSE))
    assert list(envelope.verify([outside_key(HOLDER)], 1)) == [thumbprint(HOLDER)]
    statement = json.loads(envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicate"] == DOCUMENT
    assert [(each["name"], each["digest"]["sha256"]) for each in statement["subject"]] == [
        ("pixels", DOCUMENT["subject"]["pixels_sha256"]),
        ("model-input", DOCUMENT["subject"]["input_sha256"]),
    ]


def test_securesystemslib_refuses_the_envelope_under_another_key() -> None:
    stranger = SSlibKey(thumbprint(HOLDER), "ed25519", "ed25519", {"public": public_key(FORGER)})
    with pytest.raises(VerificationError):
        Envelope.from_dict(json.loads(DSSE)).verify([stranger], 1)


def test_joserfc_verifies_the_jws_with_the_published_key_set() -> None:
    keys = KeySet.import_key_set(jwk_set([public_key(FORGER), HOLDER]))  # type: ignore[arg-type]
    found = joserfc_jws.deserialize_compact(JWS.decode(), keys, algorithms=["Ed25519"])
    assert found.payload == CONTENT
    assert found.protected == {"alg": "Ed25519", "cty": "json", "kid": thumbprint(HOLDER)}


def test_thumbprint_is_the_one_that_joserfc_computes() -> None:
    assert OKPKey.import_key(dict(jwk(HOLDER))).thumbprint() == thumbprint(HOLDER)


def test_joserfc_refuses_the_jws_under_another_key() -> None:
    stranger = OKPKey.import_key(dict(jwk(public_key(FORGER))))
    with pytest.raises(Exception, match="bad_signature"):
        joserfc_jws.deserialize_compact(JWS.decode(), stranger, algorithms=["Ed25519"])


# -- the service's own verifier ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "form"), [(CONTENT, "document"), (DSSE, "dsse"), (JWS, "jws")])
def test_all_three_forms_verify_as_the_same_certificate(content: bytes, form: str) -> None:
    found = verify(content, KNOWN)
    assert (found.valid, found.form, found.reformatted, found.issuer) == (True, form, False, "known")
    assert found.certificate == hashlib.sha256(CONTENT).hexdigest()
    assert ("envelope" in {check.name for check in found.checks}) is (form != "document")


@pytest.mark.parametrize("index", range(0, len(CASES), 11))
def test_envelopes_of_every_kind_of_document_verify(index: int) -> None:
    document = json.loads(genuine(CASES[index]))
    assert verify(dsse.seal(document, ISSUER), KNOWN).valid
    assert verify(jws.seal(document, ISSUER), KNOWN).valid


def test_sealing_again_gives_the_same_bytes() -> None:
    assert dsse.seal(DOCUMENT, ISSUER) == DSSE
    assert jws.seal(DOCUMENT, ISSUER) == JWS


@pytest.mark.parametrize("content", [json.dumps(json.loads(DSSE), indent=4).encode(), b" " + JWS + b"\n"])
def test_reformatted_envelope_verifies_and_says_so(content: bytes) -> None:
    found = verify(content, KNOWN)
    assert (found.valid, found.reformatted) == (True, True)


def test_base64_of_the_other_alphabet_is_the_same_envelope() -> None:
    envelope = json.loads(DSSE)
    signature = envelope["signatures"][0]
    other = signature["sig"].replace("+", "-").replace("/", "_")
    assert other != signature["sig"]
    assert verify(dsse_with(signatures=[{**signature, "sig": other}]), KNOWN).valid


def test_countersigned_envelope_verifies() -> None:
    envelope = json.loads(DSSE)
    other = dsse.seal(DOCUMENT, FORGER)
    envelope["signatures"] = [*json.loads(other)["signatures"], *envelope["signatures"]]
    assert verify(compact(envelope), KNOWN).valid


def with_payload(change: dict[str, Any], key: Ed25519PrivateKey = ISSUER) -> bytes:
    """An envelope of a changed statement that the issuer itself signed."""
    payload = compact({**dsse.statement(DOCUMENT), **change})
    encoding = b"DSSEv1 %d %s %d %s" % (len(dsse.PAYLOAD_TYPE), dsse.PAYLOAD_TYPE.encode(), len(payload), payload)
    signature = {"keyid": thumbprint(public_key(key)), "sig": b64encode(key.sign(encoding)).decode()}
    return compact(
        {"payload": b64encode(payload).decode(), "payloadType": dsse.PAYLOAD_TYPE, "signatures": [signature]}
    )


def dsse_with(**change: Any) -> bytes:
    return compact({**json.loads(DSSE), **change})


def changed_radius(form: str) -> bytes:
    """The envelope of a document with another radius, which only the envelope's signature covers."""
    changed = json.loads(CONTENT)
    changed["claims"][0]["radius"] = "9.0"
    return dsse.seal(changed, ISSUER) if form == "dsse" else jws.seal(changed, ISSUER)


def foreign_subject() -> bytes:
    subject = dsse.statement(DOCUMENT)["subject"]
    subject[0]["digest"]["sha256"] = "ab" * 32
    return with_payload({"subject": subject})


def respelled_payload() -> bytes:
    payload = json.dumps(dsse.statement(DOCUMENT)).encode()
    encoding = b"DSSEv1 %d %s %d %s" % (len(dsse.PAYLOAD_TYPE), dsse.PAYLOAD_TYPE.encode(), len(payload), payload)
    signature = {"sig": b64encode(ISSUER.sign(encoding)).decode()}
    return dsse_with(payload=b64encode(payload).decode(), signatures=[signature])


@pytest.mark.parametrize(
    ("content", "check"),
    [
        (foreign_subject(), "envelope"),
        (with_payload({"predicateType": "https://example.org/other/v1"}), "envelope"),
        (with_payload({"_type": "https://in-toto.io/Statement/v0.1"}), "envelope"),
        (with_payload({"subject": []}), "envelope"),
        (with_payload({"note": "trust me"}), "envelope"),
        (with_payload({}, FORGER), "envelope"),
        (respelled_payload(), "envelope"),
        (dsse_with(payloadType="application/json"), "envelope"),
        (dsse_with(signatures=[]), "envelope"),
        (dsse_with(signatures=None), "envelope"),
        (dsse_with(signatures=[None, {}, {"sig": None}, {"sig": "*"}, {"sig": ""}]), "envelope"),
        (dsse_with(signatures=json.loads(DSSE)["signatures"] * 17), "envelope"),
        (changed_radius("dsse"), "signature"),
        (changed_radius("jws"), "signature"),
        (dsse.seal(json.loads(canonical(sign(DOCUMENT, FORGER))), FORGER), "issuer"),
        (dsse.seal({**DOCUMENT, "signature": None}, ISSUER), "envelope"),
        (jws.seal({**DOCUMENT, "signature": None}, ISSUER), "envelope"),
    ],
)
def test_changed_envelope_is_refused(content: bytes, check: str) -> None:
    assert check in refused(verify(content, KNOWN))


def signed_jws(header: dict[str, Any], payload: bytes = CONTENT, key: Ed25519PrivateKey = ISSUER) -> bytes:
    message = f"{base64url(json.dumps(header, separators=(',', ':')).encode())}.{base64url(payload)}"
    return f"{message}.{base64url(key.sign(message.encode()))}".encode()


HEADER = {"alg": "Ed25519", "cty": "json", "kid": thumbprint(HOLDER)}


def test_a_jws_that_the_test_spells_itself_is_accepted() -> None:
    assert signed_jws(HEADER) == JWS


@pytest.mark.parametrize(
    "content",
    [
        signed_jws({**HEADER, "alg": "none"}),
        signed_jws({**HEADER, "alg": "EdDSA"}),
        signed_jws({**HEADER, "alg": "HS256"}),
        signed_jws({**HEADER, "kid": thumbprint(public_key(FORGER))}),
        signed_jws({**HEADER, "crit": ["exp"], "exp": "0"}),
        signed_jws({**HEADER, "jwk": jwk(public_key(FORGER))}, key=FORGER),
        signed_jws({**HEADER, "jku": "https://example.org"}),
        signed_jws({"alg": "Ed25519"}),
        signed_jws(HEADER, key=FORGER),
        signed_jws(HEADER, json.dumps(DOCUMENT).encode()),
        JWS[:-4] + b"AAAA",
    ],
)
def test_changed_jws_is_refused(content: bytes) -> None:
    assert content != JWS
    assert list(refused(verify(content, KNOWN))) == ["envelope"]


def other_spelling_of_the_last_character() -> bytes:
    """The same 64 bytes of the signature, with bits set that are in no byte."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(JWS[-1])
    content = JWS[:-1] + bytes([alphabet[last ^ 1]])
    assert urlsafe_b64decode(content.split(b".")[2] + b"==") == urlsafe_b64decode(JWS.split(b".")[2] + b"==")
    return content


def test_jws_has_one_spelling() -> None:
    assert list(refused(verify(other_spelling_of_the_last_character(), KNOWN))) == ["envelope"]


@pytest.mark.parametrize(
    "content",
    [
        JWS + b".",
        JWS + b" x",
        JWS.replace(b".", b"..", 1),
        JWS.rsplit(b".", 1)[0],
        b"a.b.c",
        b"....",
        signed_jws(HEADER, b"{}"),
        signed_jws(HEADER, b'{"schema":"certrad.certificate/3","a":1}'),
        dsse_with(payload="*"),
        dsse_with(payload=None),
        dsse_with(payload="bm8="),
        dsse_with(payload=b64encode(b"{}").decode()),
        dsse_with(payload=b64encode(b'{"predicate":{}}').decode()),
        DSSE + b"{}",
        b'{"payload":"","payload":"",' + DSSE[1:],
        b64encode(DSSE),
        b64decode(json.loads(DSSE)["payload"]),
    ],
)
def test_what_is_no_envelope_of_a_certificate_has_a_code(content: bytes) -> None:
    with pytest.raises(Rejected) as refusal:
        verify(content, KNOWN)
    assert refusal.value.code == "not_a_certificate"


def test_signatures_of_one_form_do_not_serve_in_another() -> None:
    """One key signs three kinds of message; none can be taken for one of another kind."""
    value = bytes.fromhex(DOCUMENT["signature"]["value"])
    moved = JWS.rsplit(b".", 1)[0] + b"." + base64url(value).encode()
    assert list(refused(verify(moved, KNOWN))) == ["envelope"]
    assert list(refused(verify(dsse_with(signatures=[{"sig": b64encode(value).decode()}]), KNOWN))) == ["envelope"]
    sealed = b64decode(json.loads(DSSE)["signatures"][0]["sig"]).hex()
    document = {**DOCUMENT, "signature": {**DOCUMENT["signature"], "value": sealed}}
    assert list(refused(verify(canonical(document), KNOWN))) == ["signature"]


def test_envelope_of_the_largest_document_is_not_too_long() -> None:
    padded = {**DOCUMENT, "scope_text": "x" * ((8 << 20) - len(CONTENT) - 100)}
    for content in (dsse.seal(padded, ISSUER), jws.seal(padded, ISSUER)):
        found: Verification = verify(content, KNOWN)
        assert refused(found).keys() >= {"signature"}
