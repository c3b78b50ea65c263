"""No route shows, changes, lists or counts anything of another tenant: a table that no new route escapes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.api.scopes import NEEDED, PUBLIC, name_of
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.workers.certificate_store import store_certificate
from certrad.workers.contract import figures, outputs, uploads
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.certificate_owners import CertificateOwners
from certrad.workers.contract.names import VERSION, active_of, jobs_of
from certrad.workers.contract.outputs import OUTPUTS
from certrad.workers.contract.records import Records
from certrad.workers.contract.triggers import TriggerSpool
from tests.support.api import PNG, card
from tests.support.certificates import CASES, genuine
from tests.support.image_facts import image_facts
from tests.support.keys import bearing, make_key
from tests.support.problems import assert_problem
from tests.support.results import abstained

pytestmark = pytest.mark.integration

OWNER: Final = "owner"
OTHER: Final = "other"
STUDY: Final = "1.2.840.99"
UNKNOWN: Final = {
    "job": "0" * 32,
    "prompt": "unknown-0123456789abcdef",
    "certificate": "0" * 64,
    "trigger": "01780000000000000000-0000000000000000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A call about one object of the owner; to another tenant the object is as unknown as one that there never was."""

    method: str
    path: str
    options: Mapping[str, Any] | None = None


ABOUT: Final[Mapping[str, About]] = {
    "get_job": About(method="GET", path="/jobs/{job}"),
    "delete_job": About(method="DELETE", path="/jobs/{job}"),
    "follow_job": About(method="GET", path="/jobs/{job}/events"),
    "get_job_input": About(method="GET", path="/jobs/{job}/input"),
    "get_job_renderings": About(method="GET", path="/jobs/{job}/renderings"),
    "get_job_example": About(method="GET", path="/jobs/{job}/example"),
    "get_job_curve": About(method="GET", path="/jobs/{job}/curve"),
    "get_job_certificate": About(method="GET", path="/jobs/{job}/certificate"),
    "get_job_secondary_capture": About(method="GET", path="/jobs/{job}/secondary-capture"),
    "get_certificate": About(method="GET", path="/certificates/{certificate}"),
    "list_assessments": About(method="GET", path="/certificates/{certificate}/assessment"),
    "record_assessment": About(
        method="POST",
        path="/certificates/{certificate}/assessment",
        options={"json": {"verdict": "accept", "reason": "agrees"}},
    ),
    "get_prompt": About(method="GET", path="/prompts/{prompt}"),
    "change_prompt": About(method="PATCH", path="/prompts/{prompt}", options={"json": {"withdrawn": False}}),
    "withdraw_prompt": About(method="DELETE", path="/prompts/{prompt}"),
    "get_trigger": About(method="GET", path="/triggers/{trigger}"),
    "certify": About(method="POST", path="/certify", options={"params": {"prompt": "{prompt}"}, "content": PNG}),
}
"""The calls that name an object."""

LISTS: Final[Mapping[str, str]] = {
    "list_jobs": "/jobs",
    "list_prompts": "/prompts",
    "list_tasks": "/tasks",
    "list_backbones": "/backbones",
    "list_adapters": "/adapters",
    "list_calibrations": "/calibrations",
    "drift": "/drift",
    "get_session": "/session",
    "/openapi.json": "/openapi.json",
}
"""The calls that list: nothing of what they answer to another tenant changes when the owner comes."""

NOTHING: Final[Mapping[str, str]] = {
    "tune_prompt": "it makes a job of the caller's own, and names no object",
    "get_adapter": "an adapter is the operator's, and everyone's",
    "get_calibration": "a calibration is the operator's, and everyone's",
    "change_adapter": "an adapter is the operator's, and everyone's",
    "verify": "it answers about the document that the caller sends",
    "test_rules": "it answers about the rules that the caller sends: test_the_rules_are_those_of_the_pacs_tenant",
    "trigger_orthanc": "the PACS has one tenant, and other keys are refused: test_the_pacs_has_one_tenant",
    "trigger_study": "as above",
    "store_instances": "as above",
    "store_instances_of_study": "as above",
    "metrics": "sums over the installation, for the operator: a key with `admin`",
    "order_selftest": "it tests the installation, for the operator: a key with `admin`",
    "get_selftest": "as above: versions and checks of the installation, and nothing of a tenant",
    "end_session": "it ends the session of the caller's own cookie",
}
"""The calls that have no object, each with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Holds a closed service with two tenants, and what the first of them has."""

    client: TestClient
    owner: Mapping[str, str]
    other: Mapping[str, str]
    things: Mapping[str, str]

    def send(self, call: About, headers: Mapping[str, str], things: Mapping[str, str]) -> Any:
        options = dict(call.options or {})
        if "params" in options:
            options["params"] = {name: value.format(**things) for name, value in options["params"].items()}
        path = call.path.format(**things)
        return self.client.request(call.method, path, headers=dict(headers), **options)


