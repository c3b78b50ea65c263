"""`certrad evidence`: every entry names a file or says why there is none, and whatever is changed is found."""

import json
import re
from collections.abc import Callable
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from certrad.models.certificates.envelopes.dsse import STATEMENT_TYPE, seal_statement
from certrad.models.certificates.signature import is_signed, sign
from certrad.models.evaluation.certified import COLUMNS, Row
from certrad.models.shipped import shipped_adapters, shipped_tasks
from certrad.workers.cli.main import main
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.offline.evidence import gather, made_here
from certrad.workers.offline.evidence.requirements import ITEMS, REQUIREMENTS
from certrad.workers.settings import StackSettings

OPTIONAL = {"evaluation", "audit", "attack"}
"""What the command cannot make itself."""
ADAPTER = next(iter(shipped_adapters()))
UNKNOWN = "<i>-0123456789abcdef"

CLASSES = shipped_tasks()["mednist"].class_names
IMAGE = {"label": CLASSES[0], "clean": CLASSES[0], "non_adaptive": CLASSES[0], "adaptive": CLASSES[1]}
ATTACK = {
    "task": "mednist",
    "backbone": "demo",
    "prompt": "<script>",
    "adapter": ADAPTER,
    "epsilon": 8 / 255,
    "seed": 0,
    "attacks": {"non_adaptive": "PGD-40 on image features", "adaptive": "PGD-40 on the prompt"},
    "gradient_masking_suspected": False,
    "images": [
        {"file": "/scans/ROE^RICHARD.dcm", **IMAGE},
        {"file": "b.png", **IMAGE, "label": None, "clean": CLASSES[2], "non_adaptive": "invalid"},
    ],
}
VERDICT = {
    **{"mode": "<script>", "scope": "frozen_prompt", "planted": False, "sigma": 0.25, "images": 9, "certified": 7},
    **{"attacked": 6, "targets": 2, "contradictions": 1, "p_value": 0.5, "mean_radius": 0.4},
}


BILL = {"bomFormat": "CycloneDX", "components": []}


