"""Documents that an earlier version stored: the same facts make the same bytes today, and they still verify."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import document
from certrad.models.certificates.signature import sign
from certrad.models.certificates.verify import verify
from tests.support.certificates import CASES, ISSUER, answered

STORED = Path(__file__).parents[3] / "data" / "documents_of_schema_2.jsonl"


@cache
def _stored() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in STORED.read_text("utf-8").splitlines())


@pytest.mark.parametrize("index", range(14))
def test_same_facts_make_the_stored_bytes(index: int) -> None:
    stored = _stored()[index]
    case = CASES[stored["case"]]

    facts = answered(case.request, case.probabilities, pixels_sha256=stored["pixels_sha256"])

    assert canonical(sign(document(facts), ISSUER)).decode() == stored["document"]


@pytest.mark.parametrize("index", range(14))
def test_stored_document_still_verifies(index: int) -> None:
    assert verify(_stored()[index]["document"].encode()).valid


def test_every_stored_document_is_tested() -> None:
    assert len(_stored()) == 14
