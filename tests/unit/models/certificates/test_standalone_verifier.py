"""docs/verifier.py is short, has none of our code, and is of one mind with the verifier of the service."""

import ast
import json
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.signature import public_key, sign
from certrad.models.certificates.verify import verify
from certrad.models.types import ETA, SmoothingParams
from certrad.models.types.total_variation import total_variation
from tests.support.certificates import ADAPTER_SHA256, CASES, EPOCH_SECRET, ISSUER, Case, genuine
from tests.support.processes import ROOT
from tests.unit.models.certificates.test_verify import (
    ADAPTED,
    ADAPTED_CASES,
    FIXED,
    FORGER,
    GAVE_UP,
    KNOWN,
    NOISY,
    NOISY_CASES,
    PAIR,
    ROUTED,
    SEVEN,
    STRANGE_ORDERS,
    UNBOUND_ADAPTERS,
    duplicated_block,
    forged,
    forged_counts,
    hidden_radius,
    many_classes_and_looks,
    more_samples_than_there_can_be,
    of_image,
    refused,
    relabelled,
    reordered,
    rounded_up,
    without_adapter,
    without_noisy_image,
)

VERIFIER = ROOT / "docs" / "verifier.py"
NOT_ITS_OWN = {"noise_key", "words", "image_units"}
"""Checks that the short verifier leaves to the signature."""

Outcome = tuple[int, dict[str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Outcome]:
    """Its exit code and its refusals, for a document and the text of a key file."""

    def verdict(content: bytes, key: str | None = public_key(ISSUER)) -> Outcome:
        file, keys = tmp_path / "document.json", tmp_path / "keys"
        file.write_bytes(content)
        keys.write_text(key or "")
        monkeypatch.setattr(sys, "argv", ["verifier.py", str(file), *([] if key is None else ["--key", str(keys)])])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(VERIFIER), run_name="__main__")
        lines = [
            line.removeprefix("REFUSED").strip() for line in capsys.readouterr().out.splitlines() if "REFUSED" in line
        ]
        return int(str(ended.value.code)), dict(line.split(": ", 1) for line in lines)

    return verdict


