"""The published list of the private concepts, as rows of a table and as a FHIR CodeSystem."""

from typing import Any, Final

from certrad.workers.reports import codes, further_codes, variant_codes
from certrad.workers.reports.codes import Concept

_MODULES: Final = (codes, variant_codes, further_codes)
PUBLISHER: Final = "certrad"
DESCRIPTION: Final = (
    "Concepts of certified classification, for which no standard scheme has codes. A class without a code of its own "
    "has the code CLASS- and the first 8 hexadecimal digits of the SHA-256 of its name; such codes are not listed."
)


def private_concepts() -> tuple[Concept, ...]:
    """Returns every concept of the scheme 99CERTRAD, in the order of the modules that define them."""
    return tuple(value for module in _MODULES for value in vars(module).values() if isinstance(value, Concept))


def code_system() -> dict[str, Any]:
    """Returns the scheme as a FHIR R4 CodeSystem.

    Its content is a fragment, because the codes of classes follow from their names.
    """
    concepts = private_concepts()
    return {
        "resourceType": "CodeSystem",
        "id": codes.SCHEME.lower(),
        "url": codes.SCHEME_URL,
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": codes.SCHEME_URL}],
        "version": codes.SCHEME_VERSION,
        "name": "CertradConcepts",
        "title": codes.SCHEME_NAME,
        "status": "active",
        "experimental": False,
        "publisher": PUBLISHER,
        "description": DESCRIPTION,
        "caseSensitive": True,
        "content": "fragment",
        "count": len(concepts),
        "concept": [
            {"code": concept.value, "display": concept.meaning, "definition": concept.definition}
            for concept in concepts
        ],
    }
