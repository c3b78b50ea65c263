"""Every secret can lie in a file, and no file that others can get at is taken."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from certrad.app.settings import ApiSettings
from certrad.workers.contract import secret_files
from certrad.workers.contract.secret_files import read_secret, secret_settings
from certrad.workers.contract.settings import SharedSettings
from certrad.workers.settings import ConnectorSettings, StackSettings

SECRET = "whsec_dGhlIHNlY3JldCBvZiBhIHRlc3Qgb2YgY2VydHJhZA=="  # long enough for every setting
NAMES_OF_SECRETS = re.compile(r"(^|_)(passwords?|secrets?|tokens?|keys?)(_|$)")
ABOUT_SECRETS: frozenset[str] = frozenset()
"""Settings whose names match and whose values are none: paths, counts and the like."""


def all_settings() -> list[type[BaseSettings]]:
    """Every class of settings: those named here, and whatever else inherits from the same base."""
    found: list[type[BaseSettings]] = []
    waiting: list[type[BaseSettings]] = [SharedSettings]
    assert {ApiSettings, StackSettings.__base__, ConnectorSettings} <= set(SharedSettings.__subclasses__())
    while waiting:
        found.append(kind := waiting.pop())
        waiting += kind.__subclasses__()
    return found


SECRETS = [(kind, name) for kind in all_settings() for name in secret_settings(kind)]


def closed_file(path: Path, content: str | bytes) -> Path:
    """A file of a secret that only its owner can read."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o400)
    return path


@pytest.mark.parametrize(("kind", "name"), SECRETS)
def test_a_secret_can_lie_in_a_file(
    kind: type[BaseSettings], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTRAD_REDIS_URL", "redis://redis.example:6379/0")  # a password of Redis needs one
    monkeypatch.setenv(f"CERTRAD_{name.upper()}_FILE", str(closed_file(tmp_path / "secret", f"{SECRET}\n")))
    value = getattr(kind(), name)
    assert isinstance(value, SecretStr)
    assert value.get_secret_value() == SECRET


@pytest.mark.parametrize("kind", all_settings())
def test_no_secret_hides_as_plain_text(kind: type[BaseSettings]) -> None:
    named = {name for name in kind.model_fields if NAMES_OF_SECRETS.search(name)} - ABOUT_SECRETS
    assert named <= set(secret_settings(kind))


def test_the_settings_that_hold_secrets_are_found() -> None:
    assert {"pacs_password", "pacs_token", "trigger_secret"} <= {name for _, name in SECRETS}


def test_a_secret_that_is_given_twice_is_refused_without_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTRAD_PACS_TOKEN", "the-first-one")
    monkeypatch.setenv("CERTRAD_PACS_TOKEN_FILE", str(closed_file(tmp_path / "secret", "the-second-one")))
    with pytest.raises(ValidationError) as refusal:
        ConnectorSettings()
    (problem,) = refusal.value.errors()
    assert (problem["loc"], problem["msg"]) == (
        ("pacs_token",),
        "it is set, and CERTRAD_PACS_TOKEN_FILE too; keep one of them",
    )
    assert "-one" not in str(refusal.value)


def test_a_variable_that_is_empty_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTRAD_PACS_TOKEN_FILE", "")
    assert ConnectorSettings().pacs_token is None


def test_a_setting_that_is_no_secret_is_not_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTRAD_PACS_USER_FILE", str(closed_file(tmp_path / "user", "somebody")))
    assert ConnectorSettings().pacs_user is None


@pytest.mark.parametrize(
    ("content", "secret"),
    [("word", "word"), ("word\n", "word"), ("word\r\n", "word"), ("word\n\n", "word\n"), (" word ", " word ")],
)
def test_one_line_break_at_the_end_does_not_count(content: str, secret: str, tmp_path: Path) -> None:
    assert read_secret(closed_file(tmp_path / "secret", content)) == secret


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o606, 0o644, 0o666])
def test_a_file_that_others_can_get_at_is_refused(mode: int, tmp_path: Path) -> None:
    file = closed_file(tmp_path / "secret", SECRET)
    file.chmod(mode)
    with pytest.raises(ValueError, match="must be closed to other users") as refusal:
        read_secret(file)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_the_owner_and_the_group_may_read_it(mode: int, tmp_path: Path) -> None:
    file = closed_file(tmp_path / "secret", SECRET)
    file.chmod(mode)
    assert read_secret(file) == SECRET


@pytest.mark.parametrize(("mode", "taken"), [(0o444, True), (0o446, False)])
def test_where_containers_mount_secrets_others_may_read_and_not_write(
    mode: int, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_files, "MOUNTED", tmp_path)
    file = closed_file(tmp_path / "secret", SECRET)
    file.chmod(mode)
    if taken:
        assert read_secret(file) == SECRET
    else:
        with pytest.raises(ValueError, match="must be closed to other users"):
            read_secret(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "must hold 1 to"), (b"\n", "must hold 1 to"), (b"a" * 65_537, "must hold 1 to"), (b"\xff", "must be text")],
)
def test_a_file_without_a_usable_secret_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        read_secret(closed_file(tmp_path / "secret", content))


def test_a_file_that_is_not_there_is_told_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTRAD_PACS_PASSWORD_FILE", str(tmp_path / "nothing"))
    with pytest.raises(ValidationError) as refusal:
        ConnectorSettings()
    (problem,) = refusal.value.errors()
    assert problem["loc"] == ("pacs_password",)
    assert problem["msg"].endswith("nothing cannot be read: No such file or directory")
