"""Documents with variants: genuine ones pass both verifiers, and every single-field change is refused by both."""

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result
from certrad.models.certificates.schemas.schema import read
from certrad.models.certificates.signature import public_key, sign
from certrad.models.certificates.verify import Issuer, check_image, verify
from certrad.models.types import GatedAdaptation, SmoothingParams
from certrad.models.types.image import ImageRecord
from certrad.models.types.renderings import JpegVariant
from certrad.models.types.variant_lists import HeaderWindows, JpegQualities
from certrad.models.types.variants import VariantsEvidence, VariantsRequest
from tests.support.certificates import EPOCH_SECRET, ISSUER, VARIANTS, Case, facts, genuine
from tests.support.image_facts import image_facts
from tests.support.processes import ROOT

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01)
HELD: Final = Case(probabilities=(0.99, 0.005, 0.005), params=PARAMS, variants=VARIANTS)
FAILED: Final = replace(HELD, failing=3)
ABSTAINED: Final = Case(probabilities=(0.4, 0.3, 0.3), params=PARAMS, variants=VARIANTS)
SMALL: Final = replace(
    HELD,
    variants=VariantsRequest(
        lists=(HeaderWindows(), *VARIANTS.lists[1:2], JpegQualities(quality=(50, 90))), n=10, radius=0.05
    ),
)
OTHERS: Final = (
    replace(HELD, params=replace(PARAMS, bound="cohen")),
    replace(HELD, probabilities=(0.95, 0.05)),
    replace(HELD, adaptation=GatedAdaptation()),
    replace(HELD, variants=replace(VARIANTS, radius=0.0, n=10)),
    replace(HELD, probabilities=(0.9, 0.05, 0.03)),
)
KNOWN: Final = Issuer(
    public_keys=frozenset({public_key(ISSUER)}), secrets={sha256(EPOCH_SECRET).hexdigest(): EPOCH_SECRET}
)

Run = Callable[[bytes], int]
_LEFT_TO_OTHERS: Final = ("key", "input_sha256", "text", "encoder")
"""What the short verifier leaves to signature, image and replay; the encoder is the same for all or refused."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs docs/verifier.py on a document and returns its exit code."""

    def verdict(content: bytes) -> int:
        file = tmp_path / "document.json"
        file.write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["verifier.py", str(file)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "docs" / "verifier.py"), run_name="__main__")
        capsys.readouterr()
        return int(str(ended.value.code))

    return verdict


def signed(document: dict[str, Any]) -> bytes:
    """The document with a genuine signature: what an issuer would have to sign to lie."""
    return canonical(sign({**document, "signature": None}, ISSUER))


