"""Documents of a bank with an extra class: both verifiers count it as one class more, and no other has its name."""

import json
import runpy
import sys
from collections.abc import Callable
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
from certrad.models.certificates.text import limits
from certrad.models.certificates.verify import Issuer, verify
from certrad.models.types import GatedAdaptation, SmoothingParams
from certrad.models.types.rejection import UNLIKE
from certrad.models.types.result import CertifiedResult
from tests.support.certificates import EPOCH_SECRET, ISSUER, Case, facts, genuine
from tests.support.prediction_sets import genuine_set, installed
from tests.support.processes import ROOT

PARAMS: Final = SmoothingParams(sigma=0.5, n0=20, n=400, alpha=0.01)
KNOWN: Final = Case(probabilities=(0.8, 0.04, 0.16), params=PARAMS, adaptation=GatedAdaptation(), unlike=True)
STRANGE: Final = replace(KNOWN, probabilities=(0.03, 0.02, 0.95))
ABSTAINED: Final = replace(KNOWN, probabilities=(0.02, 0.49, 0.49))
TRUSTED: Final = Issuer(
    public_keys=frozenset({public_key(ISSUER)}), secrets={sha256(EPOCH_SECRET).hexdigest(): EPOCH_SECRET}
)
PARTS: Final = ("bank/1", "rejection/1")

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[bytes], list[str]]:
    """Runs docs/verifier.py on a document and returns the names of the checks that refuse it."""

    def refusals(content: bytes) -> list[str]:
        file = tmp_path / "document.json"
        file.write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["verifier.py", str(file)])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "docs" / "verifier.py"), run_name="__main__")
        lines = capsys.readouterr().out.splitlines()
        return [line.split()[1].rstrip(":") for line in lines if line.startswith("REFUSED")]

    return refusals


def signed(case: Case, change: Change) -> bytes:
    """The document of a case, changed, with a genuine signature: what an issuer would have to sign to lie."""
    document = deepcopy(json.loads(genuine(case)))
    change(document)
    return canonical(sign({**document, "signature": None}, ISSUER))


def refused(content: bytes) -> list[str]:
    return [check.name for check in verify(content, TRUSTED).checks if not check.ok]


def test_short_verifier_refuses_a_prediction_set_beside_the_extra_class() -> None:
    """No calibration image has the extra class, so that no list can promise anything about it."""
    form = runpy.run_path(str(ROOT / "docs" / "verifier.py"))["form"]
    plain = Case(probabilities=(0.97, 0.02, 0.01), params=replace(PARAMS, n=120))
    (claim,) = json.loads(genuine_set(plain, installed(plain)))["claims"][-1:]
    document = json.loads(genuine(KNOWN))
    assert all(form(document))
    document["claims"].append(claim)
    assert not all(form(document))
    document["classifier"]["parts"].pop()
    document["classifier"]["class_names"][-1] = "another class"
    assert all(form(document))


@pytest.mark.parametrize("case", [KNOWN, STRANGE, ABSTAINED])
def test_both_verifiers_accept_a_genuine_document(case: Case, run: Callable[[bytes], list[str]]) -> None:
    content = genuine(case)
    assert refused(content) == []
    assert run(content) == []
    assert [part["kind"] for part in json.loads(content)["classifier"]["parts"]][-2:] == list(PARTS)


def test_the_extra_class_is_certified_with_its_name_and_a_radius() -> None:
    result = certification_result(facts(STRANGE), warnings=(), timing={})
    assert isinstance(result, CertifiedResult)
    assert (result.label, result.class_index, result.rejection_index, result.unlike) == (UNLIKE, 2, 2, True)
    assert result.radius > 0


def test_samples_of_the_extra_class_count_as_the_rival_of_a_known_one() -> None:
    claim = json.loads(genuine(KNOWN))["claims"][0]
    # The extra class has some 64 of 400 samples; without it the second count would be some 16.
    assert float(claim["p_b_upper"]) > 0.16


def test_an_abstention_is_never_called_unlike() -> None:
    document = json.loads(genuine(ABSTAINED))
    claims = json.dumps(document["claims"])
    assert '"abstention/1"' in claims
    assert "unlike" not in claims
    result = certification_result(facts(ABSTAINED), warnings=(), timing={})
    assert (result.outcome, result.label, result.class_index) == ("abstained", None, None)


def test_the_words_of_the_claim_stand_among_the_limits_only_with_the_extra_class() -> None:
    with_extra = json.loads(genuine(KNOWN))["limits"]
    without = json.loads(genuine(replace(KNOWN, unlike=False)))["limits"]
    (words,) = set(with_extra) - set(without)
    assert UNLIKE in words
    assert "It is not claimed that every image of no known class gets it." in words
    assert "An abstention does not detect an unknown kind of image." in with_extra
    assert limits(read(json.loads(genuine(KNOWN))).classifier, 20, 400) == with_extra


def without_the_part(document: dict[str, Any]) -> None:
    document["classifier"]["parts"].pop()


def without_part_and_words(document: dict[str, Any]) -> None:
    without_the_part(document)
    unexplained(document)


def another_index(document: dict[str, Any]) -> None:
    document["classifier"]["parts"][-1]["rejection_index"] = "0"


def another_name(document: dict[str, Any]) -> None:
    document["classifier"]["class_names"][-1] = "class 2"


def another_digest(document: dict[str, Any]) -> None:
    document["classifier"]["parts"][-1]["rejection_sha256"] = "0" * 64


def named_twice(document: dict[str, Any]) -> None:
    document["classifier"]["class_names"][0] = UNLIKE


def behind_a_template(document: dict[str, Any]) -> None:
    document["classifier"]["parts"][-2] = {"kind": "template/1", "template": "{}", "text_sha256": "0" * 64}


def unexplained(document: dict[str, Any]) -> None:
    document["limits"] = [limit for limit in document["limits"] if UNLIKE not in limit]


def not_counted(document: dict[str, Any]) -> None:
    """The radius of a verifier to which samples of the extra class are no rivals: the second count is class 1's."""
    other = json.loads(genuine(replace(KNOWN, probabilities=(0.8, 0.04, 0.0))))
    document["claims"][0]["p_b_upper"] = other["claims"][0]["p_b_upper"]


@pytest.mark.parametrize(
    "change",
    [
        without_the_part,
        without_part_and_words,
        another_index,
        another_digest,
        another_name,
        named_twice,
        behind_a_template,
        not_counted,
    ],
)
@pytest.mark.parametrize("case", [KNOWN, STRANGE])
def test_both_verifiers_refuse_a_document_that_hides_or_misnames_the_extra_class(
    change: Change, case: Case, run: Callable[[bytes], list[str]]
) -> None:
    content = signed(case, change)
    assert refused(content)
    assert run(content)


def test_a_document_without_the_words_of_the_claim_is_refused() -> None:
    assert "words" in refused(signed(KNOWN, unexplained))


def test_counts_of_one_class_more_are_refused_where_there_is_no_extra_class(
    run: Callable[[bytes], list[str]],
) -> None:
    plain = replace(KNOWN, unlike=False, probabilities=(0.9, 0.1))

    def one_more(document: dict[str, Any]) -> None:
        document["estimation"]["per_class"].append("0")
        document["selection"]["per_class"].append("0")

    content = signed(plain, one_more)
    assert refused(content)
    assert run(content)
