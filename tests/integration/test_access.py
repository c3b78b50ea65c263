"""The service is open on loopback; elsewhere keys, scopes, sessions and limits decide who gets in."""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from redis import Redis

from certrad.app.api.scopes import NEEDED, PUBLIC, TO_SEND
from certrad.app.api.sessions import COOKIE, MOST_SESSIONS
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.workers.contract.access import SCOPES, Scope
from certrad.workers.contract.access_keys import AccessKeys
from certrad.workers.contract.catalogue import Catalogue
from tests.support.api import PNG, card
from tests.support.api_server import api_server
from tests.support.archives import classes, zipped
from tests.support.audit import audited
from tests.support.keys import bearing, make_key
from tests.support.problems import assert_problem
from tests.support.processes import wait_for

pytestmark = pytest.mark.integration

SECRET: Final = "a secret of the PACS"
PAGE: Final = {"origin": "http://localhost", "host": "localhost"}
STUDY: Final = {"study_instance_uid": "1.2.3"}


def service(
    settings: ApiSettings, url: str = "http://testserver", **changes: Any
) -> AbstractContextManager[TestClient]:
    return TestClient(create_app(settings.model_copy(update=changes)), base_url=url)


@pytest.fixture
def closed(redis: Redis, api_settings: ApiSettings) -> Iterator[TestClient]:
    with service(api_settings, access="closed") as client:
        yield client


@pytest.fixture
def key(api_settings: ApiSettings) -> str:
    return make_key(api_settings.access_dir, "one")


def test_every_call_but_the_public_ones_wants_a_key(closed: TestClient) -> None:
    paths = create_app(ApiSettings()).openapi()["paths"]
    asked = 0
    for path, methods in paths.items():
        for method, operation in methods.items():
            answer = closed.request(method, path.replace("{", "").replace("}", ""))
            if operation["operationId"] in PUBLIC:
                assert answer.status_code != 401 or operation["operationId"] == "start_session"
            else:
                assert_problem(answer, "unauthenticated")
                assert answer.headers["www-authenticate"] == 'Bearer realm="certrad"'
                asked += 1
    assert asked > 25
    for path in ("/openapi.json", "/unheard-of", "/jobs/x/unheard-of"):
        assert_problem(closed.get(path), "unauthenticated")


def test_probes_published_keys_and_the_page_want_none(closed: TestClient) -> None:
    for path in ("/health/live", "/health/ready", "/.well-known/certrad-keys", "/", "/page/service.json"):
        assert closed.get(path).status_code == 200, path


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer certrad", "Bearer certrad_x_y", "Basic {key}", "Bearer {key}x"]
)
def test_what_is_no_key_lets_nobody_in(closed: TestClient, key: str, given: str) -> None:
    assert_problem(closed.get("/jobs", headers={"authorization": given.format(key=key)}), "unauthenticated")
    assert closed.get("/jobs", headers=bearing(key)).status_code == 200


def test_a_revoked_and_an_expired_key_let_nobody_in(closed: TestClient, api_settings: ApiSettings) -> None:
    keys = AccessKeys(api_settings.access_dir)
    revoked, expired = keys.add("one", ["read"]), keys.add("two", ["read"])
    keys.rotate(expired.kept.id, overlap=0)
    keys.revoke(revoked.kept.id)
    for made in (revoked, expired):
        assert_problem(closed.get("/jobs", headers=bearing(made.secret)), "unauthenticated")


def test_nobody_gets_in_while_the_keys_cannot_be_read(closed: TestClient, key: str, api_settings: ApiSettings) -> None:
    api_settings.access_dir.joinpath("keys.json").write_text("{")
    assert_problem(closed.get("/jobs", headers=bearing(key)), "access_unavailable")


@pytest.mark.parametrize(
    ("url", "access", "is_open"),
    [
        ("http://127.0.0.1", "auto", True),
        ("http://127.0.0.2:8000", "auto", True),
        ("http://[::1]", "auto", True),
        ("http://127.0.0.1", "closed", False),
        ("http://10.0.0.1", "auto", False),
        ("http://[2001:db8::1]:8000", "auto", False),
    ],
)
def test_access_is_open_on_loopback_alone(
    redis: Redis, api_settings: ApiSettings, url: str, access: str, is_open: bool
) -> None:
    with service(api_settings, url=url, access=access) as client:
        answer = client.get("/jobs")
        if is_open:
            assert answer.status_code == 200
            assert client.get("/session").json()["access"] == "open"
        else:
            assert_problem(answer, "unauthenticated")