def test_it_is_one_file_of_at_most_600_lines_without_any_code_of_ours() -> None:
    source = VERIFIER.read_text("utf-8")
    tree = ast.walk(ast.parse(source))
    imported = {
        name.partition(".")[0]
        for node in tree
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert len(source.splitlines()) <= 600
    assert imported - set(sys.stdlib_module_names) == {"mpmath", "cryptography"}


def test_it_runs_alone_and_says_what_it_checked(tmp_path: Path) -> None:
    file, alone = tmp_path / "document.json", tmp_path / "verifier.py"
    file.write_bytes(genuine(FIXED))
    alone.write_bytes(VERIFIER.read_bytes())
    ended = subprocess.run([sys.executable, "-I", str(alone), str(file)], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == "valid; issuer not checked"
    assert "ok       radius" in ended.stdout
    assert "skipped  issuer: no key was given" in ended.stdout
    assert "ok       issuer" not in ended.stdout


def test_a_hundred_genuine_documents_of_a_hundred_pass(run: Callable[..., Outcome]) -> None:
    assert [case for case in CASES if run(genuine(case)) != (0, {})] == []


@pytest.mark.parametrize("case", ADAPTED_CASES)
def test_documents_of_an_adapted_image_encoder_pass(case: Case, run: Callable[..., Outcome]) -> None:
    assert run(genuine(case)) == (0, {})
    assert verify(genuine(case), KNOWN).valid


@pytest.mark.parametrize("case", NOISY_CASES)
def test_documents_of_noise_on_the_image_pass(case: Case, run: Callable[..., Outcome]) -> None:
    assert run(genuine(case)) == (0, {})


def test_eta_must_pay_for_noise_on_every_value_of_the_image(run: Callable[..., Outcome]) -> None:
    most = int(ETA / total_variation("philox-ziggurat-f64", 0.25, 512))
    assert run(of_image(most)) == (0, {})
    assert list(run(of_image(most + 1))[1]) == ["noise_space"]


@pytest.mark.parametrize(
    "forgery",
    [
        lambda: forged(NOISY, claims__1__l2=rounded_l2()),
        lambda: forged(NOISY, claims__1__factors__rounding="0.0"),
        lambda: forged(NOISY, claims__1__factors__rounding=other_rounding(1 - 2e-8)),
        lambda: forged(NOISY, claims__1__factors__rounding=other_rounding(1 + 2e-8)),
        lambda: forged(NOISY, claims__1__factors__channels="1.73205081"),
        lambda: forged(NOISY, claims__1__factors__resize_vertical="0.5"),
        lambda: forged(NOISY, claims__1__factors__resize_horizontal="0.5"),
        lambda: forged(NOISY, claims__1__region__rows="511"),
        lambda: forged(NOISY, claims__1__region__columns="511"),
        lambda: forged(NOISY, claims__1__region__channels="3"),
    ],
)
def test_radius_in_units_of_the_noisy_image_is_that_of_the_claim(
    forgery: Callable[[], bytes], run: Callable[..., Outcome]
) -> None:
    content = forgery()
    assert {"noise_space"} == run(content)[1].keys() - {"issuer"}
    assert "image_units" in refused(verify(content, KNOWN))


def rounded_l2() -> str:
    """The radius of NOISY in units of its image, one ten-thousandth more."""
    return str(round(float(json.loads(genuine(NOISY))["claims"][1]["l2"]) + 1e-4, 4))


def other_rounding(factor: float) -> str:
    """The rounding of NOISY times a factor."""
    rounding = float(json.loads(genuine(NOISY))["claims"][1]["factors"]["rounding"])
    return format(Decimal(repr(factor * rounding)), "f")


@pytest.mark.parametrize("kind", ["l2_radius/1", "l2_rendered_radius/1"])
def test_certificate_that_hides_its_noise_space_is_refused(kind: str, run: Callable[..., Outcome]) -> None:
    assert "settings" in run(without_noisy_image(kind))[1]


@pytest.mark.parametrize(
    "forgery",
    [
        lambda: forged(NOISY, claims__0__kind="l2_radius/1"),
        lambda: forged(FIXED, claims__0__kind="l2_rendered_radius/1"),
        lambda: without_noisy_image("l2_rendered_radius/1"),
        lambda: reordered(NOISY, (1, 0, 2)),
    ],
)
def test_radius_on_the_rendered_image_goes_with_noise_on_it(
    forgery: Callable[[], bytes], run: Callable[..., Outcome]
) -> None:
    assert "schema" in run(forgery())[1]


def test_certificate_that_hides_its_adapter_is_refused(run: Callable[..., Outcome]) -> None:
    assert "settings" in run(without_adapter(ADAPTED))[1]


@pytest.mark.parametrize("named", UNBOUND_ADAPTERS)
def test_adapter_whose_id_is_not_that_of_its_digest_is_refused(
    named: dict[str, str], run: Callable[..., Outcome]
) -> None:
    assert "schema" in run(forged(ADAPTED, **named))[1]


@pytest.mark.parametrize("order", STRANGE_ORDERS)
def test_parts_in_any_other_order_are_refused(order: tuple[int, ...], run: Callable[..., Outcome]) -> None:
    assert {"schema", "form"} & run(reordered(ADAPTED, order))[1].keys()


@pytest.mark.parametrize("target", [None, 0.0925, 0.07])
def test_thousands_of_samples_of_an_uncertain_class_pass(target: float | None, run: Callable[..., Outcome]) -> None:
    """Where incomplete beta functions are sums of thousands of terms."""
    params = SmoothingParams(sigma=0.25, n0=100, n=10_000, target_radius=target)
    content = genuine(Case(probabilities=(0.6, 0.3, 0.05, 0.05), params=params))
    assert int(json.loads(content)["samples_used"]) > 2_000
    assert run(content) == (0, {})
    assert verify(content, KNOWN).valid


@pytest.mark.parametrize(
    "forgery",
    [
        forged_counts,
        duplicated_block,
        hidden_radius,
        lambda: relabelled(FIXED, lambda labels: [0] * len(labels)),
        lambda: relabelled(SEVEN, lambda labels: [0] * len(labels)),
        lambda: relabelled(PAIR, lambda labels: labels[:-1]),
        lambda: forged(FIXED, estimation__merkle_root="ab" * 32),
        *(lambda case=case: rounded_up(case) for case in (FIXED, PAIR, SEVEN, ROUTED)),
        lambda: forged(FIXED, claims__0__p_a_lower="0.9"),
        lambda: forged(FIXED, claims__0__p_b_upper="0.1"),
        lambda: forged(PAIR, claims__0__p_a_lower="0.95"),
        lambda: forged(SEVEN, claims__0__p_b_upper="0.2"),
        lambda: forged(SEVEN, decision__rule="clopper_pearson"),
        lambda: forged(SEVEN, decision__rule="certified_selection"),
        lambda: forged(SEVEN, claims__0__target_reached=False),
        lambda: forged(SEVEN, scope="input_independent"),
        lambda: forged(GAVE_UP, claims__0__p_a_lower="0.7", claims__0__p_b_upper="0.3"),
        lambda: forged(GAVE_UP, claims__0__reason="no_majority"),
        lambda: forged(FIXED, claims__0__class_index="1", claims__0__label="class 1"),
        lambda: forged(ADAPTED, classifier__parts__1__adapter_sha256=f"{ADAPTER_SHA256[:16]}{'0' * 48}"),
        lambda: forged(NOISY, classifier__parts__0__fit="pad"),
        lambda: forged(NOISY, classifier__parts__0__of_rows="601"),
        lambda: forged(FIXED, params__n="10000"),
        lambda: forged(FIXED, selection__per_class=["0", "20", "0"]),
    ],
)
def test_both_verifiers_refuse_a_forgery_for_the_same_things(
    forgery: Callable[[], bytes], run: Callable[..., Outcome]
) -> None:
    content = forgery()
    code, reasons = run(content)
    assert code == 1
    assert set(reasons) == set(refused(verify(content, KNOWN))) - NOT_ITS_OWN
    assert all(reasons.values())


@pytest.mark.parametrize(
    "forgery",
    [
        lambda: forged(FIXED, params__alpha="0.05"),
        lambda: forged(ROUTED, claims__1__route="0"),
        lambda: forged(ROUTED, params__sigma="0.25"),
        lambda: forged(ROUTED, claims__1__alpha_split__p_a="0.01"),
        lambda: forged(ROUTED, decision__rule="clopper_pearson"),
        lambda: forged(PAIR, decision__rule="p_a"),
        lambda: forged(FIXED, decision__rule="certified_selection"),
    ],
)
def test_one_verifier_refuses_the_cause_and_the_other_the_effect(
    forgery: Callable[[], bytes], run: Callable[..., Outcome]
) -> None:
    content = forgery()
    assert set(run(content)[1]) > {"issuer"}
    assert set(refused(verify(content, KNOWN))) > {"issuer"}


@pytest.mark.parametrize(
    ("forgery", "check"),
    [
        (lambda: forged(FIXED, claims__0__kind="l2_radius/2"), "form"),
        (lambda: forged(FIXED, classifier__parts__1__kind="prompt/2"), "form"),
        (lambda: forged(FIXED, note="trust me"), "schema"),
        (lambda: forged(FIXED, subject__window={"kind": "full_range/2"}), "form"),
        (lambda: forged(FIXED, subject__window={"kind": "prompt/1"}), "schema"),
        (lambda: forged(FIXED, classifier__parts__1__tuning_images="some"), "schema"),
        (lambda: forged(ADAPTED, classifier__parts__1__training_images="some"), "schema"),
        (lambda: forged(FIXED, params__bound="other"), "schema"),
        (lambda: forged(FIXED, claims__0__note="trust me"), "schema"),
        (lambda: forged(FIXED, samples_used="+220"), "form"),
        (lambda: forged(FIXED, selection__invalid="0 "), "form"),
        (lambda: forged(FIXED, params__n="2_00"), "form"),
        (lambda: forged(FIXED, claims__0__class_index="\u0660"), "form"),
    ],
)
def test_unknown_fields_and_kinds_and_loose_integers_are_refused(
    forgery: Callable[[], bytes], check: str, run: Callable[..., Outcome]
) -> None:
    assert check in run(forgery())[1]


def test_a_document_of_schema_2_has_its_own_verifier(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stored = (ROOT / "tests" / "data" / "documents_of_schema_2.jsonl").read_text("utf-8").splitlines()
    file = tmp_path / "document.json"
    for line in stored:
        file.write_bytes(json.loads(line)["document"].encode())
        monkeypatch.setattr(sys, "argv", ["verifier_of_schema_2.py", str(file)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(VERIFIER.with_name("verifier_of_schema_2.py")), run_name="__main__")
        assert (ended.value.code, "REFUSED" in capsys.readouterr().out) == (0, False)


def test_change_of_a_signed_document_is_refused_for_its_signature(run: Callable[..., Outcome]) -> None:
    document = json.loads(genuine(FIXED))
    document["software"]["certrad"] = "9.9.9"
    assert run(canonical(document)) == (1, {"signature": "it is not signed, or was changed after it was signed"})


@pytest.mark.parametrize("spell", [str.upper, " {}".format, "{} ".format], ids=["upper case", "space", "end"])
@pytest.mark.parametrize("field", ["public_key", "value"])
def test_signature_has_one_spelling(field: str, spell: Callable[[str], str], run: Callable[..., Outcome]) -> None:
    """Else one certificate has many digests."""
    document = json.loads(genuine(FIXED))
    document["signature"][field] = spell(document["signature"][field])
    assert "signature" in run(canonical(document), key=None)[1]


def a_look_after_each_of_many_samples() -> bytes:
    labels = [0, 0, 0, 0, 1] * 60_000
    document = json.loads(relabelled(PAIR, lambda _: labels))
    document["params"]["n"], document["decision"]["look_every"] = "300001", "1"
    return canonical(sign(document, FORGER))


def more_routes_than_there_can_be() -> bytes:
    document = json.loads(genuine(ROUTED))
    samples = {**document["estimation"], "labels": "0*1000000"}
    document["claims"][1]["outcomes"] = [{"estimation": samples}] * 10_000
    return canonical(sign(document, FORGER))


@pytest.mark.parametrize(
    "hostile",
    [
        many_classes_and_looks,
        more_samples_than_there_can_be,
        a_look_after_each_of_many_samples,
        more_routes_than_there_can_be,
    ],
)
def test_hostile_document_is_refused_soon(hostile: Callable[[], bytes], run: Callable[..., Outcome]) -> None:
    content, started = hostile(), time.process_time()
    assert run(content, key=None)[0] == 1
    assert time.process_time() - started < 20


def test_published_keys_of_the_issuer_are_read_as_they_are_answered(run: Callable[..., Outcome]) -> None:
    answer = {
        "keys": [{"public_key": "ab" * 32}, {"public_key": public_key(ISSUER)}],
        "epochs": [{"sha256": "00" * 32}, {"sha256": sha256(EPOCH_SECRET).hexdigest()}],
    }
    for text in (json.dumps(answer), json.dumps(answer, separators=(",", ":")), json.dumps(answer, indent=2)):
        assert run(genuine(FIXED), key=text) == (0, {})
        assert list(run(forged(FIXED), key=text)[1]) == ["issuer"]


def test_key_that_the_issuer_revoked_is_refused_as_such(run: Callable[..., Outcome]) -> None:
    digest = sha256(bytes.fromhex(public_key(ISSUER))).hexdigest()
    answer = {"keys": [{"public_key": "ab" * 32}], "revoked": [{"sha256": digest, "reason": "it leaked"}]}
    assert run(genuine(FIXED), key=json.dumps(answer)) == (1, {"issuer": "signing key was revoked"})
    assert run(forged(FIXED), key=json.dumps(answer)) == (1, {"issuer": "signed by another"})


def test_noise_of_a_secret_that_was_not_committed_to_is_refused(run: Callable[..., Outcome]) -> None:
    answer = {"keys": [{"public_key": public_key(ISSUER)}], "epochs": [{"sha256": "00" * 32}]}
    assert run(genuine(FIXED), key=json.dumps(answer)) == (1, {"epoch": "not committed to"})


def test_a_key_file_without_a_key_does_not_count_as_none_given(run: Callable[..., Outcome]) -> None:
    assert list(run(genuine(FIXED), key="")[1]) == ["issuer"]
    assert list(run(genuine(FIXED), key="\n")[1]) == ["issuer"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"null", b'{"claim": 5}', b"\xff", b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000],
)
def test_what_is_no_document_is_refused(content: bytes, run: Callable[..., Outcome]) -> None:
    assert run(content)[0] == 1


def test_bad_usage_ends_with_2() -> None:
    ended = subprocess.run([sys.executable, "-I", str(VERIFIER)], capture_output=True, check=False)
    assert ended.returncode == 2
