"""Documents with noise on the window: genuine ones pass both verifiers, single-field changes are refused by both."""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import pytest

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result
from certrad.models.certificates.noise_key import sampling_digest
from certrad.models.certificates.schemas.schema import read
from certrad.models.certificates.verify import check_image, verify
from certrad.models.types import ETA, GatedAdaptation, SmoothingParams
from certrad.models.types.applied_window import FullRange, HeaderWindow
from certrad.models.types.image import ImageRecord
from certrad.models.types.parameters import ParameterSigma
from certrad.models.types.total_variation import total_variation
from tests.support.certificates import GREY_IMAGE, PARAMETER_SIGMA, WINDOWS, Case, facts, genuine
from tests.support.image_facts import image_facts
from tests.unit.models.certificates.test_variants_in_document import KNOWN, Run, changed, changes, run, signed

__all__ = ["run"]  # a fixture

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01)
SHOWN: Final = Case(probabilities=(0.99, 0.005, 0.005), params=PARAMS, parameter_sigma=PARAMETER_SIGMA)
NOT_SHOWN: Final = replace(SHOWN, window_probabilities=(0.3, 0.4, 0.3))
ABSTAINED: Final = Case(probabilities=(0.4, 0.3, 0.3), params=PARAMS, parameter_sigma=PARAMETER_SIGMA)
OTHERS: Final = (
    replace(SHOWN, params=replace(PARAMS, bound="cohen")),
    replace(SHOWN, probabilities=(0.95, 0.05)),
    replace(SHOWN, adaptation=GatedAdaptation()),
    replace(SHOWN, window_probabilities=(0.9, 0.05, 0.03)),
    replace(SHOWN, parameter_sigma=ParameterSigma(window_centre=16_384.0, ln_window_width=1.0)),
    replace(SHOWN, parameter_sigma=ParameterSigma(window_centre=0.01, ln_window_width=0.001)),
)
_LEFT_TO_OTHERS: Final = ("key", "values_sha256", "text")
"""What the short verifier leaves to signature, image and replay."""


@pytest.mark.parametrize("case", [SHOWN, NOT_SHOWN, ABSTAINED, *OTHERS])
def test_genuine_documents_pass_both_verifiers(case: Case, run: Run) -> None:
    content = genuine(case)
    assert [check for check in verify(content, KNOWN).checks if not check.ok] == []
    assert run(content) == 0


@pytest.mark.parametrize("case", [SHOWN, NOT_SHOWN, ABSTAINED], ids=["shown", "not_shown", "abstained"])
def test_every_single_change_of_the_claim_is_refused_by_both_verifiers(case: Case, run: Run) -> None:
    """But the digest of the values of an abstention, which takes the image to see."""
    document = json.loads(genuine(case))
    every = [(("claims", 2, *at), value) for at, value in changes(document["claims"][-1])]
    tried = [at for at, value in every if try_change(document, case, at, value, run)]
    assert len(tried) > 13
    shown = json.loads(genuine(SHOWN))["claims"][-1]["limits"]
    if case is not SHOWN:
        content = signed(changed(document, ("claims", 2, "limits"), shown))
        assert not verify(content, KNOWN).valid
        assert run(content) == 1


def try_change(document: dict[str, Any], case: Case, at: tuple[str | int, ...], value: Any, run: Run) -> bool:
    """Asserts that a change is refused; False where it is none."""
    other = changed(document, at, value)
    if other == document:
        return False
    content = signed(other)
    if case is ABSTAINED and at[-1] == "values_sha256":
        with pytest.raises(ValueError, match="values before the window"):
            check_image(read(json.loads(content)), image_of(case))
        return True
    assert not verify(content, KNOWN).valid, at
    assert at[-1] in _LEFT_TO_OTHERS or run(content) == 1, at
    return True


def image_of(case: Case) -> ImageRecord:
    """The facts of the image of a case, as intake would decode it."""
    made = facts(case)
    subject = made.subject
    image = image_facts(
        pixels_sha256=subject.pixels_sha256, input_sha256=subject.input_sha256, scale=made.scale, window=WINDOWS[0]
    )
    return replace(image, grey=GREY_IMAGE)


def test_image_of_the_document_is_recognised_with_its_values() -> None:
    statement, image = read(json.loads(genuine(SHOWN))), image_of(SHOWN)
    assert "pixels, window" in check_image(statement, image)
    for other in (None, replace(GREY_IMAGE, sha256="0" * 64)):
        with pytest.raises(ValueError, match="values before the window"):
            check_image(statement, replace(image, grey=other))


def test_window_of_another_file_is_refused(run: Run) -> None:
    """Centre and width are those of the window that made the model input."""
    document = json.loads(genuine(SHOWN))
    for field, value in (("centre", "41.0"), ("width", "401.0")):
        content = signed(changed(document, ("claims", 2, field), value))
        assert "parameters" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
        assert run(content) == 1