def test_access_behind_a_named_proxy_is_closed_on_loopback_too(redis: Redis, api_settings: ApiSettings) -> None:
    with service(api_settings, url="http://127.0.0.1", access="auto", trusted_proxies="192.0.2.1") as client:
        assert_problem(client.get("/jobs"), "unauthenticated")


def test_nobody_logs_in_while_the_keys_cannot_be_read(closed: TestClient, key: str, api_settings: ApiSettings) -> None:
    api_settings.access_dir.joinpath("keys.json").write_text("{")
    assert_problem(closed.post("/session", json={"key": key}, headers=PAGE), "access_unavailable")


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Real-IP", "Forwarded", "Via"]
)
def test_an_open_service_refuses_what_a_proxy_passes_on(api: TestClient, name: str) -> None:
    answer = api.get("/jobs", headers={name: "192.0.2.1"})
    assert "CERTRAD_ACCESS=closed" in assert_problem(answer, "unauthenticated")["detail"]
    assert api.get("/health/live", headers={name: "192.0.2.1"}).status_code == 200


def test_only_a_named_proxy_says_who_the_client_is(redis: Redis, api_settings: ApiSettings) -> None:
    forwarded = {"x-forwarded-for": "192.0.2.9", "x-forwarded-proto": "https"}
    trail = api_settings.audit_dir
    for proxies, address in (("127.0.0.0/8", "192.0.2.9"), ("198.51.100.7", "127.0.0.1"), ("", "127.0.0.1")):
        settings = api_settings.model_copy(update={"access": "closed", "trusted_proxies": proxies})
        with api_server(settings) as url:
            assert httpx.get(f"{url}/jobs", headers=forwarded).status_code == 401
        failed = [event for event in audited(trail) if event["name"] == "authentication_failed"]
        assert failed[-1]["network"] == address


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_does_what_its_scope_says_alone(closed: TestClient, api_settings: ApiSettings, scope: Scope) -> None:
    headers = bearing(make_key(api_settings.access_dir, "one", [scope]))
    answers = {
        "certify": closed.post("/certify", headers=headers, content=PNG),
        "list_jobs": closed.get("/jobs", headers=headers),
        "tune_prompt": closed.post("/prompts", headers=headers),
        "metrics": closed.get("/metrics", headers=headers),
        "list_tasks": closed.get("/tasks", headers=headers),
        "verify": closed.post("/verify", headers=headers, content=b"{}"),
    }
    for operation, answer in answers.items():
        if scope in NEEDED[operation]:
            assert answer.status_code not in (401, 403), operation
        else:
            needed = ", ".join(f"`{each}`" for each in sorted(NEEDED[operation]))
            assert needed in assert_problem(answer, "scope_missing")["detail"]


def test_a_job_is_cancelled_and_erased_with_the_scope_that_sends_one_of_its_kind(
    closed: TestClient, api_settings: ApiSettings
) -> None:
    submit, tune = (bearing(make_key(api_settings.access_dir, "one", [scope])) for scope in TO_SEND.values())
    images = {"images": ("classes.zip", zipped(classes(["cat", "dog"], 2)))}
    certifying = closed.post("/certify", headers=submit, content=PNG)
    tuning = closed.post("/prompts", headers=tune, files=images)
    for sent, own, foreign in ((certifying, submit, tune), (tuning, tune, submit)):
        address = f"/jobs/{sent.json()['id']}"
        for status in (200, 204):  # cancelled, then erased
            assert_problem(closed.delete(address, headers=foreign), "scope_missing")
            assert closed.delete(address, headers=own).status_code == status


def test_what_is_everyones_needs_the_scope_admin(closed: TestClient, redis: Redis, api_settings: ApiSettings) -> None:
    tune = bearing(make_key(api_settings.access_dir, "one", ["tune"]))
    admin = bearing(make_key(api_settings.access_dir, "one", ["admin"]))
    own, shared = "own-0123456789abcdef", card().id
    Catalogue(redis).publish_prompt(card())
    Catalogue(redis).publish_prompt(card(id=own), ["one"])
    assert closed.delete(f"/prompts/{own}", headers=tune).status_code == 204
    assert closed.patch(f"/prompts/{own}", headers=tune, json={"withdrawn": False}).status_code == 200
    for change in ({"withdrawn": True}, {"default_for": "mednist"}):
        assert_problem(closed.patch(f"/prompts/{shared}", headers=tune, json=change), "scope_missing")
    assert_problem(closed.delete(f"/prompts/{shared}", headers=tune), "scope_missing")
    assert closed.patch(f"/prompts/{shared}", headers=admin, json={"default_for": "mednist"}).status_code == 200
    assert closed.delete(f"/prompts/{shared}", headers=admin).status_code == 204