@pytest.fixture
def closed_settings(api_settings: ApiSettings) -> ApiSettings:
    return api_settings.model_copy(update={"access": "closed", "trigger_tenant": OWNER})


@pytest.fixture
def house(redis: Redis, closed_settings: ApiSettings, records: Records) -> Iterator[House]:
    keys = {tenant: bearing(make_key(closed_settings.access_dir, tenant)) for tenant in (OWNER, OTHER)}
    with TestClient(create_app(closed_settings)) as client:
        certificate = store_certificate(closed_settings.certificates_dir, genuine(CASES[6]))
        CertificateOwners(closed_settings.owners_dir).add(certificate, OWNER, is_stored=False)
        things = {
            "job": ended_job(client, keys[OWNER], closed_settings, records, certificate),
            "prompt": card().id,
            "trigger": TriggerSpool(closed_settings.pacs_dir).put("study", STUDY, None),
            "certificate": certificate,
        }
        Catalogue(redis).publish_prompt(card(), [OWNER])
        Catalogue(redis).choose_default("mednist", card().id)
        yield House(client=client, owner=keys[OWNER], other=keys[OTHER], things=things)


def ended_job(
    client: TestClient, headers: Mapping[str, str], settings: ApiSettings, records: Records, certificate: str
) -> str:
    """A job of the owner that ended with a certificate and everything that can be beside it."""
    answer = client.post("/certify", content=PNG, headers=dict(headers), params={"reference": "a patient"})
    assert answer.status_code == 202, answer.text
    job = str(answer.json()["id"])
    records.enter(job, "loading", image=image_facts())
    settings.outputs_dir.mkdir(exist_ok=True)
    uploads.path_of(settings.outputs_dir, job).write_bytes(b"png")
    for kind in OUTPUTS:
        outputs.store(settings.outputs_dir, job, kind, b"report")
    figures.store(settings.outputs_dir, job, "example", b"{}")
    figures.store(settings.outputs_dir, job, "curve", b"{}")
    figures.store(settings.outputs_dir, job, "renderings", b"{}")
    records.succeed(job, abstained(), certificate=certificate, outputs=dict.fromkeys(OUTPUTS))
    return job


def operations(settings: ApiSettings) -> set[str]:
    routes = iter_route_contexts(create_app(settings).routes)
    return {name_of(context.original_route) for context in routes}


def test_every_route_is_in_the_table(api_settings: ApiSettings) -> None:
    tables: list[set[str]] = [set(ABOUT), set(LISTS), set(NOTHING), set(PUBLIC)]
    assert operations(api_settings) == set[str]().union(*tables)
    assert sum(map(len, tables)) == len(set[str]().union(*tables))


def test_every_route_that_needs_a_key_needs_a_scope(api_settings: ApiSettings) -> None:
    assert operations(api_settings) - PUBLIC == set(NEEDED)
    assert PUBLIC & set(NEEDED) == set()


@pytest.mark.parametrize("operation", ABOUT)
def test_what_is_anothers_is_unknown(house: House, operation: str) -> None:
    call = ABOUT[operation]
    foreign = house.send(call, house.other, house.things)
    unknown = house.send(call, house.other, UNKNOWN)
    assert unknown.status_code in (404, 422)
    assert (foreign.status_code, said(foreign, house.things)) == (unknown.status_code, said(unknown, UNKNOWN))
    assert_problem_is_not(house.send(call, house.owner, house.things), unknown.json()["code"])