@pytest.mark.parametrize(("centre", "width"), [(65_537.0, 400.0), (-65_537.0, 400.0), (40.0, 65_537.0), (40.0, 1.0)])
def test_window_that_noise_cannot_be_added_to_is_refused(centre: float, width: float, run: Run) -> None:
    window = HeaderWindow(number=1, of=1, centre=centre, width=width, function="SIGMOID")
    content = genuine(replace(ABSTAINED, window=window))
    assert [check.name for check in verify(content, KNOWN).checks if not check.ok] == ["parameters"]
    assert run(content) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_centre", "0.0099"),
        ("window_centre", "16385.0"),
        ("ln_window_width", "0.0009"),
        ("ln_window_width", "1.01"),
    ],
)
def test_standard_deviation_out_of_its_range_is_refused(name: str, value: str, run: Run) -> None:
    """The key is made anew, so that nothing but the range can be the reason."""
    document = json.loads(genuine(ABSTAINED))
    document["claims"][-1]["sigma"][name] = value
    params = {field: document["params"][field] for field in ("alpha", "n", "n0", "sigma", "target_radius", "bound")}
    sigma = document["claims"][-1]["sigma"]
    settings = sha256(canonical({**params, "parameter_sigma": sigma})).hexdigest()
    document["noise"]["settings_sha256"] = settings
    content = signed(document)
    assert "schema" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
    assert run(content) == 1


def test_noise_that_eta_does_not_pay_for_is_refused() -> None:
    """Noise on so many values of the model input alone is within eta; with that on the window it is not."""
    document = json.loads(genuine(SHOWN))
    most = int(ETA / total_variation("philox-ziggurat-f64", 0.5, 1))
    for values, refused in (most // 2, []), (most, ["parameters"]):
        content = signed(changed(document, ("subject", "input_shape"), ["1", "1", str(values)]))
        assert [check.name for check in verify(content, KNOWN).checks if not check.ok] == refused


def test_document_without_its_claim_is_refused(run: Run) -> None:
    """The noise key names the noise on the window: a claim that failed cannot be left out."""
    document = json.loads(genuine(NOT_SHOWN))
    del document["claims"][-1]
    content = signed(document)
    assert "settings" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
    assert run(content) == 1


def test_class_that_the_noise_on_the_window_itself_chose_is_refused(run: Run) -> None:
    document = json.loads(genuine(NOT_SHOWN))
    document["claims"][-1]["class_index"] = "1"
    content = signed(document)
    assert "parameters" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
    assert run(content) == 1


@pytest.mark.parametrize(("name", "value"), [("centre", "0.0001"), ("l2", "0.0001"), ("width_high", "0.0001")])
def test_limit_that_is_rounded_up_is_refused(name: str, value: str, run: Run) -> None:
    document = json.loads(genuine(SHOWN))
    for place, limits in enumerate(document["claims"][-1]["limits"]):
        raised = str(round(float(limits[name]) + float(value), 4))
        content = signed(changed(document, ("claims", 2, "limits", place, name), raised))
        assert "parameters" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
        assert run(content) == 1


def test_noise_relative_to_the_header_cannot_be_stated(run: Run) -> None:
    """A standard deviation is a number of the request: a document has no place for one that follows from the width."""
    document = json.loads(genuine(SHOWN))
    content = signed(changed(document, ("claims", 2, "sigma", "relative_to_width"), True))
    assert not verify(content, KNOWN).valid
    assert run(content) == 1


def test_noise_on_the_window_is_in_the_noise_key() -> None:
    without, others = (
        replace(SHOWN, parameter_sigma=None),
        replace(SHOWN, parameter_sigma=ParameterSigma(window_centre=51.0, ln_window_width=0.2)),
    )
    keys = {json.loads(genuine(case))["noise"]["key"] for case in (SHOWN, without, others)}
    assert len(keys) == 3
    claim, document = json.loads(genuine(SHOWN))["claims"][-1], json.loads(genuine(SHOWN))
    assert claim["key"] != document["noise"]["key"]


def test_digest_of_the_settings_is_that_of_earlier_releases_without_noise_on_the_window() -> None:
    request = replace(SHOWN, parameter_sigma=None).request
    assert sampling_digest(request) == "ac9616f7b9bfc7d2497027107ebd5228ca25cc58145bd419b942daca01023f17"


def test_image_without_a_window_has_no_such_claim() -> None:
    made = facts(SHOWN)
    with pytest.raises(TypeError, match="shown with one"):
        certification_result(replace(made, subject=replace(made.subject, window=FullRange())), warnings=(), timing={})


def test_result_says_what_the_document_says() -> None:
    result = certification_result(facts(SHOWN), warnings=(), timing={}).parameters
    claim = json.loads(genuine(SHOWN))["claims"][-1]
    assert result is not None
    assert (result.text, result.reach, result.samples) == (claim["text"], float(claim["reach"]), 200)
    assert result.agreeing == int(claim["estimation"]["per_class"][0])
    assert [f"{limits.centre}" for limits in result.limits] == [limits["centre"] for limits in claim["limits"]]


def test_words_name_class_limits_and_both_errors() -> None:
    claim = json.loads(genuine(SHOWN))["claims"][-1]
    alone, stretched, *_ = claim["limits"]
    for words in (
        "keeps the class class 0",
        "near centre 40.0 HU, width 400.0 HU,",
        f"(1) the centre alone by less than {alone['centre']} HU;",
        f"{100 * float(stretched['width_low']):.2f} to {100 * float(stretched['width_high']):.2f}%;",
        "probability at most 0.01, together with at most 0.02",
        "about another classifier than that of the radius",
    ):
        assert words in claim["text"]
    assert "was not shown" in json.loads(genuine(NOT_SHOWN))["claims"][-1]["text"]
    assert "no sample" in json.loads(genuine(ABSTAINED))["claims"][-1]["text"]