def test_the_secret_of_the_pacs_opens_its_routes_alone(redis: Redis, api_settings: ApiSettings) -> None:
    pacs = {"certrad-trigger-secret": SECRET}
    with service(api_settings, access="closed", trigger_secret=SecretStr(SECRET)) as client:
        assert client.post("/triggers/study", headers=pacs, json=STUDY).status_code == 202
        assert client.post("/triggers/study", headers=bearing(SECRET), json=STUDY).status_code == 202
        wrong = {"certrad-trigger-secret": "another secret of it"}
        assert_problem(client.post("/triggers/study", headers=wrong, json=STUDY), "unauthenticated")
        assert_problem(client.get("/jobs", headers=pacs), "unauthenticated")


def log_in(client: TestClient, key: str) -> Any:
    return client.post("/session", json={"key": key}, headers=PAGE)


def test_a_session_stands_for_its_key(closed: TestClient, key: str, redis: Redis) -> None:
    answer = log_in(closed, key)
    assert answer.status_code == 201
    assert (answer.json()["tenant"], set(answer.json()["scopes"])) == ("one", set(SCOPES))
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Max-Age=43200", "Path=/"):
        assert part in cookie
    assert key not in answer.text + cookie
    assert closed.get("/jobs").status_code == 200
    assert closed.get("/session").json()["tenant"] == "one"
    assert closed.delete("/session", headers=PAGE).status_code == 204
    assert_problem(closed.get("/jobs"), "unauthenticated")
    assert not list(redis.scan_iter("certrad:session:*"))


def test_redis_holds_no_cookie_and_no_key(closed: TestClient, key: str, redis: Redis) -> None:
    cookie = log_in(closed, key).cookies[COOKIE]
    stored: list[bytes] = list(redis.scan_iter("certrad:session:*"))
    assert len(stored) == 1
    assert 43_100 < redis.ttl(stored[0]) <= 43_200
    dumped = repr([stored, *map(redis.get, stored)])
    assert cookie not in dumped
    assert key not in dumped


def test_whoever_writes_redis_makes_no_session(closed: TestClient, key: str, redis: Redis) -> None:
    closed.cookies.set(COOKIE, log_in(closed, key).cookies[COOKIE])
    name = next(iter(redis.scan_iter("certrad:session:*")))
    key_id = key.split("_")[1]
    redis.set(name, f"{key_id} {'0' * 64}")
    assert_problem(closed.get("/jobs"), "unauthenticated")


def test_a_session_ends_with_its_key(closed: TestClient, key: str, api_settings: ApiSettings) -> None:
    log_in(closed, key)
    assert closed.get("/jobs").status_code == 200
    AccessKeys(api_settings.access_dir).revoke(key.split("_")[1])
    assert_problem(closed.get("/jobs"), "unauthenticated")


def test_a_key_has_a_bounded_number_of_sessions_and_the_oldest_ends(
    closed: TestClient, key: str, redis: Redis, api_settings: ApiSettings
) -> None:
    other = log_in(closed, make_key(api_settings.access_dir, "two")).cookies[COOKIE]
    cookies = [log_in(closed, key).cookies[COOKIE] for _ in range(MOST_SESSIONS + 2)]
    assert len(list(redis.scan_iter("certrad:session:*"))) == MOST_SESSIONS + 1
    answers = []
    for cookie in (*cookies, other):
        closed.cookies.clear()
        answers.append(closed.get("/session", headers={"cookie": f"{COOKIE}={cookie}"}).status_code)
    assert answers == [401, 401] + [200] * (MOST_SESSIONS + 1)


def test_a_session_that_ended_counts_no_more(closed: TestClient, key: str, redis: Redis) -> None:
    log_in(closed, key)
    closed.delete("/session", headers=PAGE)
    assert not list(redis.scan_iter("certrad:sessions:*"))