def said(answer: Any, things: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Returns body and headers of an answer, without those of the moment and with a word in place of each identity."""
    text = str(answer.text)
    for word, identity in things.items():
        text = text.replace(identity, word)
    return text, {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}


def assert_problem_is_not(answer: Any, code: str) -> None:
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    assert not (is_problem and answer.json()["code"] == code), answer.text


@pytest.mark.parametrize("malformed", ["0" * 65, "A" * 64, "%00", "..%2F..", "a b", "\N{SNOWMAN}"])
@pytest.mark.parametrize("operation", [name for name, call in ABOUT.items() if "{" in call.path])
def test_a_malformed_id_tells_nothing_either(house: House, operation: str, malformed: str) -> None:
    answers = {
        tenant: house.send(ABOUT[operation], headers, dict.fromkeys(UNKNOWN, malformed)).status_code
        for tenant, headers in ((OWNER, house.owner), (OTHER, house.other))
    }
    assert answers[OWNER] == answers[OTHER]
    assert answers[OTHER] in (404, 422)


@pytest.mark.parametrize("operation", LISTS)
def test_lists_show_nothing_of_another(house: House, operation: str, redis: Redis) -> None:
    path = LISTS[operation]
    shown = house.client.get(path, headers=dict(house.other)).text
    assert not [identity for identity in house.things.values() if identity in shown]
    assert OWNER not in shown.replace("sender's own", "")
    redis.flushall()
    assert house.client.get(path, headers=dict(house.other)).text == shown


def test_the_owner_sees_what_is_its_own(house: House) -> None:
    jobs = house.client.get("/jobs", headers=dict(house.owner)).json()["jobs"]
    assert [(job["id"], job["reference"]) for job in jobs] == [(house.things["job"], "a patient")]
    prompts = house.client.get("/prompts", headers=dict(house.owner)).json()["prompts"]
    assert {"id": house.things["prompt"], "default_for": ["mednist"]} in [
        {"id": prompt["card"]["id"], "default_for": prompt["default_for"]} for prompt in prompts
    ]


def test_another_tenant_leaves_everything_as_it_is(house: House, redis: Redis) -> None:
    before = content(redis)
    for call in ABOUT.values():
        house.send(call, house.other, house.things)
    assert content(redis) == before
    assert house.client.get("/jobs", headers=dict(house.owner)).json()["jobs"]


def content(redis: Redis) -> set[bytes]:
    """The keys in Redis but for those that count requests."""
    return {key for key in redis.scan_iter("certrad:*") if not key.startswith((b"certrad:limits", b"certrad:totals"))}


def test_the_pacs_has_one_tenant(house: House) -> None:
    trigger = {"study_instance_uid": STUDY}
    for path, options in (
        ("/triggers/study", {"json": trigger}),
        ("/triggers/orthanc", {"json": {**trigger, "event": "OnStableSeries", "series_instance_uid": "1.2"}}),
        ("/dicom-web/studies", {"content": b""}),
        (f"/dicom-web/studies/{STUDY}", {"content": b""}),
    ):
        answer = house.client.post(path, headers=dict(house.other), **options)
        assert_problem(answer, "scope_missing")
    assert house.client.post("/triggers/study", headers=dict(house.owner), json=trigger).status_code == 202


def test_the_rules_are_those_of_the_pacs_tenant(house: House, closed_settings: ApiSettings) -> None:
    submit = bearing(make_key(closed_settings.access_dir, OTHER, ["submit"]))
    body = {"attributes": {"modality": "DX"}}
    assert_problem(house.client.post("/rules/test", headers=submit, json=body), "scope_missing")
    own = {**body, "rules": '[[rule]]\nname = "x"\n'}
    assert house.client.post("/rules/test", headers=submit, json=own).json()["rule"] == "x"
    for headers in (house.owner, house.other):  # the second one is the operator: it has `admin`
        assert house.client.post("/rules/test", headers=dict(headers), json=body).status_code == 200


def test_no_idempotency_key_is_that_of_another_tenant(redis: Redis, closed_settings: ApiSettings) -> None:
    local, owner, other = (bearing(make_key(closed_settings.access_dir, name)) for name in (LOCAL_TENANT, OWNER, OTHER))
    with TestClient(create_app(closed_settings)) as client:
        first = client.post("/certify", content=PNG, headers={**owner, "idempotency-key": "k"}).json()["id"]
        for headers, key in ((other, "k"), (local, "k"), (local, f"{OWNER}:k"), (local, f"{OWNER}k")):
            answer = client.post("/certify", content=PNG, headers={**headers, "idempotency-key": key})
            assert answer.json().get("id", first) != first, (key, answer.text)
        again = client.post("/certify", content=PNG, headers={**owner, "idempotency-key": "k"})
        assert again.json()["id"] == first


def test_not_even_admin_makes_anothers_prompt_a_default(house: House) -> None:
    change = {"default_for": "mednist"}
    answers = [
        house.client.patch(f"/prompts/{prompt}", headers=dict(house.other), json=change).json()
        for prompt in (house.things["prompt"], UNKNOWN["prompt"])
    ]
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "prompt_not_found"


def test_a_job_leaves_the_lists_of_its_tenant(house: House, redis: Redis) -> None:
    job = house.client.post("/certify", content=PNG, headers=dict(house.owner)).json()["id"]
    listed: list[tuple[bool, bool]] = []
    for status in (200, 204):  # cancelled, then erased
        listed.append((redis.zscore(active_of(OWNER), job) is not None, redis.zscore(jobs_of(OWNER), job) is not None))
        assert house.client.delete(f"/jobs/{job}", headers=dict(house.owner)).status_code == status
    listed.append((redis.zscore(active_of(OWNER), job) is not None, redis.zscore(jobs_of(OWNER), job) is not None))
    assert listed == [(True, True), (False, True), (False, False)]


def test_an_assessment_is_its_tenants_alone(house: House, closed_settings: ApiSettings) -> None:
    sha256 = house.things["certificate"]
    CertificateOwners(closed_settings.owners_dir).add(sha256, OTHER, is_stored=True)
    path = f"/certificates/{sha256}/assessment"
    body = {"verdict": "accept", "reason": "agrees"}
    headers = {**house.owner, "idempotency-key": "k"}
    assert house.client.post(path, headers=headers, json=body).status_code == 201
    assert house.client.get(path, headers=dict(house.other)).json()["assessments"] == []
    body = {"verdict": "reject", "reason": "other"}
    assert house.client.post(path, headers={**house.other, "idempotency-key": "k"}, json=body).status_code == 201
    kept = house.client.get(path, headers=dict(house.owner)).json()["assessments"]
    assert [each["verdict"] for each in kept] == ["accept"]


def test_certificates_are_everyones_where_the_operator_says_so(house: House, closed_settings: ApiSettings) -> None:
    public = closed_settings.model_copy(update={"public_certificates": True})
    path = f"/certificates/{house.things['certificate']}"
    assert_problem(house.client.get(path, headers=dict(house.other)), "certificate_not_found")
    with TestClient(create_app(public)) as client:
        assert client.get(path, headers=dict(house.other)).status_code == 200


def test_an_unreadable_record_is_its_tenants_alone(house: House, redis: Redis) -> None:
    job = house.things["job"]
    redis.hset(f"certrad:job:{job}", "status", "unheard-of")
    assert_problem(house.client.get(f"/jobs/{job}", headers=dict(house.owner)), "job_unreadable")
    assert_problem(house.client.get(f"/jobs/{job}", headers=dict(house.other)), "job_not_found")


def test_a_tenant_pages_through_its_own_jobs_alone(house: House) -> None:
    own: list[str] = []
    for _ in range(3):
        own.insert(0, house.client.post("/certify", content=PNG, headers=dict(house.other)).json()["id"])
        house.client.post("/certify", content=PNG, headers=dict(house.owner))
    listed, cursor = [], None
    while True:
        params = {"limit": "1", **({"cursor": cursor} if cursor else {})}
        page = house.client.get("/jobs", headers=dict(house.other), params=params).json()
        listed += [job["id"] for job in page["jobs"]]
        if (cursor := page["next"]) is None:
            break
    assert listed == own


def test_a_job_of_a_release_without_tenants_is_the_local_tenants(redis: Redis, closed_settings: ApiSettings) -> None:
    headers = {tenant: bearing(make_key(closed_settings.access_dir, tenant)) for tenant in (LOCAL_TENANT, OTHER)}
    with TestClient(create_app(closed_settings)) as client:
        job = client.post("/certify", content=PNG, headers=headers[LOCAL_TENANT]).json()["id"]
    redis.hdel(f"certrad:job:{job}", "tenant")
    redis.delete(jobs_of(LOCAL_TENANT), "certrad:active:of:local", "certrad:tenants", VERSION)
    with TestClient(create_app(closed_settings)) as client:
        assert [each["id"] for each in client.get("/jobs", headers=headers[LOCAL_TENANT]).json()["jobs"]] == [job]
        assert client.get("/jobs", headers=headers[OTHER]).json()["jobs"] == []
        assert client.get(f"/jobs/{job}", headers=headers[LOCAL_TENANT]).status_code == 200
        assert_problem(client.get(f"/jobs/{job}", headers=headers[OTHER]), "job_not_found")
