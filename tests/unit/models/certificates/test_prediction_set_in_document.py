"""Documents with prediction sets: genuine ones pass both verifiers, and every single-field change is refused."""

import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certrad.models.certificates import set_checks
from certrad.models.certificates.calibration_card import read_calibration, write_calibration
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result
from certrad.models.certificates.noise_key import sampling_digest
from certrad.models.certificates.prediction_sets import prediction_set_text
from certrad.models.certificates.schemas import schema_3
from certrad.models.certificates.schemas.schema import read
from certrad.models.certificates.signature import public_key, sign
from certrad.models.certificates.verify import Issuer, verify
from certrad.models.prediction_sets.confidence import most_misses
from certrad.models.prediction_sets.sets import SetRule
from certrad.models.types import SmoothingParams
from certrad.models.types.calibration import DELTA, InstalledCalibration, calibration_id
from tests.support.certificates import EPOCH_SECRET, ISSUER, Case
from tests.support.prediction_sets import COUNTS, card_of, facts_with_set, genuine_set, installed
from tests.support.processes import ROOT
from tests.unit.models.certificates.test_variants_in_document import changed, changes, signed

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=120, alpha=0.01)
SINGLE: Final = Case(probabilities=(0.97, 0.02, 0.01), params=PARAMS)
TWO: Final = Case(probabilities=(0.5, 0.5, 0.0), params=PARAMS)
LATE: Final = Case(probabilities=(0.4, 0.3, 0.3), params=PARAMS)
"""No class reaches its threshold at the radius that is asked for, and one alone does a little beyond it."""
EMPTY: Final = Case(probabilities=(0.35, 0.35, 0.3), params=PARAMS)
FEW: Final = (COUNTS[0], COUNTS[1], (90,) * 5)
KNOWN: Final = Issuer(
    public_keys=frozenset({public_key(ISSUER)}), secrets={sha256(EPOCH_SECRET).hexdigest(): EPOCH_SECRET}
)
TRUSTED: Final = KNOWN.public_keys
_LEFT_TO_OTHERS: Final = ("text", "misses_at_most", "single_up_to")
"""What the short verifier leaves to the signature: words, and numbers that a smaller claim may have."""

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs docs/verifier.py on a document, with a calibration if there is one, and returns its exit code."""

    def verdict(content: bytes, calibration: bytes | None = None, key: Path | None = None) -> int:
        file, card = tmp_path / "document.json", tmp_path / "calibration.json"
        file.write_bytes(content)
        arguments = ["verifier.py", str(file)]
        if calibration is not None:
            card.write_bytes(calibration)
            arguments += ["--calibration", str(card)]
        arguments += [] if key is None else ["--key", str(key)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "docs" / "verifier.py"), run_name="__main__")
        capsys.readouterr()
        return int(str(ended.value.code))

    return verdict


def refused(content: bytes) -> set[str]:
    return {check.name for check in verify(content, KNOWN).checks if not check.ok}


def claim_of(content: bytes) -> dict[str, Any]:
    claim: dict[str, Any] = json.loads(content)["claims"][-1]
    return claim


@pytest.mark.parametrize(
    ("case", "calibration", "classes"),
    [
        (SINGLE, installed(SINGLE), ["0"]),
        (SINGLE, installed(SINGLE, pooled=True), ["0"]),
        (SINGLE, installed(SINGLE, FEW), ["0", "2"]),
        (SINGLE, installed(SINGLE, poisoned=2), ["0"]),
        (LATE, installed(LATE), []),
        (EMPTY, installed(EMPTY), []),
        (TWO, installed(TWO, ((0,) * 60, (0,) * 60, (100,) * 60)), ["0", "1"]),
    ],
    ids=["single", "pooled", "few images", "poisoned", "late", "empty", "two"],
)
def test_genuine_documents_pass_both_verifiers(
    case: Case, calibration: InstalledCalibration, classes: list[str], run: Run
) -> None:
    content = genuine_set(case, calibration)
    assert claim_of(content)["classes"] == classes
    assert refused(content) == set()
    assert "quantiles are those" in _against(content, calibration)
    assert run(content) == run(content, calibration.document.encode()) == 0


def test_every_single_change_of_the_claim_is_refused_by_both_verifiers(run: Run) -> None:
    calibration = installed(SINGLE)
    content = genuine_set(SINGLE, calibration)
    document = json.loads(content)
    place = len(document["claims"]) - 1
    every = [(("claims", place, *at), value) for at, value in changes(document["claims"][-1])]
    assert len(every) > 30
    for at, value in every:
        altered = signed(changed(document, at, value))
        if not refused(altered):  # only the calibration says how many images it has
            assert at[2] in ("images", "n", "per_class", "poisoned_at_most", "quantiles"), at
            with pytest.raises(ValueError, match="are not those of the calibration"):
                _against(altered, calibration)
        if at[-1] not in _LEFT_TO_OTHERS:
            assert run(altered, calibration.document.encode()) == 1, at


def test_threshold_that_is_larger_by_one_is_refused_and_a_smaller_one_accepted(run: Run) -> None:
    document = json.loads(genuine_set(SINGLE, installed(SINGLE)))
    thresholds = document["claims"][-1]["thresholds"]
    for step, code in ((1, 1), (-1, 0), (-2, 0)):
        document["claims"][-1]["thresholds"] = [str(int(each) + step) for each in thresholds]
        assert refused(signed(document)) == ({"prediction_set"} if code else set())
        assert run(signed(document)) == code


def test_quantile_that_is_not_that_of_the_calibration_is_refused(run: Run) -> None:
    """The document alone is sound: only the calibration says that its quantile is smaller."""
    calibration = installed(SINGLE)
    lower = card_of(SINGLE, tuple(tuple(count - 20 for count in counts) for counts in COUNTS))
    content = genuine_set(SINGLE, calibration, counted=lower)
    assert refused(content) == set()
    with pytest.raises(ValueError, match="quantiles are not those of the calibration"):
        _against(content, calibration)
    assert run(content) == 0
    assert run(content, calibration.document.encode()) == 1


@pytest.mark.parametrize("field", ["sigma", "law", "classifier_sha256", "class_names"])
def test_calibration_of_another_classifier_or_noise_is_refused(field: str, run: Run) -> None:
    others: dict[str, Any] = {
        "sigma": 0.25,
        "law": "aes128ctr-boxmuller-f64",
        "classifier_sha256": "0" * 64,
        "class_names": ("a", "b", "c"),
    }
    calibration = write_calibration(replace(card_of(SINGLE), **{field: others[field]}), ISSUER)
    made = facts_with_set(SINGLE, calibration)
    content = genuine_set(SINGLE, calibration)
    assert made.prediction_set is not None
    with pytest.raises(ValueError, match="of another classifier, noise law, sigma or list of classes"):
        _against(content, calibration)
    assert run(content, calibration.document.encode()) == 1


def test_calibration_that_was_changed_is_refused(run: Run) -> None:
    calibration = installed(SINGLE)
    content = genuine_set(SINGLE, calibration)
    card = json.loads(calibration.document)
    card["counts"][0][0] = "59"
    altered = canonical(card)
    with pytest.raises(ValueError, match="not signed, or was changed"):
        read_calibration(altered)
    assert run(content, altered) == 1


def test_calibration_of_a_stranger_is_refused_where_the_issuer_is_known() -> None:
    calibration = installed(SINGLE)
    statement = read(json.loads(genuine_set(SINGLE, calibration)))
    assert statement.prediction_set is not None
    with pytest.raises(ValueError, match="signed with a key that the issuer does not name"):
        set_checks.calibration_file(statement, statement.prediction_set, calibration.document.encode(), {"0" * 64})


def test_calibration_that_is_no_more_published_signs_nothing() -> None:
    statement = read(json.loads(genuine_set(SINGLE, installed(SINGLE))))
    with pytest.raises(ValueError, match="not published any more"):
        set_checks.require_issued(statement, lambda _: None, TRUSTED)


def test_what_was_published_beside_the_signed_file_of_a_calibration_signs_nothing() -> None:
    """Whoever can write into the job store can put any card there, but not sign its file."""
    calibration = installed(SINGLE)
    lower = card_of(SINGLE, tuple(tuple(count - 20 for count in counts) for counts in COUNTS))
    forged = replace(calibration, card=lower)
    statement = read(json.loads(genuine_set(SINGLE, calibration, counted=lower)))
    with pytest.raises(ValueError, match="quantiles are not those of the calibration"):
        set_checks.require_issued(statement, lambda _: forged, TRUSTED)


def test_calibration_of_a_stranger_signs_nothing() -> None:
    stranger = write_calibration(card_of(SINGLE), Ed25519PrivateKey.generate())
    statement = read(json.loads(genuine_set(SINGLE, stranger)))
    with pytest.raises(ValueError, match="signed with a key that the issuer does not name"):
        set_checks.require_issued(statement, lambda _: stranger, TRUSTED)
    ours = installed(SINGLE)
    set_checks.require_issued(read(json.loads(genuine_set(SINGLE, ours))), lambda _: ours, TRUSTED)


@pytest.mark.parametrize("file", ["signed by a stranger", "changed after it was signed"])
def test_short_verifier_refuses_the_file_of_a_calibration_that_the_issuer_did_not_sign(
    file: str, run: Run, tmp_path: Path
) -> None:
    calibration = write_calibration(card_of(SINGLE), Ed25519PrivateKey.generate())
    card = calibration.document.encode()
    if file == "changed after it was signed":
        altered = json.loads(installed(SINGLE).document)
        altered["site"] = "scanner B"
        card = canonical(altered)
    named = replace(calibration, sha256=sha256(card).hexdigest(), id=calibration_id("ward-3", sha256(card).hexdigest()))
    content = genuine_set(SINGLE, named)
    (tmp_path / "key.txt").write_text(public_key(ISSUER), encoding="utf-8")
    assert run(content, card, tmp_path / "key.txt") == 1
    assert run(genuine_set(SINGLE, installed(SINGLE)), installed(SINGLE).document.encode(), tmp_path / "key.txt") == 0


@pytest.mark.parametrize("line", [{"slope": 1.2}, {"constant": 0.001}])
def test_card_with_another_line_is_no_calibration(line: dict[str, float]) -> None:
    """Thresholds, ranks and misses are made with the one line that the proof names."""
    with pytest.raises(ValueError, match="slope and constant must be"):
        replace(card_of(SINGLE), **line)  # type: ignore[arg-type]


def test_short_verifier_refuses_a_card_with_another_line(run: Run) -> None:
    calibration = installed(SINGLE)
    card = json.loads(calibration.document)
    card["slope"] = "1.2"
    altered = canonical(sign({**card, "signature": None}, ISSUER))
    digest = sha256(altered).hexdigest()
    named = replace(calibration, sha256=digest, id=calibration_id("ward-3", digest))
    assert run(genuine_set(SINGLE, named), altered) == 1
    assert run(genuine_set(SINGLE, calibration), calibration.document.encode()) == 0


def test_document_without_its_claim_about_a_set_is_refused(run: Run) -> None:
    """The noise key names the set: one that came out large cannot be left out."""
    document = json.loads(genuine_set(SINGLE, installed(SINGLE)))
    del document["claims"][-1]
    assert "settings" in refused(signed(document))
    assert run(signed(document)) == 1


def test_words_promise_a_share_of_images_and_nothing_about_this_one() -> None:
    text = claim_of(genuine_set(SINGLE, installed(SINGLE)))["text"]
    assert "misses the correct class in at most 10 of 100 images of each class" in text
    assert "Here the list holds only: class 0." in text
    assert "One class alone, class 0, is listed up to" in text
    assert "for whoever sends many altered copies, or asks many times, and keeps one answer" in text
    assert "likely right" not in text
    assert "%" not in text


def test_empty_set_says_what_it_means_and_is_not_filled() -> None:
    made = facts_with_set(EMPTY, installed(EMPTY))
    result = certification_result(made, warnings=(), timing={})
    assert result.prediction_set is not None
    assert result.prediction_set.labels == ()
    assert "At most 10 of 100 images like those of the calibration get an empty list." in result.prediction_set.text


def test_calibration_is_read_back_byte_for_byte() -> None:
    calibration = installed(SINGLE)
    assert read_calibration(calibration.document.encode()) == calibration
    with pytest.raises(ValueError, match="canonical JSON"):
        read_calibration(calibration.document.encode() + b"\n")


def test_signature_of_the_document_covers_the_set() -> None:
    document = json.loads(genuine_set(SINGLE, installed(SINGLE)))
    document["claims"][-1]["classes"] = ["0", "1"]
    assert "signature" in refused(canonical(document))
    assert "signature" not in refused(canonical(sign({**document, "signature": None}, ISSUER)))


def _against(content: bytes, calibration: InstalledCalibration) -> str:
    statement = read(json.loads(content))
    assert statement.prediction_set is not None
    return set_checks.calibration(statement, statement.prediction_set, calibration)


LIES: Final[dict[str, dict[str, Any]]] = {
    "one class alone beyond the radius at which it is": {"single_up_to": 1.9},
    "another class alone": {"single_class": 1},
    "a class that does not exist alone": {"single_class": 7},
    "one class alone below no change": {"single_up_to": -0.25},
    "one class alone up to less than the radius": {"single_up_to": 0.24},
    "a class that does not reach its threshold": {"classes": (0, 1)},
    "a list without the class that reaches it": {"classes": ()},
    "fewer misses than so few images show": {"misses_at_most": 0.11},
    "another confidence": {"delta": 0.04},
    "a radius that the thresholds do not allow for": {"radius": 0.75},
    "fewer misses than the thresholds allow for": {"beta": 0.01},
}


@pytest.mark.parametrize("lie", LIES)
def test_lie_whose_words_agree_is_refused_by_both_verifiers(lie: str, run: Run) -> None:
    """Nothing but the check of that number can refuse it."""
    calibration = installed(SINGLE)
    content = lying(genuine_set(SINGLE, calibration), **LIES[lie])
    found = {check.name for check in verify(content).checks if not check.ok}
    if "beta" in LIES[lie]:  # the thresholds follow from the quantiles, which only the calibration knows
        assert found == {"prediction_set"} or "are not those" in _refusal(content, calibration)
    else:
        assert found == {"prediction_set"}
    assert run(content, calibration.document.encode()) == 1


def test_class_that_comes_in_beyond_the_radius_only_is_not_stated(run: Run) -> None:
    calibration = installed(LATE)
    content = genuine_set(LATE, calibration)
    card = calibration.card
    rule = SetRule(quantiles=tuple(map(int, claim_of(content)["quantiles"])), n=card.n, sigma=card.sigma)
    counts = tuple(map(int, json.loads(content)["estimation"]["per_class"]))
    beyond = rule.single_up_to(counts, sum(counts))
    assert beyond is not None
    assert beyond > float(claim_of(content)["radius"])
    assert claim_of(content).get("single_up_to") is None
    lie = lying(content, single_up_to=beyond, single_class=0)
    assert {check.name for check in verify(lie).checks if not check.ok} == {"prediction_set"}
    assert run(lie, calibration.document.encode()) == 1


def test_class_alone_must_reach_the_largest_threshold_too(run: Run) -> None:
    """Smaller thresholds make a larger set, which may be stated; that a class is alone in it may not."""
    calibration = installed(LATE)
    content = genuine_set(LATE, calibration)
    most = max(map(int, json.loads(content)["estimation"]["per_class"]))
    larger: dict[str, Any] = {"thresholds": (most,) * 3, "classes": (0,)}
    assert verify(lying(content, **larger)).valid
    lie = lying(content, **larger, single_up_to=0.25, single_class=0)
    assert {check.name for check in verify(lie).checks if not check.ok} == {"prediction_set"}
    assert run(lying(content, **larger), calibration.document.encode()) == 0
    assert run(lie, calibration.document.encode()) == 1


def test_replaced_images_do_not_let_a_document_claim_fewer_misses(run: Run) -> None:
    """The threshold after a replacement may be the one before: misses follow the rank before it."""
    misses = claim_of(genuine_set(SINGLE, installed(SINGLE)))["misses_at_most"]
    calibration = installed(SINGLE, poisoned=2)
    content = genuine_set(SINGLE, calibration)
    assert claim_of(content)["misses_at_most"] == misses
    lie = lying(content, misses_at_most=round(most_misses(60, 3, DELTA) + 1e-6, 6))
    assert {check.name for check in verify(lie).checks if not check.ok} == {"prediction_set"}
    assert run(lie, calibration.document.encode()) == 1


def lying(content: bytes, **changes: Any) -> bytes:
    """Returns a signed document whose claim about a set is another, with the words and the settings of that claim."""
    statement = read(json.loads(content))
    assert statement.prediction_set is not None
    claim = replace(statement.prediction_set, **changes)
    names = (*statement.classifier.class_names, *["no class"] * 9)
    claim = replace(claim, text=prediction_set_text(claim.request, claim, names))
    lie = replace(statement, prediction_set=claim)
    settings = replace(lie.noise, settings_sha256=sampling_digest(lie.request))
    return canonical(sign(schema_3.write(replace(lie, noise=settings)), ISSUER))


def _refusal(content: bytes, calibration: InstalledCalibration) -> str:
    with pytest.raises(ValueError, match="calibration") as refusal:
        _against(content, calibration)
    return str(refusal.value)