def changes(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yields every place in a JSON value with another value for it: one for each leaf, and each item left out."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from changes(item, (*at, name))
    elif isinstance(value, list) and value:
        yield at, value[:-1]
        yield at, [*value, value[0]]
        for place, item in enumerate(value):
            yield from changes(item, (*at, place))
    else:
        yield at, other(value)


def other(value: Any) -> Any:  # any leaf of JSON
    """Another value of the same type and spelling, where there is one."""
    match value:
        case bool():
            return not value
        case None:
            return "0"
        case str() if value.lstrip("-").isdigit() and len(value) < 20:
            return str(int(value) + 1)
        case str() if value.replace(".", "").lstrip("-").isdigit() and len(value) < 20:
            return value[:-1] + ("1" if value[-1] == "0" else "0" if value[-2] != "." else "2")
        case "LINEAR":
            return "SIGMOID"
        case "SIGMOID":
            return "LINEAR"
        case str() if len(value) == 64:
            return ("0" if value[0] != "0" else "1") + value[1:]
        case str():
            return f"{value} "
        case _:
            return []


def changed(document: dict[str, Any], at: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    made = deepcopy(document)
    target: Any = made
    for step in at[:-1]:
        target = target[step]
    target[at[-1]] = value
    return made


def is_header_window(document: dict[str, Any], at: tuple[str | int, ...]) -> bool:
    """Whether a place is in what a header says of one of its windows, beside its place among them."""
    if at[-1] not in ("centre", "width", "function") or at[2] != "rows":
        return False
    window: dict[str, str] = document["claims"][2]["rows"][at[3]]["rendering"]["window"]
    return window["kind"] == "header/2"


def image_of(case: Case) -> ImageRecord:
    """The facts of the image of a case, as intake would decode it."""
    made = facts(case)
    assert isinstance(made.variants, VariantsEvidence)
    subject = made.subject
    assert subject.window is not None
    image = image_facts(
        pixels_sha256=subject.pixels_sha256, input_sha256=subject.input_sha256, scale=made.scale, window=subject.window
    )
    return replace(image, variants=tuple(row.variant for row in made.variants.rows))


def test_image_of_the_document_is_recognised_with_its_variants() -> None:
    assert "pixels, window" in check_image(read(json.loads(genuine(HELD))), image_of(HELD))


@pytest.mark.parametrize("case", [HELD, FAILED, ABSTAINED, *OTHERS])
def test_genuine_documents_pass_both_verifiers(case: Case, run: Run) -> None:
    content = genuine(case)
    assert [check for check in verify(content, KNOWN).checks if not check.ok] == []
    assert run(content) == 0


@pytest.mark.parametrize("case", [SMALL, replace(SMALL, failing=3)], ids=["held", "failed"])
def test_every_single_change_of_the_claim_is_refused_by_both_verifiers(case: Case, run: Run) -> None:
    """But what a header says of its own windows: that takes the image to see."""
    document = json.loads(genuine(case))
    every = [(("claims", 2, *at), value) for at, value in changes(document["claims"][-1])]
    assert len(every) > 100
    for at, value in every:
        content = signed(changed(document, at, value))
        if is_header_window(document, at) and verify(content, KNOWN).valid:  # it is rounded to the same window
            with pytest.raises(ValueError, match="variants of this image"):
                check_image(read(json.loads(content)), image_of(case))
            continue
        assert not verify(content, KNOWN).valid, at
        if at[-1] not in _LEFT_TO_OTHERS:
            assert run(content) == 1, at


@pytest.mark.parametrize("field", ["down", "right", "offset", "bits", "quality"])
def test_rendering_that_is_on_no_list_is_refused_by_both_verifiers(field: str, run: Run) -> None:
    document = json.loads(genuine(HELD))
    rows = document["claims"][2]["rows"]
    places = [place for place, row in enumerate(rows) if field in row["rendering"]]
    assert places
    for place in (places[0], places[-1]):
        at = ("claims", 2, "rows", place, "rendering", field)
        content = signed(changed(document, at, other(rows[place]["rendering"][field])))
        assert "variant_lists" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
        assert run(content) == 1


@pytest.mark.parametrize(("field", "value"), [("number", "2"), ("of", "3"), ("centre", "40.1"), ("function", "LINEAR")])
def test_window_of_the_file_must_be_the_one_that_the_header_offers(field: str, value: str, run: Run) -> None:
    content = signed(changed(json.loads(genuine(HELD)), ("subject", "window", field), value))
    assert "variant_lists" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
    assert run(content) == 1


def test_header_that_is_said_to_offer_fewer_windows_than_the_file_states_is_refused(run: Run) -> None:
    document = json.loads(genuine(HELD))
    claim = document["claims"][2]
    claim["rows"][1]["rendering"]["window"]["of"] = "1"
    del claim["rows"][2]
    claim["text"] = claim["text"].replace("the 26 listed", "the 25 listed")
    content = signed(document)
    assert "variant_lists" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
    assert run(content) == 1


def test_jpeg_of_another_encoder_is_recognised_by_its_pixels() -> None:
    statement, image = read(json.loads(genuine(HELD))), image_of(HELD)
    jpegs = [place for place, each in enumerate(image.variants) if isinstance(each.rendering, JpegVariant)]

    def shown(**changes: str) -> ImageRecord:
        made = [*image.variants]
        for place in jpegs:
            rendering = made[place].rendering
            assert isinstance(rendering, JpegVariant)
            made[place] = replace(made[place], rendering=replace(rendering, encoder="pillow 2, libjpeg 2"), **changes)
        return replace(image, variants=tuple(made))

    assert "pixels, window" in check_image(statement, shown())
    with pytest.raises(ValueError, match="makes other pixels here: pillow 2, libjpeg 2, and pillow 1, libjpeg 1"):
        check_image(statement, shown(input_sha256="0" * 64))


def test_every_single_change_of_a_document_is_refused_for_its_signature(run: Run) -> None:
    document = json.loads(genuine(HELD))
    for at, value in (("claims", 2, "held"), False), (("claims", 2, "rows", 0, "key"), "00" * 32):
        content = canonical(changed(document, at, value))
        assert "signature" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
        assert run(content) == 1


def test_variant_that_fails_is_counted_and_named() -> None:
    claim = json.loads(genuine(FAILED))["claims"][-1]
    assert (claim["held"], claim["radius"], claim["counterexample"]) == (False, "0.0", "3")
    assert "Least was shown for window of centre 300.5" in claim["text"]


def test_document_that_drops_the_failing_variant_is_refused(run: Run) -> None:
    document = json.loads(genuine(FAILED))
    held = json.loads(genuine(HELD))["claims"][-1]
    claim = document["claims"][-1]
    del claim["rows"][3]
    claim |= {name: held[name] for name in ("held", "radius", "counterexample", "text")}
    content = signed(document)
    assert {"variant_lists", "variants"} & {check.name for check in verify(content, KNOWN).checks if not check.ok}
    assert run(content) == 1


def test_class_that_the_variants_themselves_chose_is_refused(run: Run) -> None:
    """The failing variant shows class 2: a document must not bound that class for it."""
    document = json.loads(genuine(FAILED))
    document["claims"][-1]["class_index"] = "2"
    content = signed(document)
    assert "variants" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
    assert run(content) == 1


def test_document_without_its_claim_about_variants_is_refused(run: Run) -> None:
    """The noise key names the variants: a claim that failed cannot be left out."""
    document = json.loads(genuine(FAILED))
    del document["claims"][-1]
    content = signed(document)
    assert "settings" in {check.name for check in verify(content, KNOWN).checks if not check.ok}
    assert run(content) == 1


def test_variants_are_in_the_noise_key() -> None:
    without, others = replace(HELD, variants=None), replace(HELD, variants=replace(VARIANTS, n=41))
    keys = {json.loads(genuine(case))["noise"]["key"] for case in (HELD, without, others)}
    assert len(keys) == 3


def test_result_says_what_the_document_says() -> None:
    result = certification_result(facts(FAILED), warnings=(), timing={})
    claim = json.loads(genuine(FAILED))["claims"][-1]
    assert result.variants is not None
    assert result.variants.counterexample is not None
    assert (result.variants.held, result.variants.tried, result.variants.text) == (False, 27, claim["text"])
    assert result.variants.counterexample.label == "class 2"
    assert result.variants.counterexample.agreeing == 0
    assert [row.name for row in result.variants.rows][:2] == [
        "lookup table 1 of 1 of the header",
        "window 1 of 2 of the header, centre 40, width 400",
    ]


def test_abstention_samples_no_variant() -> None:
    result = certification_result(facts(ABSTAINED), warnings=(), timing={})
    assert result.variants is not None
    assert (result.variants.held, result.variants.tried, result.variants.counterexample) == (None, 0, None)