def report_of(keys: SigningKeys, passed: bool = True) -> bytes:
    return json.dumps(sign({"schema": "certrad.selftest/1", "passed": passed}, keys.current())).encode()


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a signing key, settings with secrets, and a quick self-test and bill of materials."""
    monkeypatch.setenv("CERTRAD_REDIS_URL", "redis://user:hunter2@127.0.0.1:1/0")
    monkeypatch.setattr(gather, "selftest_report", lambda _, keys: report_of(keys))
    monkeypatch.setattr(gather, "bill_of_materials", lambda: json.dumps(BILL).encode())
    directory = tmp_path / "data"
    SigningKeys(directory / "signing").current()
    return directory


@pytest.fixture
def inputs(tmp_path: Path, data_dir: Path) -> list[str]:
    """A file for every option."""
    rows = [
        Row(index=i, label=0, predict=0 if i < 7 else -1, radius=0.6 if i < 7 else 0.0, seconds=1.0) for i in range(10)
    ]
    table = tmp_path / "table.tsv"
    table.write_text("\n".join(["\t".join(COLUMNS), *(row.to_line() for row in rows), ""]))
    table.with_suffix(".json").write_text(json.dumps({"data": "mednist", "seed": 0, "where": "/a/path"}))
    files: dict[str, dict[str, Any]] = {
        "audit": {
            "sound": True,
            "verdicts": [{**VERDICT, "of": "POE^PAUL"}],
            "settings": {},
            "images": ["DOE^JANE.dcm"],
        },
        "attack": ATTACK,
        "selftest": json.loads(report_of(SigningKeys(data_dir / "signing"))),
        "sbom": BILL,
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return [
        "--evaluation",
        str(table),
        *(word for name in files for word in (f"--{name}", str(tmp_path / f"{name}.json"))),
    ]


def evidence(data_dir: Path, out: Path, *options: str) -> dict[str, Any]:
    assert main(["evidence", "--task", "mednist", "--out", str(out), "--data-dir", str(data_dir), *options]) == 0
    index: dict[str, Any] = json.loads((out / "index.json").read_text())
    return index


def test_every_item_names_files_that_exist_or_says_why_not(data_dir: Path, tmp_path: Path) -> None:
    index = evidence(data_dir, tmp_path / "out")
    assert [each["id"] for each in index["items"]] == list(ITEMS)
    for each in index["items"]:
        assert all((tmp_path / "out" / name).is_file() for name in each["files"])
        if each["id"] == "adapter_cards":  # there are some, if the task has a default
            assert bool(each["files"]) != bool(each["not_covered"])
            continue
        assert bool(each["files"]) == (each["id"] not in OPTIONAL)
        assert (each["not_covered"] is not None) == (each["id"] in OPTIONAL)


def test_with_all_inputs_every_item_has_a_file(data_dir: Path, tmp_path: Path, inputs: list[str]) -> None:
    index = evidence(data_dir, tmp_path / "out", *inputs)
    assert all(each["files"] for each in index["items"])
    row = next(each for each in index["certified_accuracy"] if each["radius"] == "0.5")
    assert (row["certified"], row["images"], row["low"], row["high"]) == ("7", "10", "0.347547", "0.93326")


def test_every_requirement_says_what_is_not_covered_and_names_gathered_items_only(
    data_dir: Path, tmp_path: Path
) -> None:
    index = evidence(data_dir, tmp_path / "out")
    assert [each["place"] for each in index["requirements"]] == [each.place for each in REQUIREMENTS]
    assert all(each["not_covered"] for each in index["requirements"])
    assert not OPTIONAL & {item for each in index["requirements"] for item in each["items"]}
    declared = next(each for each in index["requirements"] if each["place"] == "Article 15(3)")
    assert "no evaluation was given" in declared["not_covered"]


def test_the_page_has_every_entry_and_neither_script_nor_address(
    data_dir: Path, tmp_path: Path, inputs: list[str]
) -> None:
    index = evidence(data_dir, tmp_path / "out", *inputs)
    page = (tmp_path / "out" / "index.html").read_text()
    for each in index["items"]:
        assert escape(each["title"]) in page
    for each in index["requirements"]:
        assert f"<td>{each['place']}</td>" in page
        assert f"not covered: {escape(each['not_covered'])}" in page
    assert all(escape(limit) in page for limit in index["limits"])
    assert not re.search(r"<script|https?://|src=|@import", page)


def test_no_secret_and_nothing_of_the_inputs_but_their_figures_is_written(
    data_dir: Path, tmp_path: Path, inputs: list[str]
) -> None:
    evidence(data_dir, tmp_path / "out", *inputs)
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    for word in (b"hunter2", b"PRIVATE KEY", b"DOE^JANE", b"POE^PAUL", b"ROE^RICHARD", b"/scans", b"/a/path"):
        assert word not in written
    private = (data_dir / "signing" / "private.pem").read_bytes().splitlines()[1]
    assert private not in written


def verify(out: Path, *options: str) -> int:
    return main(["evidence", "verify", str(out), *options])


def test_what_was_not_changed_verifies(data_dir: Path, tmp_path: Path, inputs: list[str]) -> None:
    evidence(data_dir, tmp_path / "out", *inputs)
    keys = tmp_path / "keys"
    keys.write_text(SigningKeys(data_dir / "signing").public_keys()[-1].public_key)
    assert verify(tmp_path / "out") == 0
    assert verify(tmp_path / "out", "--key", str(keys)) == 0


def test_a_file_that_was_changed_added_or_removed_is_found(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    evidence(data_dir, out)
    limits = out / "limits.json"
    limits.write_bytes(limits.read_bytes() + b" ")
    (out / "cards" / "task.json").unlink()
    (out / "note.txt").write_text("new")
    capsys.readouterr()
    assert verify(out) == 1
    told = capsys.readouterr().err
    assert all(
        words in told for words in ("limits.json was changed", "cards/task.json is missing", "note.txt was added")
    )


def test_a_changed_envelope_and_a_foreign_key_are_found(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, foreign = tmp_path / "out", tmp_path / "keys"
    evidence(data_dir, out)
    SigningKeys(tmp_path / "other").current()
    foreign.write_text(SigningKeys(tmp_path / "other").public_keys()[0].public_key)
    assert verify(out, "--key", str(foreign)) == 1
    assert "not one of the issuer's" in capsys.readouterr().err
    envelope = json.loads((out / "index.dsse.json").read_text())
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    (out / "index.dsse.json").write_text(json.dumps(envelope))
    assert verify(out) == 1
    assert "signature does not verify" in capsys.readouterr().err


def test_a_key_that_was_revoked_and_a_statement_about_something_else_are_found(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, signing = tmp_path / "out", SigningKeys(data_dir / "signing")
    evidence(data_dir, out)
    holder = signing.public_keys()[0]
    keys = tmp_path / "keys.json"
    document = {"keys": [], "epochs": [], "revoked": [{"sha256": holder.sha256, "revoked_at": "2026-01-01T00:00:00Z"}]}
    document["keys"] = [{"public_key": holder.public_key}]
    keys.write_text(json.dumps(document))
    assert verify(out, "--key", str(keys)) == 1
    assert "that was revoked" in capsys.readouterr().err
    stated = {"_type": STATEMENT_TYPE, "subject": [], "predicateType": "other", "predicate": {}}
    stated["predicate"] = {"public_key": holder.public_key}
    (out / "index.dsse.json").write_bytes(seal_statement(stated, signing.current()))
    assert verify(out) == 1
    assert "no statement about evidence" in capsys.readouterr().err


def test_the_digests_of_the_images_that_a_prompt_was_tuned_on_are_left_out(data_dir: Path, tmp_path: Path) -> None:
    evidence(data_dir, tmp_path / "out")
    cards = [json.loads(path.read_bytes()) for path in (tmp_path / "out" / "cards").glob("prompt-*.json")]
    assert [card["id"] for card in cards if "tuned_on" not in card]
    assert not [card["id"] for card in cards if "tuned_on" in card]


def of_audit(tmp_path: Path, adapter: str) -> str:
    """The file of an audit with this adapter."""
    given = tmp_path / "audit.json"
    modes = [{"name": VERDICT["mode"], "classifier": {"backbone": "demo", "prompt": "template", "adapter": adapter}}]
    given.write_text(json.dumps({"sound": True, "verdicts": [VERDICT], "settings": {"modes": modes}}))
    return str(given)


def of_evaluation(tmp_path: Path, adapter: str) -> str:
    """The table of an evaluation with this adapter."""
    table = tmp_path / "table.tsv"
    row = Row(index=0, label=0, predict=0, radius=0.6, seconds=1.0)
    table.write_text("\n".join(["\t".join(COLUMNS), row.to_line(), ""]))
    classifier = {"backbone": "demo", "prompt": "template", "adapter": adapter}
    settings = {"data": "mednist", "classifier": classifier, "adapter_sha256": "ab" * 32}
    table.with_suffix(".json").write_text(json.dumps(settings))
    return str(table)


def of_attack(tmp_path: Path, adapter: str) -> str:
    """The file of an attack with this adapter."""
    given = tmp_path / "attack.json"
    given.write_text(json.dumps({**ATTACK, "adapter": adapter}))
    return str(given)


@pytest.mark.parametrize(
    ("option", "written"), [("audit", of_audit), ("evaluation", of_evaluation), ("attack", of_attack)]
)
def test_figures_name_their_adapter_and_bring_its_card_without_digests_of_images(
    data_dir: Path, tmp_path: Path, option: str, written: Callable[[Path, str], str]
) -> None:
    out = tmp_path / "out"
    index = evidence(data_dir, out, f"--{option}", written(tmp_path, ADAPTER))
    (item,) = (each for each in index["items"] if each["id"] == "adapter_cards")
    assert item["files"] == [f"cards/adapter-{ADAPTER}.json"]
    card = json.loads((out / item["files"][0]).read_bytes())
    assert (card["id"], "trained_on" in card) == (ADAPTER, False)
    page = (out / "index.html").read_text()
    assert f"adapter {ADAPTER}" in page or f"<td>{ADAPTER}</td>" in page


def test_attack_on_the_frozen_encoder_names_no_adapter(data_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / "attack.json"
    given.write_text(json.dumps({name: value for name, value in ATTACK.items() if name != "adapter"}))
    index = evidence(data_dir, tmp_path / "out", "--attack", str(given))
    assert index["attacked"]["adapter"] is None
    assert "with adapter" not in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("modes", [7, [{"name": "few-shot", "classifier": {"adapter": []}}]])
def test_audit_of_other_modes_is_refused(data_dir: Path, tmp_path: Path, modes: object) -> None:
    given = tmp_path / "audit.json"
    given.write_text(json.dumps({"sound": True, "verdicts": [VERDICT], "settings": {"modes": modes}}))
    arguments = ["--out", str(tmp_path / "out"), "--data-dir", str(data_dir), "--audit", str(given)]
    assert main(["evidence", "--task", "mednist", *arguments]) == 2


def test_adapter_that_is_not_on_this_machine_is_said_to_be_missing(data_dir: Path, tmp_path: Path) -> None:
    index = evidence(data_dir, tmp_path / "out", "--attack", of_attack(tmp_path, UNKNOWN))
    (item,) = (each for each in index["items"] if each["id"] == "adapter_cards")
    assert UNKNOWN in (item["note"] or item["not_covered"])
    assert "<i>" not in (tmp_path / "out" / "index.html").read_text()


def test_without_a_signing_key_nothing_is_written(tmp_path: Path) -> None:
    arguments = ["--task", "mednist", "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data")]
    assert main(["evidence", *arguments]) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--evaluation", "--audit", "--attack", "--selftest", "--sbom"])
def test_a_file_of_another_kind_is_refused(data_dir: Path, tmp_path: Path, option: str) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"other": true}')
    arguments = ["--task", "mednist", "--out", str(tmp_path / "out"), "--data-dir", str(data_dir), option, str(wrong)]
    assert main(["evidence", *arguments]) == 2
    assert not (tmp_path / "out").exists()


def test_an_evaluation_of_another_task_is_refused(data_dir: Path, tmp_path: Path, inputs: list[str]) -> None:
    (tmp_path / "table.json").write_text(json.dumps({"data": "eurosat", "seed": 0}))
    arguments = ["--task", "mednist", "--out", str(tmp_path / "out"), "--data-dir", str(data_dir), *inputs]
    assert main(["evidence", *arguments]) == 2


def test_a_selftest_that_was_changed_after_it_was_signed_is_refused(data_dir: Path, tmp_path: Path) -> None:
    signed = sign({"schema": "certrad.selftest/1", "passed": "no"}, SigningKeys(data_dir / "signing").current())
    changed = tmp_path / "selftest.json"
    changed.write_text(json.dumps({**signed, "passed": "yes"}))
    arguments = ["--out", str(tmp_path / "out"), "--data-dir", str(data_dir), "--selftest", str(changed)]
    assert main(["evidence", "--task", "mednist", *arguments]) == 2


def test_a_selftest_without_a_signature_is_taken_only_where_the_command_says_so(data_dir: Path, tmp_path: Path) -> None:
    signed = sign({"schema": "certrad.selftest/1", "passed": "no"}, SigningKeys(data_dir / "signing").current())
    stripped = tmp_path / "selftest.json"
    stripped.write_text(json.dumps({**signed, "passed": True, "signature": None}))
    arguments = ["--out", str(tmp_path / "out"), "--data-dir", str(data_dir), "--selftest", str(stripped)]
    assert main(["evidence", "--task", "mednist", *arguments]) == 2
    assert not (tmp_path / "out").exists()
    assert main(["evidence", "--task", "mednist", *arguments, "--unsigned-selftest"]) == 0
    assert selftest_note(tmp_path / "out") == "passed; signed by nobody"


def selftest_note(out: Path) -> str:
    index = json.loads((out / "index.json").read_text())
    return str(next(each["note"] for each in index["items"] if each["id"] == "selftest"))


def selftest_of(keys: SigningKeys, tmp_path: Path, *, passed: bool = True) -> list[str]:
    given = tmp_path / "selftest.json"
    given.write_bytes(report_of(keys, passed))
    return ["--selftest", str(given)]


@pytest.mark.parametrize(("passed", "outcome"), [(True, "passed"), (False, "not passed")])
def test_the_index_says_that_a_selftest_is_of_this_installation_and_whether_it_passed(
    data_dir: Path, tmp_path: Path, passed: bool, outcome: str
) -> None:
    given = selftest_of(SigningKeys(data_dir / "signing"), tmp_path, passed=passed)
    evidence(data_dir, tmp_path / "out", *given)
    note = f"{outcome}; signed by this installation"
    assert selftest_note(tmp_path / "out") == note
    assert f"<td>{note}</td>" in (tmp_path / "out" / "index.html").read_text()


def test_a_selftest_of_another_key_is_taken_only_where_the_command_says_so_and_the_index_names_the_key(
    data_dir: Path, tmp_path: Path
) -> None:
    foreign = SigningKeys(tmp_path / "other")
    given = selftest_of(foreign, tmp_path)
    arguments = ["--task", "mednist", "--out", str(tmp_path / "out"), "--data-dir", str(data_dir), *given]
    assert main(["evidence", *arguments]) == 2
    assert not (tmp_path / "out").exists()
    assert main(["evidence", *arguments, "--unsigned-selftest"]) == 0
    (key,) = foreign.public_keys()
    assert f"the key {key.public_key}, which is not one of this installation" in selftest_note(tmp_path / "out")


def test_a_selftest_of_a_retired_key_is_taken_and_of_a_revoked_one_is_not(data_dir: Path, tmp_path: Path) -> None:
    keys = SigningKeys(data_dir / "signing")
    given = selftest_of(keys, tmp_path)
    keys.rotate()
    evidence(data_dir, tmp_path / "retired", *given)
    assert selftest_note(tmp_path / "retired") == "passed; signed by this installation"
    keys.revoke(keys.public_keys()[0].public_key, "it leaked")
    arguments = ["--task", "mednist", "--out", str(tmp_path / "revoked"), "--data-dir", str(data_dir), *given]
    assert main(["evidence", *arguments]) == 2


def test_attacked_images_stand_by_number_with_the_class_that_held_or_did_not(
    data_dir: Path, tmp_path: Path, inputs: list[str]
) -> None:
    index = evidence(data_dir, tmp_path / "out", *inputs)
    assert [each["class_held"] for each in index["attacked"]["images"]] == [
        {"non_adaptive": True, "adaptive": False},
        {"non_adaptive": False, "adaptive": False},
    ]
    hits = {kind: share["hits"] for kind, share in index["attacked"]["accuracy"].items()}
    assert hits == {"clean": "2", "non_adaptive": "1", "adaptive": "0"}
    page = (tmp_path / "out" / "index.html").read_text()
    first, second = CLASSES[0], CLASSES[2]
    row = "".join(f"<td>{cell}</td>" for cell in ("1", first, first, first, CLASSES[1], "yes", "no"))
    assert row in page
    row = "".join(f"<td>{cell}</td>" for cell in ("2", "none", second, "invalid", CLASSES[1], "no", "no"))
    assert row in page


@pytest.mark.parametrize(
    ("attacked", "contradictions", "held", "words"),
    [(6, 1, False, "no"), (6, 0, True, "yes"), (0, 0, None, "not attacked")],
)
def test_the_table_of_an_audit_says_whether_every_certified_radius_held(
    data_dir: Path, tmp_path: Path, attacked: int, contradictions: int, held: bool | None, words: str
) -> None:
    given = tmp_path / "audit.json"
    verdict = {**VERDICT, "attacked": attacked, "contradictions": contradictions}
    given.write_text(json.dumps({"sound": True, "verdicts": [verdict], "settings": {}}))
    index = evidence(data_dir, tmp_path / "out", "--audit", str(given))
    assert [each["radius_held"] for each in index["audited"]] == [held]
    assert f"<td>{contradictions}</td><td>{words}</td>" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    "changed", [{"task": "other"}, {"images": []}, {"images": [{**IMAGE, "adaptive": "DOE^JANE"}]}, {"epsilon": None}]
)
def test_an_attack_on_another_task_without_images_or_with_other_classes_is_refused(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any]
) -> None:
    given = tmp_path / "attack.json"
    given.write_text(json.dumps({**ATTACK, **changed}))
    arguments = ["--out", str(tmp_path / "out"), "--data-dir", str(data_dir), "--attack", str(given)]
    assert main(["evidence", "--task", "mednist", *arguments]) == 2
    assert f"{given}: it must " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_file_the_command_tests_this_machine_and_signs_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CERTRAD_REDIS_URL", raising=False)
    monkeypatch.setattr(made_here, "SAMPLES", 1)
    settings = StackSettings(data_dir=tmp_path, threads=1)
    report = json.loads(made_here.selftest_report(settings, SigningKeys(settings.signing_dir)))
    assert report["signature"] is None
    SigningKeys(settings.signing_dir).current()
    report = json.loads(made_here.selftest_report(settings, SigningKeys(settings.signing_dir)))
    assert report["passed"] is True
    assert {"decoder", "signing", "counts"} <= {check["name"] for check in report["checks"]}
    assert is_signed(report)


def test_without_a_file_the_bill_of_materials_is_of_this_environment() -> None:
    bill = json.loads(made_here.bill_of_materials())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "certrad")
    found = {each["name"]: each["version"] for each in bill["components"]}
    assert found["torch"] == version("torch")
    assert "certrad" not in found
    assert "file:" not in json.dumps(bill)


@pytest.mark.parametrize("tool", ["no_such_tool", "json"])  # the second is there, and is no program
def test_without_the_tool_or_where_it_fails_the_bill_is_not_covered_and_the_command_is_named(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    monkeypatch.setattr(gather, "bill_of_materials", made_here.bill_of_materials)
    monkeypatch.setattr(made_here, "_TOOL", tool)
    index = evidence(data_dir, tmp_path / "out")
    (reason,) = [each["not_covered"] for each in index["items"] if each["id"] == "sbom"]
    assert "make sbom" in reason
    assert not (tmp_path / "out" / "sbom.json").exists()


def test_a_device_that_is_not_here_leaves_the_selftest_out_with_the_reason(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "selftest_report", made_here.selftest_report)
    monkeypatch.setenv("CERTRAD_DEVICE", "abacus")
    index = evidence(data_dir, tmp_path / "out")
    (reason,) = [each["not_covered"] for each in index["items"] if each["id"] == "selftest"]
    assert "CERTRAD_DEVICE" in reason
    assert "certrad selftest --out" in reason
