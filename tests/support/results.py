"""Results of jobs that were never computed."""

from typing import Any

from certrad.models.certificates.document import certification_result
from certrad.models.types.rejection import UNLIKE
from certrad.models.types.result import AbstainedResult, CertificationResult, CertifiedResult
from certrad.workers.contract.job import RESULT
from tests.support.certificates import CASES
from tests.support.certificates import facts as facts_of_case
from tests.support.document_facts import facts


def provenance() -> dict[str, Any]:
    """Invented provenance, as JSON has it."""
    found: dict[str, Any] = as_json(certification_result(facts(), warnings=[], timing={}))["provenance"]
    return found


def abstained(samples_used: int = 10_100) -> AbstainedResult:
    """An abstention after some samples."""
    case = next(case for case in CASES if max(case.probabilities) < 0.2)
    result = certification_result(facts_of_case(case), warnings=[], timing={"total": 1.0})
    told = as_json(result) | {"samples_used": samples_used}
    parsed = RESULT.validate_python(told)
    assert isinstance(parsed, AbstainedResult)
    return parsed


def unlike() -> CertifiedResult:
    """A certificate of the extra class of a bank."""
    told = as_json(certification_result(facts(), warnings=[], timing={}))
    names = [*told["class_names"], UNLIKE]
    place = {"class_names": names, "counts": [*told["counts"], 0], "class_index": len(names) - 1, "label": UNLIKE}
    parsed = RESULT.validate_python(told | place | {"rejection_index": len(names) - 1, "timing": {"total": 1.0}})
    assert isinstance(parsed, CertifiedResult)
    return parsed


def as_json(result: CertificationResult) -> dict[str, Any]:
    """The result as JSON has it."""
    told: dict[str, Any] = RESULT.dump_python(result, mode="json")
    return told
