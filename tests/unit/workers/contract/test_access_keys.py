"""API keys are shown once, kept as digests, compared in constant time, and changed by one process at a time."""

import hmac
import json
import multiprocessing
import stat
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from certrad.workers.contract.access import Caller
from certrad.workers.contract.access_keys import AccessKeys, KeyFileError


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(tmp_path: Path, clock: Clock) -> AccessKeys:
    return AccessKeys(tmp_path / "access", clock=clock)


def test_the_file_holds_the_digest_and_no_key(keys: AccessKeys, tmp_path: Path) -> None:
    made = keys.add("one", ["submit", "read"])
    file = tmp_path / "access" / "keys.json"
    assert made.secret.split("_", 2)[:2] == ["certrad", made.kept.id]
    assert len(made.secret.split("_", 2)[2]) == 43  # 256 bits in base64url
    assert made.secret.split("_", 2)[2] not in file.read_text()
    assert made.kept.sha256 in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_key_finds_its_caller(keys: AccessKeys, tmp_path: Path) -> None:
    made = keys.add("one", ["submit", "read"])
    found = AccessKeys(tmp_path / "access").of(made.secret)
    assert found is not None
    assert found.caller == Caller(tenant="one", scopes=frozenset({"submit", "read"}), key_id=made.kept.id)


@pytest.mark.parametrize(
    "change", [lambda key: key[:-1], lambda key: key + "A", str.upper, lambda key: key.split("_")[1]]
)
def test_what_is_nearly_a_key_is_none(keys: AccessKeys, change: object) -> None:
    made = keys.add("one", ["read"])
    assert callable(change)
    assert keys.of(change(made.secret)) is None


def test_digests_are_compared_in_constant_time_also_of_an_unknown_id(
    keys: AccessKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = keys.add("one", ["read"])
    compared: list[tuple[object, object]] = []
    compare = hmac.compare_digest

    def watched(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    for secret in (made.secret, f"certrad_{made.kept.id}_wrong", "certrad_unknown_wrong", "", "\udcff"):
        keys.of(secret)
    assert len(compared) == 5
    assert all(len(str(one)) == len(str(other)) == 64 for one, other in compared)


def test_a_tenant_has_two_keys_in_use_with_the_same_scopes(keys: AccessKeys) -> None:
    first = keys.add("one", ["read"])
    second = keys.rotate(first.kept.id)
    assert keys.of(first.secret)
    assert keys.of(second.secret)
    refusal = f"{first.kept.id} and {second.kept.id}: revoke one first"
    with pytest.raises(ValueError, match=refusal):
        keys.add("one", ["read"])
    with pytest.raises(ValueError, match=refusal):
        keys.rotate(second.kept.id)
    assert keys.add("one", ["read", "submit"])
    assert keys.add("two", ["read"])
    keys.revoke(first.kept.id)
    assert keys.of(first.secret) is None
    assert keys.rotate(second.kept.id)


def test_an_overlap_ends_the_old_key(keys: AccessKeys, clock: Clock) -> None:
    old = keys.add("one", ["read"])
    new = keys.rotate(old.kept.id, overlap=60)
    clock.now += 59
    assert keys.of(old.secret)
    clock.now += 1
    assert keys.of(old.secret) is None
    assert keys.of(new.secret)
    with pytest.raises(ValueError, match="no key in use"):
        keys.rotate(old.kept.id)


@pytest.mark.parametrize("tenant", ["", "A", "a b", "-a", "a" * 33, "../x"])
def test_a_tenant_has_a_plain_name(keys: AccessKeys, tenant: str) -> None:
    with pytest.raises(ValueError, match="a tenant must be"):
        keys.add(tenant, ["read"])


@pytest.mark.parametrize("scopes", [[], ["write"]])
def test_scopes_are_known(keys: AccessKeys, scopes: list[str]) -> None:
    with pytest.raises(ValueError, match="scopes must be one or more of submit, read, tune, admin"):
        keys.add("one", scopes)  # type: ignore[arg-type]


def test_a_change_of_another_process_is_seen(keys: AccessKeys, tmp_path: Path) -> None:
    assert keys.of("certrad_x_y") is None
    other = AccessKeys(tmp_path / "access")
    made = other.add("one", ["read"])
    assert keys.of(made.secret)
    other.revoke(made.kept.id)
    assert keys.of(made.secret) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"keys": [{"id": "x"}]}', '{"keys": [{"id": "x", "tenant": "../x", "scopes": []}]}']
)
def test_a_damaged_file_lets_nobody_in(keys: AccessKeys, tmp_path: Path, content: str) -> None:
    made = keys.add("one", ["read"])
    assert keys.of(made.secret)
    (tmp_path / "access" / "keys.json").write_text(content)
    with pytest.raises(KeyFileError):
        keys.of(made.secret)
    with pytest.raises(KeyFileError):
        keys.add("two", ["read"])
    assert (tmp_path / "access" / "keys.json").read_text() == content


def _add(directory: Path, tenant: str) -> None:
    AccessKeys(directory).add(tenant, ["read"])


def test_a_change_waits_for_the_one_that_has_begun(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        others: list[Future[None]] = []

        def clock() -> float:  # it is asked between reading and writing the file
            if not others:
                others.append(pool.submit(_add, tmp_path, "two"))
                wait(others, timeout=1)  # the other change ends in this time if nothing holds it up
            return time.time()

        AccessKeys(tmp_path, clock=clock).add("one", ["read"])
        others[0].result()
    assert [key.tenant for key in AccessKeys(tmp_path).all()] == ["one", "two"]


def test_no_change_of_several_processes_is_lost(tmp_path: Path) -> None:
    tenants = [f"t{number}" for number in range(12)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(_add, [(tmp_path, tenant) for tenant in tenants])
    assert sorted(key.tenant for key in AccessKeys(tmp_path).all()) == sorted(tenants)
    assert len(json.loads((tmp_path / "keys.json").read_text())["keys"]) == 12