def test_logins_are_requests_of_the_tenant(redis: Redis, api_settings: ApiSettings, key: str) -> None:
    with service(api_settings, access="closed", requests_per_minute=2) as client:
        assert [log_in(client, key).status_code for _ in range(2)] == [201, 201]
        answer = log_in(client, key)
        assert_problem(answer, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60


@pytest.mark.parametrize("way", ["key", "session", "logout"])
def test_a_stream_ends_with_what_opened_it(redis: Redis, api_settings: ApiSettings, key: str, way: str) -> None:
    settings = api_settings.model_copy(update={"access": "closed"})
    with api_server(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        job = client.post("/certify", headers=bearing(key), content=PNG).json()["id"]
        if way != "key":
            client.post("/session", json={"key": key})
        headers = bearing(key) if way == "key" else {}
        with client.stream("GET", f"/jobs/{job}/events", headers=headers) as stream:
            lines = stream.iter_lines()
            wait_for(lambda: "still here" in next(lines), what="the first beat")
            if way == "logout":
                client.delete("/session", headers={"origin": url})
            else:
                AccessKeys(api_settings.access_dir).revoke(key.split("_")[1])
            assert len(list(lines)) < 100  # it ends at all


def test_a_cookie_of_https_is_sent_over_https_only(closed: TestClient, key: str) -> None:
    for scheme, is_secure in (("https", True), ("http", False)):
        answer = closed.post(f"{scheme}://localhost/session", json={"key": key})
        assert ("Secure" in answer.headers["set-cookie"]) is is_secure


def test_a_cookie_alone_changes_nothing(closed: TestClient, key: str) -> None:
    log_in(closed, key)
    assert_problem(closed.post("/certify", content=PNG), "foreign_origin")
    foreign = {"origin": "http://evil.example"}
    assert_problem(closed.post("/certify", content=PNG, headers=foreign), "foreign_origin")
    assert closed.post("/certify", content=PNG, headers=PAGE).status_code == 202
    assert closed.post("/certify", content=PNG, headers=bearing(key)).status_code == 202


def test_no_session_without_a_key(closed: TestClient, key: str) -> None:
    for body in ({"key": f"{key}x"}, {"key": ""}):
        assert_problem(closed.post("/session", json=body), "unauthenticated")
    assert_problem(closed.post("/session"), "unauthenticated")
    assert closed.post("/session", headers=bearing(key)).status_code == 201


def test_too_many_requests_wait(redis: Redis, api_settings: ApiSettings, key: str) -> None:
    other = bearing(make_key(api_settings.access_dir, "two"))
    limits: dict[str, Any] = {"submissions_per_minute": 2, "requests_per_minute": 3}
    with service(api_settings, access="closed", **limits) as client:
        for _ in range(2):
            assert client.post("/certify", headers=bearing(key), content=PNG).status_code == 202
        answer = client.post("/certify", headers=bearing(key), content=PNG)
        assert_problem(answer, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert client.post("/certify", headers=other, content=PNG).status_code == 202
        for _ in range(3):
            assert client.get("/tasks", headers=bearing(key)).status_code == 200
        assert_problem(client.get("/tasks", headers=bearing(key)), "rate_limited")


def test_what_a_scope_refuses_is_counted_too(redis: Redis, api_settings: ApiSettings) -> None:
    headers = bearing(make_key(api_settings.access_dir, "one", ["read"]))
    with service(api_settings, access="closed", submissions_per_minute=2) as client:
        codes = [client.post("/certify", headers=headers, content=PNG).json()["code"] for _ in range(4)]
    assert codes == ["scope_missing"] * 2 + ["rate_limited"] * 2
    assert len([event for event in audited(api_settings.audit_dir) if event["name"] == "authentication_failed"]) == 2


def test_refusals_are_counted_and_keys_get_in_all_the_same(redis: Redis, api_settings: ApiSettings, key: str) -> None:
    with service(api_settings, access="closed", refusals_per_minute=2) as client:
        for path in ("/jobs", "/tasks"):
            assert_problem(client.get(path), "unauthenticated")
        answer = client.get("/jobs")
        assert_problem(answer, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert_problem(client.post("/session", json={"key": "wrong"}), "rate_limited")
        assert client.get("/jobs", headers=bearing(key)).status_code == 200
    failed = [event for event in audited(api_settings.audit_dir) if event["name"] == "authentication_failed"]
    assert len(failed) == 2


def test_what_a_proxy_passes_on_fills_no_trail(redis: Redis, api_settings: ApiSettings) -> None:
    with service(api_settings, refusals_per_minute=2) as client:
        codes = [client.get("/jobs", headers={"via": "1.1 proxy"}).json()["code"] for _ in range(4)]
    assert codes == ["unauthenticated"] * 2 + ["rate_limited"] * 2
    assert len([event for event in audited(api_settings.audit_dir) if event["name"] == "authentication_failed"]) == 2


def test_an_open_service_counts_nothing(redis: Redis, api_settings: ApiSettings) -> None:
    with service(api_settings, requests_per_minute=1) as client:
        assert [client.get("/tasks").status_code for _ in range(3)] == [200] * 3
    assert not list(redis.scan_iter("certrad:limits*"))


def test_a_tenant_has_a_bound_of_its_own(redis: Redis, api_settings: ApiSettings, key: str) -> None:
    other = bearing(make_key(api_settings.access_dir, "two"))
    with service(api_settings, access="closed", max_queued_of_tenant=1, max_queued=2) as client:
        job = client.post("/certify", headers=bearing(key), content=PNG).json()["id"]
        answer = client.post("/certify", headers=bearing(key), content=PNG)
        assert_problem(answer, "tenant_quota_exceeded")
        assert int(answer.headers["retry-after"]) >= 1
        assert client.post("/certify", headers=other, content=PNG).status_code == 202
        client.delete(f"/jobs/{job}", headers=bearing(key))
        assert client.post("/certify", headers=bearing(key), content=PNG).status_code == 202


def test_a_redis_that_is_away_is_told(tmp_path: Path, api_settings: ApiSettings, key: str) -> None:
    away: dict[str, Any] = {"redis_url": f"unix://{tmp_path}/nobody.sock", "access": "closed", "redis_timeout": 0.5}
    with service(api_settings, **away) as client:
        assert_problem(client.get("/jobs", headers=bearing(key)), "redis_unavailable")
        assert_problem(client.get("/jobs"), "unauthenticated")
        client.cookies.set(COOKIE, "x")
        assert_problem(client.get("/jobs"), "redis_unavailable")


def test_a_reference_is_in_its_job_and_nowhere_else(api: TestClient, redis: Redis, api_settings: ApiSettings) -> None:
    reference = "worklist \N{LATIN SMALL LETTER E WITH ACUTE} 4711"
    headers = {"idempotency-key": "k"}
    answer = api.post("/certify", content=PNG, params={"reference": reference}, headers=headers)
    job = answer.json()
    assert job["reference"] == reference
    assert "reference" not in job["request"]
    assert api.get(f"/jobs/{job['id']}").json()["reference"] == reference
    holding = [name for name in redis.scan_iter("*") if reference.encode() in (redis.dump(name) or b"")]
    assert holding in ([], [f"certrad:job:{job['id']}".encode()])  # Redis may store it compressed
    assert reference not in api_settings.audit_dir.joinpath(sorted(os.listdir(api_settings.audit_dir))[0]).read_text()
    again = api.post("/certify", content=PNG, params={"reference": "another"}, headers=headers)
    assert_problem(again, "idempotency_conflict")
    same = api.post("/certify", content=PNG, params={"reference": reference}, headers=headers)
    assert same.json()["id"] == job["id"]


@pytest.mark.parametrize("reference", ["", "x" * 129, "a\nb", "a\x00b", "\x7f", "\N{LINE SEPARATOR}"])
def test_a_reference_that_is_none_is_refused(api: TestClient, reference: str) -> None:
    answer = api.post("/certify", content=PNG, params={"reference": reference})
    assert [error["field"] for error in assert_problem(answer, "invalid_request")["errors"]] == ["reference"]


def test_the_trail_names_tenant_and_key(closed: TestClient, key: str, api_settings: ApiSettings) -> None:
    closed.post("/certify", headers=bearing(key), content=PNG)
    event = audited(api_settings.audit_dir)[-1]
    assert (event["name"], event["tenant"], event["key"]) == ("input_received", "one", key.split("_")[1])
    log_in(closed, key)
    assert audited(api_settings.audit_dir)[-1]["name"] == "session_started"
    closed.delete("/session", headers=PAGE)
    assert audited(api_settings.audit_dir)[-1]["name"] == "session_ended"
    assert key.split("_", 2)[2] not in json.dumps(audited(api_settings.audit_dir))
