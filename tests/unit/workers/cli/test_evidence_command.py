"""`certrad evidence`: every entry names a file or says why there is none, and whatever is changed is found."""

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import pytest

from certrad.models.certificates.signature import sign
from certrad.models.evaluation.certified import COLUMNS, Row
from certrad.workers.cli.main import main
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.offline.evidence.requirements import ITEMS, REQUIREMENTS

OPTIONAL = {"evaluation", "audit", "selftest", "sbom"}


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a signing key, and settings with secrets."""
    monkeypatch.setenv("CERTRAD_REDIS_URL", "redis://user:hunter2@127.0.0.1:1/0")
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
        "audit": {"sound": True, "verdicts": [], "settings": {"seed": 0}, "images": ["DOE^JANE.dcm"]},
        "selftest": {"schema": "certrad.selftest/1", "passed": "yes"},
        "sbom": {"bomFormat": "CycloneDX", "components": []},
    }
    files["selftest"] = sign(files["selftest"], SigningKeys(data_dir / "signing").current())
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
    for word in (b"hunter2", b"PRIVATE KEY", b"DOE^JANE", b"/a/path"):
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


def test_without_a_signing_key_nothing_is_written(tmp_path: Path) -> None:
    arguments = ["--task", "mednist", "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data")]
    assert main(["evidence", *arguments]) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--evaluation", "--audit", "--selftest", "--sbom"])
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
    stripped.write_text(json.dumps({**signed, "passed": "yes", "signature": None}))
    arguments = ["--out", str(tmp_path / "out"), "--data-dir", str(data_dir), "--selftest", str(stripped)]
    assert main(["evidence", "--task", "mednist", *arguments]) == 2
    assert not (tmp_path / "out").exists()
    assert main(["evidence", "--task", "mednist", *arguments, "--unsigned-selftest"]) == 0
