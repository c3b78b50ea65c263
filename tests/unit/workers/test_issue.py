"""Nothing is signed that does not verify, is not about the job, or is stated otherwise in the result."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result, document
from certrad.models.errors import Rejected
from certrad.models.types.applied_window import FullRange
from certrad.models.types.image import ImageRecord
from certrad.models.types.noise_space import NoisyImage
from certrad.workers.contract.job import RESULT, JobRecord
from certrad.workers.contract.payloads import HandOver
from certrad.workers.contract.progress import at_start
from certrad.workers.issue import sign_document
from tests.support.certificates import CASES, ISSUER, NOISY_IMAGE, SCALE, Case, facts, genuine
from tests.support.image_facts import image_facts

RULES = {
    "fixed n": CASES[6],
    "target": next(case for case in CASES if case.params.target_radius and len(case.probabilities) > 3),
    "zero-shot": next(case for case in CASES if "steps" in str(case.adaptation)),
    "gated": next(case for case in CASES if "gate" in str(case.adaptation)),
    "automatic sigma": next(case for case in CASES if case.routing),
    "noise on the image": replace(CASES[3], noise_space="image"),
    "nothing selected": next(case for case in CASES if max(case.probabilities) < 0.2),
}
CASE = RULES["fixed n"]


def left_by_engine(case: Case) -> tuple[bytes, dict[str, Any]]:
    """Document and result, as they come out of Redis."""
    stated = facts(case)
    result = certification_result(stated, warnings=[], timing={"select_s": 1.0})
    return canonical(document(stated)), RESULT.dump_python(result, mode="json")


def record_of(case: Case) -> JobRecord:
    subject = facts(case).subject
    return JobRecord(
        id="job",
        status="running",
        phase="finishing",
        request=replace(case.request, urgent=True, task="mednist"),
        progress=at_start(case.request),
        created_at=0.0,
        updated_at=0.0,
        image=image_facts(
            pixels_sha256=subject.pixels_sha256,
            input_sha256=subject.input_sha256,
            scale=facts(case).scale,
            noisy=NOISY_IMAGE if case.noise_space == "image" else None,
        ),
    )


def refused(left: bytes, told: dict[str, Any], record: JobRecord) -> str:
    with pytest.raises(Rejected) as caught:
        sign_document(left, RESULT.validate_python(told), record, ISSUER)
    assert caught.value.code == "invalid_certificate"
    return caught.value.detail


@pytest.mark.parametrize("rule", RULES)
def test_what_an_engine_found_is_signed_as_it_was_left(rule: str) -> None:
    case = RULES[rule]
    left, told = left_by_engine(case)
    assert sign_document(left, RESULT.validate_python(told), record_of(case), ISSUER) == genuine(case)


def changed(left: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    parsed = json.loads(left)
    change(parsed)
    return canonical(parsed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda made: made["claims"][0].update(radius="9.0000"), "radius"),
        (lambda made: made["claims"][0].update(p_a_lower="0.999999"), "bounds"),
        (lambda made: made["claims"][0].update(class_index="1", label="class 1"), "class"),
        (lambda made: made["estimation"]["per_class"].reverse(), "labels"),
        (lambda made: made.update(scope="frozen_prompt"), "scope"),
        (lambda made: made["classifier"]["parts"][0].update(card_sha256="0" * 64), "settings"),
        (lambda made: made.pop("limits"), "schema"),
        (lambda made: made.update(patient="Jane Doe"), "schema"),
        (lambda made: made.update(schema="certrad.certificate/1"), "schema"),
    ],
)
def test_a_document_that_does_not_verify_is_not_signed(change: Callable[[dict[str, Any]], object], reason: str) -> None:
    left, told = left_by_engine(CASE)
    assert reason in refused(changed(left, change), told, record_of(CASE))


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b"null", b'"text"', b"{}"])
def test_what_is_no_document_is_not_signed(left: bytes) -> None:
    refused(left, left_by_engine(CASE)[1], record_of(CASE))


def test_a_document_of_another_job_is_not_signed() -> None:
    left, told = left_by_engine(CASE)
    other = replace(CASE, params=replace(CASE.params, n=CASE.params.n + 1))
    assert "another request" in refused(left, told, replace(record_of(CASE), request=other.request))
    assert "another request" in refused(left, told, record_of(RULES["target"]))
    of_image = replace(record_of(CASE), request=replace(CASE.request, noise_space="image"))
    assert "another request" in refused(left, told, of_image)
    assert "never decoded" in refused(left, told, replace(record_of(CASE), image=None))


@pytest.mark.parametrize(
    ("fact", "reason"),
    [("pixels_sha256", "pixels"), ("input_sha256", "model input"), ("scale", "image_units"), ("window", "the window")],
)
def test_a_document_of_another_image_is_not_signed(fact: str, reason: str) -> None:
    record = record_of(CASE)
    other: dict[str, Any] = {
        "pixels_sha256": "0" * 64,
        "input_sha256": "0" * 64,
        "scale": replace(SCALE, slope=1.0),
        "window": FullRange(),
    }
    assert isinstance(record.image, ImageRecord)
    image = replace(record.image, **{fact: other[fact]})
    assert reason in refused(*left_by_engine(CASE), replace(record, image=image))


@pytest.mark.parametrize("noisy", [None, replace(NOISY_IMAGE, sha256="0" * 64), replace(NOISY_IMAGE, of_rows=601)])
def test_a_document_of_another_rendered_image_is_not_signed(noisy: NoisyImage | None) -> None:
    case = RULES["noise on the image"]
    record = record_of(case)
    assert isinstance(record.image, ImageRecord)
    other = replace(record, image=replace(record.image, noisy=noisy))
    assert "rendered image made of these pixels" in refused(*left_by_engine(case), other)


@pytest.mark.parametrize(
    "lie",
    [
        {"radius": 9.0},
        {"label": "class 1"},
        {"scope": "frozen_prompt"},
        {"noise_space": "image"},
        {"samples_used": 1},
        {"window": {"kind": "full_range/1"}},
        {"target_reached": True},
        {"radius_in_image_units": {"value": None, "reason": "words"}},
    ],
)
def test_a_result_that_says_something_else_is_not_published(lie: dict[str, Any]) -> None:
    left, told = left_by_engine(CASE)
    assert "result" in refused(left, told | lie, record_of(CASE))


def test_the_result_of_another_outcome_is_not_published() -> None:
    left, _ = left_by_engine(CASE)
    _, abstained = left_by_engine(RULES["nothing selected"])
    assert "result" in refused(left, abstained, record_of(CASE))


@pytest.mark.parametrize("change", [{"outcome": "abstained"}, {"reason": "no_majority"}, {"patient": "Jane Doe"}])
def test_a_result_of_other_fields_is_none(change: dict[str, Any]) -> None:
    _, told = left_by_engine(CASE)
    with pytest.raises(ValueError, match=next(iter(change)) if "outcome" not in change else "reason"):
        HandOver.from_fields({b"result": json.dumps(told | change).encode()})


def test_a_result_that_keeps_something_back_is_none() -> None:
    _, told = left_by_engine(CASE)
    del told["scope_text"]
    with pytest.raises(ValueError, match="scope_text"):
        HandOver.from_fields({b"result": json.dumps(told).encode()})
