"""Every schema that a certificate document can be written in, by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from certrad.models.certificates import text
from certrad.models.certificates.schemas import schema_2, schema_3
from certrad.models.certificates.statement import Statement
from certrad.models.certificates.strict_json import load
from certrad.models.errors import Rejected
from certrad.models.types.identity import ClassifierIdentity

MAX_BYTES: Final = 8 << 20
"""No document is longer: a million labels, each a run of its own, take four to seven bytes apiece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """How one schema spells what a document states.

    Attributes:
        read: Returns the statement of a JSON object; raises ValueError where it is malformed.
        check_digests: Checks that the digests in the noise key follow from the statement.
        key: Returns the noise key that follows from the statement and the epoch secret.
        scope_text: Returns the scope in words.
        limits: Returns what a reader must not read into the claim, for a classifier and its numbers of selection and
            estimation samples.
    """

    read: Callable[[Mapping[str, Any]], Statement]
    check_digests: Callable[[Statement], str]
    key: Callable[[Statement, bytes], bytes]
    scope_text: Callable[[ClassifierIdentity], str]
    limits: Callable[[ClassifierIdentity, int, int], list[str]]


SCHEMAS: Final[Mapping[str, Schema]] = {
    schema_2.NAME: Schema(
        read=schema_2.read,
        check_digests=schema_2.check_digests,
        key=schema_2.key,
        scope_text=schema_2.scope_text,
        limits=schema_2.limits,
    ),
    schema_3.NAME: Schema(
        read=schema_3.read,
        check_digests=schema_3.check_digests,
        key=schema_3.key,
        scope_text=text.scope_text,
        limits=text.limits,
    ),
}


def parse(content: bytes) -> dict[str, Any]:
    """Returns the JSON object of a certificate document.

    Args:
        content: The bytes of the document.

    Raises:
        Rejected: `not_a_certificate`, the bytes are too long, no JSON that can be read in one way only, or of a schema
            that this version does not know.
    """
    if len(content) > MAX_BYTES:
        raise Rejected("not_a_certificate", f"a document must have at most {MAX_BYTES} bytes, got {len(content)}")
    try:
        return of_known_schema(load(content))
    except ValueError as error:
        raise Rejected("not_a_certificate", f"the bytes are not the JSON of a document: {error}") from None


def of_known_schema(value: object) -> dict[str, Any]:
    """Returns a JSON value if it is a document of a schema that this version knows.

    Args:
        value: As `certrad.models.certificates.strict_json.load` returns it.

    Raises:
        Rejected: `not_a_certificate`, it is something else.
    """
    name = value.get("schema") if isinstance(value, dict) else None
    if not (isinstance(name, str) and name in SCHEMAS):
        raise Rejected("not_a_certificate", f"a document must be an object of the schema {' or '.join(SCHEMAS)}")
    return cast("dict[str, Any]", value)


def read(document: Mapping[str, Any]) -> Statement:
    """Returns the statement of a document.

    Args:
        document: The JSON object that `parse` returned.

    Raises:
        ValueError: A field is missing, unknown, malformed or out of range.
    """
    return SCHEMAS[document["schema"]].read(document)
