"""The data types of FHIR R4 that reports are made of: concepts, quantities, references and identifiers."""

from typing import Any, Final

from certrad.workers.reports.codes import SCHEME, SCHEME_URL, Code

Element = dict[str, Any]
"""A JSON object of FHIR."""

DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
UCUM: Final = "http://unitsofmeasure.org"
URI: Final = "urn:ietf:rfc:3986"
DICOM_UID: Final = "urn:dicom:uid"
"""The system of the identifiers of studies and reports, whose value is `urn:oid:` and the UID in DICOM."""

_SYSTEMS: Final = {
    SCHEME: SCHEME_URL,
    "DCM": DICOM,
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UCUM": UCUM,
}
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def coding(code: Code) -> Element:
    """Returns a code as a Coding; without a system if FHIR has no address for the scheme, as for one of a site."""
    system = _SYSTEMS.get(code.scheme)
    return {**({"system": system} if system else {}), "code": code.value, "display": code.meaning}


def concept(code: Code, text: str | None = None) -> Element:
    """Returns a code as a CodeableConcept.

    Args:
        code: The code.
        text: The meaning in words, where it says more than the code.
    """
    return {"coding": [coding(code)], **({"text": text} if text else {})}


def concept_of(system: str, code: str, display: str) -> Element:
    """Returns a CodeableConcept of a terminology that FHIR itself uses."""
    return {"coding": [{"system": system, "code": code, "display": display}]}


def absent(reason: str, display: str, *, also: Code | None = None, text: str | None = None) -> Element:
    """Returns why a value is absent.

    Args:
        reason: A code of FHIR's data-absent-reason.
        display: Its meaning.
        also: A code that says more.
        text: The reason in words.
    """
    codings = [{"system": _ABSENT, "code": reason, "display": display}, *([coding(also)] if also else [])]
    return {"coding": codings, **({"text": text} if text else {})}


def number(value: float, *, at_least: bool = False) -> Element:
    """Returns a number without a unit as a Quantity.

    Args:
        value: The number.
        at_least: Whether it is a lower bound.
    """
    bound = {"comparator": ">="} if at_least else {}
    return {"value": value, **bound, "unit": "1", "system": UCUM, "code": "1"}


def component(code: Code, **value: object) -> Element:
    """Returns a component of an Observation.

    Args:
        code: What it is about.
        value: Exactly one of the elements `value[x]`, or `dataAbsentReason`.
    """
    return {"code": concept(code), **value}


def identified(kind: str, system: str, value: str) -> Element:
    """Returns a reference to a resource that only its identifier names.

    Args:
        kind: The type of the resource.
        system: The system of the identifier.
        value: The identifier.
    """
    return {"type": kind, "identifier": {"system": system, "value": value}}
