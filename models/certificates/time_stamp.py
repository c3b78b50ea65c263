"""RFC 3161 time stamps over the signature of a document: the query, and what a response proves.

The stamp's imprint is the SHA-256 of the 64 bytes of the Ed25519 signature. They fix the document: whoever holds the
key cannot find a second document with the same signature.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509

MEDIA_TYPE: Final = "application/timestamp-reply"
MAX_RESPONSE_BYTES: Final = 64 << 10

_SIGNATURE_BYTES: Final = 64


class TimeStampError(ValueError):
    """A time stamp proves nothing; the message is the reason, without any part of the stamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeStampTrust:
    """The time-stamping authorities that are believed.

    Attributes:
        certificates: PEM of root certificates, and of intermediate ones that responses lack.
        policy: The policy that a stamp must be made under, as a dotted OID; None for any.
    """

    certificates: bytes
    policy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request for a time stamp: its DER bytes, and the nonce that the response must repeat."""

    content: bytes
    nonce: int | None


def query(signature: bytes) -> Query:
    """Returns a new request for a stamp over a signature.

    Args:
        signature: The 64 bytes of the signature of a document.

    Raises:
        TimeStampError: The package rfc3161-client is not installed.
    """
    library = _library()
    builder = library.TimestampRequestBuilder().data(signature).hash_algorithm(library.HashAlgorithm.SHA256)
    request = builder.cert_request(cert_request=True).build()
    return Query(content=request.as_bytes(), nonce=request.nonce)


def latest_time(response: bytes, signature: bytes, trust: TimeStampTrust, *, nonce: int | None = None) -> datetime:
    """Returns the latest time at which a signature can have been made, as a stamp proves it.

    That is the time of the stamp and its stated inaccuracy.

    Args:
        response: The response of the authority (TimeStampResp, DER).
        signature: The 64 bytes of the signature.
        trust: Who is believed.
        nonce: That of the query, if the response is to a query of one's own.

    Raises:
        TimeStampError: The stamp is over something else, of another authority or policy, malformed, or cannot be
            checked here.
    """
    library = _library()
    if len(signature) != _SIGNATURE_BYTES or len(response) > MAX_RESPONSE_BYTES:
        raise TimeStampError("the time stamp is too long, or the signature is not 64 bytes")
    verifier = _verifier(library, trust, nonce)
    try:
        stamp = library.decode_timestamp_response(response)
        verifier.verify_message(stamp, signature)
        made = stamp.tst_info.gen_time
        accuracy = stamp.tst_info.accuracy
    except (ValueError, TypeError, AttributeError, library.VerificationError) as error:
        raise TimeStampError(f"the time stamp does not verify: {_reason(error)}") from None
    return made + _inaccuracy(accuracy) if isinstance(made, datetime) else _no_time()


def check_trust(trust: TimeStampTrust) -> None:
    """Checks that certificates and policy can be used.

    Args:
        trust: Who is to be believed.

    Raises:
        TimeStampError: They cannot be used.
    """
    _verifier(_library(), trust, None)


def _library() -> Any:  # noqa: ANN401  # it is optional, and imported where a stamp is made or checked
    try:
        import rfc3161_client
    except ImportError:
        raise TimeStampError("time stamps need the package rfc3161-client (certrad[hospital])") from None
    return rfc3161_client


def _verifier(library: Any, trust: TimeStampTrust, nonce: int | None) -> Any:  # noqa: ANN401  # as above
    try:
        builder = library.VerifierBuilder(nonce=nonce)
        if trust.policy is not None:
            builder = builder.policy_id(x509.ObjectIdentifier(trust.policy))
        for certificate in x509.load_pem_x509_certificates(trust.certificates):
            if certificate.issuer == certificate.subject:
                builder = builder.add_root_certificate(certificate)
            else:
                builder = builder.add_intermediate_certificate(certificate)
        return builder.build()
    except ValueError:
        raise TimeStampError(
            "the certificates of time-stamping authorities must be PEM with a root, and the policy a dotted OID"
        ) from None


def _inaccuracy(accuracy: Any) -> timedelta:  # noqa: ANN401  # as above
    if accuracy is None:
        return timedelta()
    parts = {"seconds": accuracy.seconds, "milliseconds": accuracy.millis, "microseconds": accuracy.micros}
    return timedelta(**{name: value or 0 for name, value in parts.items()})


def _reason(error: Exception) -> str:
    """Returns which check of the library failed, in its words if they are known to hold nothing of the stamp."""
    said = str(error)
    known = ("Mismatch between messages", "Nonce mismatch", "Policy ID mismatch", "PKIStatus is not GRANTED")
    if said in known:
        return said
    return "it is not from a trusted authority, or malformed"


def _no_time() -> datetime:
    raise TimeStampError("the time stamp states no time")
