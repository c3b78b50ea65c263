"""`certrad access`: makes, shows, replaces and revokes keys, and the audit trail has each change without a key."""

import json
from pathlib import Path

import pytest

from certrad.workers.cli import main as cli
from certrad.workers.contract.access_keys import AccessKeys
from tests.support.audit import audited


def run(tmp_path: Path, *arguments: str) -> int:
    return cli.main(["access", *arguments, "--data-dir", str(tmp_path)])


def test_the_life_of_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "add", "one", "--scopes", "read,submit") == 0
    first = capsys.readouterr().out.strip()
    keys = AccessKeys(tmp_path / "access")
    assert keys.of(first)
    first_id = first.split("_")[1]
    assert run(tmp_path, "rotate", first_id, "--overlap", "3600", "--json") == 0
    second = json.loads(capsys.readouterr().out)
    assert keys.of(second["key"])
    assert run(tmp_path, "revoke", first_id) == 0
    assert capsys.readouterr().out == f"{first_id} is revoked\n"
    assert run(tmp_path, "list", "--json") == 0
    listed = capsys.readouterr().out
    assert [(key["id"], key["tenant"], key["scopes"]) for key in json.loads(listed)] == [
        (first_id, "one", ["read", "submit"]),
        (second["id"], "one", ["read", "submit"]),
    ]
    assert run(tmp_path, "list") == 0
    assert first_id in capsys.readouterr().out
    events = audited(tmp_path / "audit-trail")
    assert [(event["name"], event["action"], event["tenant"], event["key"]) for event in events] == [
        ("access_changed", "add", "one", first_id),
        ("access_changed", "rotate", "one", second["id"]),
        ("access_changed", "revoke", "one", first_id),
    ]
    for secret in (first, second["key"]):
        assert secret.split("_", 2)[2] not in json.dumps(events) + listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add"], "`NAME` must be given with add, rotate and revoke"),
        (["add", "one"], "`--scopes` must be given with add"),
        (["add", "One", "--scopes", "read"], "a tenant must be 1 to 32 of a-z"),
        (["add", "one", "--scopes", "write"], "must be one or more of submit, read, tune, admin"),
        (["list", "one"], "goes with them only"),
        (["rotate", "x"], "no key in use has the id 'x'"),
        (["revoke", "x", "--overlap", "1"], "`--overlap` goes with rotate only"),
    ],
)
def test_bad_usage_is_told(tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "access" / "keys.json").exists()


def test_a_damaged_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "access").mkdir()
    (tmp_path / "access" / "keys.json").write_text("{")
    assert run(tmp_path, "list") == 1
    assert "is no file of keys that this version reads" in capsys.readouterr().err
