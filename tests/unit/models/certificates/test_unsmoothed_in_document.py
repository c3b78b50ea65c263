"""Documents with answers without noise: genuine ones pass both verifiers, and every single-field change is refused."""

import json
from dataclasses import replace
from typing import Final

import pytest

from certrad.models.certificates.document import certification_result
from certrad.models.certificates.verify import verify
from certrad.models.types import SmoothingParams
from certrad.models.types.applied_window import HeaderWindow
from certrad.models.types.variant_lists import Shifts
from certrad.models.types.variants import VariantsRequest
from certrad.models.types.window_boxes import WindowBox
from tests.support.certificates import VARIANTS, Case, facts, genuine
from tests.unit.models.certificates.test_variants_in_document import (
    KNOWN,
    Run,
    changed,
    changes,
    run,
    signed,
)

__all__ = ["run"]

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01)
HEAD: Final = HeaderWindow(number=1, of=1, centre=40.0, width=400.0, function="LINEAR")
BOX: Final = VariantsRequest(lists=(WindowBox(centre=7.0, width=1.02), Shifts(pixels=1)), n=1, base="unsmoothed")
HELD: Final = Case(probabilities=(0.99, 0.005, 0.005), params=PARAMS, variants=BOX, window=HEAD)
FAILED: Final = replace(HELD, failing=5)
ABSTAINED: Final = replace(HELD, probabilities=(0.4, 0.3, 0.3))
EVERY_LIST: Final = Case(
    probabilities=HELD.probabilities, params=PARAMS, variants=replace(VARIANTS, n=1, radius=0.0, base="unsmoothed")
)


@pytest.mark.parametrize("case", [HELD, FAILED, ABSTAINED, EVERY_LIST, replace(EVERY_LIST, failing=3)])
def test_genuine_documents_pass_both_verifiers(case: Case, run: Run) -> None:
    content = genuine(case)
    assert [check for check in verify(content, KNOWN).checks if not check.ok] == []
    assert run(content) == 0


@pytest.mark.parametrize("case", [HELD, FAILED], ids=["held", "failed"])
def test_every_single_change_of_the_claim_is_refused_by_both_verifiers(case: Case, run: Run) -> None:
    """But for a digest of a model input, which takes the image to see, and the words in the short verifier."""
    document = json.loads(genuine(case))
    every = [(("claims", 2, *at), value) for at, value in changes(document["claims"][-1])]
    assert len(every) > 80
    for at, value in every:
        if at[-1] == "input_sha256":
            continue
        content = signed(changed(document, at, value))
        assert not verify(content, KNOWN).valid, at
        if at[-1] != "text":
            assert run(content) == 1, at


def test_words_say_that_it_is_another_classifier() -> None:
    text = json.loads(genuine(HELD))["claims"][-1]["text"]
    assert "Every window with a centre from 33 to 47 HU" in text
    assert "gives class 0: all 14 windows that these are rounded to were tried." in text
    assert "which is another classifier than the smoothed one of the radius: they have no radius" in text
    assert "computed in float32 on cpu" in text
    assert "alpha" not in text


def test_counterexample_is_the_first_window_with_another_answer() -> None:
    claim = json.loads(genuine(FAILED))["claims"][-1]
    assert (claim["held"], claim["counterexample"]) == (False, "5")
    assert "for window of centre 37.2351, width 397.174 on the lattice its answer is class 2." in claim["text"]


def test_result_says_what_the_document_says() -> None:
    found = certification_result(facts(FAILED), warnings=(), timing={}).variants
    assert found is not None
    assert found.counterexample is not None
    assert (found.base, found.held, found.tried, found.radius) == ("unsmoothed", False, 22, 0.0)
    assert found.counterexample.label == "class 2"
    assert found.boxes[0].cells == 14


def test_noise_key_depends_on_the_base() -> None:
    smoothed = replace(HELD, variants=replace(BOX, n=20, base="smoothed"))
    keys = {json.loads(genuine(case))["noise"]["key"] for case in (HELD, smoothed, replace(HELD, variants=None))}
    assert len(keys) == 3


@pytest.mark.parametrize(("n", "radius"), [(10, 0.0), (1, 0.1)])
def test_request_without_noise_has_one_answer_and_no_radius(n: int, radius: float) -> None:
    with pytest.raises(ValueError, match="one answer"):
        replace(BOX, n=n, radius=radius)
