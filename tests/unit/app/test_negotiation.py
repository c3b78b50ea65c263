"""Content negotiation follows RFC 9110."""

import pytest

from certrad.app.api.negotiation import preferred
from certrad.models.errors import Rejected

OFFERED = ("application/json", "application/dicom", "application/fhir+json")
JSON, DICOM, FHIR = OFFERED


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("application/dicom", DICOM),
        ("Application/DICOM", DICOM),
        ("application/dicom, */*", JSON),
        ("application/dicom, */*;q=0.1", DICOM),
        ("application/json;q=0.5, application/dicom;q=0.9", DICOM),
        ("application/json;q=0.5, application/fhir+json", FHIR),
        ("application/json;q=0, */*", DICOM),
        ("application/json;q=0, application/dicom;q=0.000, */*;q=0.1", FHIR),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", DICOM),
        ('application/dicom; note="a,b;q=0"; q=1', DICOM),
        ("application/fhir+json; fhirVersion=4.0", FHIR),
        ("application/dicom ; q=0.3 , application/fhir+json ; q=0.4", FHIR),
        ("nonsense, application/dicom", DICOM),
        ("application/dicom;q=2, application/fhir+json;q=0.1", FHIR),
        (",,application/dicom,", DICOM),
    ],
)
def test_the_preferred_type_is_served(accept: str | None, expected: str) -> None:
    assert preferred(accept, OFFERED) == expected


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/xml, image/*",
        "*/*;q=0",
        "application/json;q=0",
        'multipart/related; type="application/dicom"',
        "nonsense",
        '"application/dicom"',
        "application/dicom+json",
    ],
)
def test_a_client_that_takes_none_of_them_is_refused(accept: str) -> None:
    with pytest.raises(Rejected, match=r"application/json, application/dicom, application/fhir\+json") as caught:
        preferred(accept, OFFERED)
    assert caught.value.code == "not_acceptable"


def test_a_long_header_costs_little() -> None:
    with pytest.raises(Rejected):
        preferred("application/x;" + 'a="' * 100_000, OFFERED)
