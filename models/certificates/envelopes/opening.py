"""The document in a file, whichever form the file has: the document itself, a DSSE envelope or a JWS."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from certrad.models.certificates.canonical import compact
from certrad.models.certificates.envelopes import dsse, jws
from certrad.models.certificates.schemas.schema import MAX_BYTES, of_known_schema, parse
from certrad.models.certificates.strict_json import load
from certrad.models.errors import Rejected

Form = Literal["document", "dsse", "jws"]

MAX_ENVELOPE_BYTES: Final = MAX_BYTES // 3 * 4 + (1 << 20)
"""No file is longer: base64 makes four bytes of three, and the envelope adds some words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A file that holds a document.

    Attributes:
        form: The form of the file.
        document: The document in it, as read from JSON.
        reformatted: Whether the file is spelled in another way than the service spells it.
        check_envelope: Checks the envelope, and raises ValueError with the reason of a refusal; None without one.
    """

    form: Form
    document: Mapping[str, Any]
    reformatted: bool
    check_envelope: Callable[[], str] | None = None

    @property
    def sha256(self) -> str:
        """Returns the SHA-256 of the canonical document, which is its address in a store."""
        return hashlib.sha256(compact(self.document)).hexdigest()


def open_certificate(content: bytes) -> Opened:
    """Returns the document in a file; nothing is checked yet but that it can be read in one way only.

    Args:
        content: The bytes of the file.

    Raises:
        Rejected: `not_a_certificate`.
    """
    if len(content) > MAX_ENVELOPE_BYTES:
        raise Rejected("not_a_certificate", f"a file must have at most {MAX_ENVELOPE_BYTES} bytes, got {len(content)}")
    spelled = content.strip(b" \t\r\n")
    if jws.is_compact(spelled):
        return _of_jws(content, spelled)
    try:
        value = load(content)
    except ValueError as error:
        raise Rejected("not_a_certificate", f"the file is not the JSON of a certificate: {error}") from None
    if dsse.is_envelope(value):
        return _of_dsse(content, value)
    if len(content) > MAX_BYTES:
        raise Rejected("not_a_certificate", f"a document must have at most {MAX_BYTES} bytes, got {len(content)}")
    document = of_known_schema(value)
    return Opened(form="document", document=document, reformatted=compact(document) != content)


def _of_jws(content: bytes, spelled: bytes) -> Opened:
    try:
        document = parse(jws.payload_of(spelled))
    except ValueError as error:
        raise Rejected("not_a_certificate", str(error)) from None
    return Opened(
        form="jws",
        document=document,
        reformatted=spelled != content,
        check_envelope=partial(jws.check, spelled, document),
    )


def _of_dsse(content: bytes, envelope: dict[str, Any]) -> Opened:
    try:
        match load(dsse.payload_of(envelope)):
            case {"predicate": predicate}:
                pass
            case _:
                raise ValueError("it is not an in-toto statement")
    except ValueError as error:
        raise Rejected("not_a_certificate", f"the payload of the DSSE envelope cannot be used: {error}") from None
    document = of_known_schema(predicate)
    if len(compact(document)) > MAX_BYTES:
        raise Rejected("not_a_certificate", f"a document must have at most {MAX_BYTES} bytes")
    return Opened(
        form="dsse",
        document=document,
        reformatted=compact(envelope) != content,
        check_envelope=partial(dsse.check, envelope, document),
    )
