"""The routes of triggers and rules need a secret, check identifiers, take no address and answer at once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.workers.contract.names import VERSION
from certrad.workers.contract.triggers import TriggerSpool

SECRET = "sixteen characters at least"
HEADERS = {"Certrad-Trigger-Secret": SECRET}
STUDY, SERIES = "1.2.840.99.1", "1.2.840.99.2"
TRIGGER = {
    "event": "OnStableSeries",
    "orthanc_series": "a" * 8 + ("-" + "a" * 8) * 4,
    "study_instance_uid": STUDY,
    "series_instance_uid": SERIES,
    "modality": "DX",
}


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nname = "hands"\nmatch = { body_part = "HAND" }\ntask = "mednist"\nsigma = 0.5\n')
    return path


@pytest.fixture
def hospital(redis: Redis, api_settings: ApiSettings, rules_file: Path) -> Iterator[TestClient]:
    """An API with a secret and with rules."""
    settings = api_settings.model_copy(update={"trigger_secret": _secret(), "rules": rules_file})
    with TestClient(create_app(settings)) as client:
        yield client


def _secret() -> object:
    return ApiSettings.model_validate({"trigger_secret": SECRET}).trigger_secret


@pytest.fixture
def spool(api_settings: ApiSettings) -> TriggerSpool:
    return TriggerSpool(api_settings.pacs_dir)


def test_trigger_is_on_the_disk_when_it_is_answered(hospital: TestClient, spool: TriggerSpool) -> None:
    answer = hospital.post("/triggers/orthanc", json=TRIGGER, headers=HEADERS)
    assert answer.status_code == 202
    (trigger,) = spool.waiting()
    assert (trigger.study, trigger.series, trigger.modality) == (STUDY, SERIES, "DX")


def test_trigger_of_a_pacs_names_no_address_because_nobody_can_follow_it(hospital: TestClient) -> None:
    answer = hospital.post("/triggers/orthanc", json=TRIGGER, headers=HEADERS)
    assert set(answer.json()) == {"id"}
    assert "Location" not in answer.headers


def test_identifiers_of_a_trigger_are_not_in_redis_and_not_in_the_answer(hospital: TestClient, redis: Redis) -> None:
    answer = hospital.post("/triggers/orthanc", json=TRIGGER, headers=HEADERS)
    assert "1.2.840" not in answer.text
    assert redis.keys("*") == [VERSION.encode()]


@pytest.mark.parametrize("headers", [{}, {"Certrad-Trigger-Secret": "wrong"}, {"Certrad-Trigger-Secret": SECRET[:-1]}])
@pytest.mark.parametrize("path", ["/triggers/orthanc", "/triggers/study"])
def test_caller_without_the_secret_is_refused(
    hospital: TestClient, spool: TriggerSpool, path: str, headers: dict[str, str]
) -> None:
    answer = hospital.post(path, json=TRIGGER, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_trigger_secret")
    assert spool.waiting() == []


def test_installation_without_a_secret_takes_no_trigger(api: TestClient) -> None:
    answer = api.post("/triggers/orthanc", json=TRIGGER, headers=HEADERS)
    assert (answer.status_code, answer.json()["code"]) == (403, "triggers_disabled")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"study_instance_uid": "../../etc"}, "invalid_request"),
        ({"study_instance_uid": "1.2\n"}, "invalid_request"),
        ({"series_instance_uid": "1." + "2" * 63}, "invalid_request"),
        ({"series_instance_uid": "http://evil.test/"}, "invalid_request"),
        ({"orthanc_series": "/../system"}, "invalid_request"),
        ({"event": "OnDeletedSeries"}, "invalid_request"),
        ({"url": "http://evil.test/"}, "unknown_field"),
    ],
)
def test_malformed_trigger_is_refused_without_its_values(
    hospital: TestClient, spool: TriggerSpool, change: dict[str, str], code: str
) -> None:
    answer = hospital.post("/triggers/orthanc", json=TRIGGER | change, headers=HEADERS)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert next(iter(change.values())) not in answer.text
    assert spool.waiting() == []


def test_person_follows_a_study_that_was_asked_for(hospital: TestClient, spool: TriggerSpool) -> None:
    path = hospital.post("/triggers/study", json={"study_instance_uid": STUDY}, headers=HEADERS).headers["Location"]
    assert hospital.get(path, headers=HEADERS).json() == {"status": "waiting", "series": []}
    told = {"status": "done", "series": [{"state": "ignored", "rule": None, "reason": "none", "instances": []}]}
    (trigger,) = spool.waiting()
    spool.tell(trigger.id, told)
    spool.remove(trigger)
    assert hospital.get(path, headers=HEADERS).json() == told


def test_trigger_that_nobody_sent_is_not_found(hospital: TestClient) -> None:
    answer = hospital.get("/triggers/x", headers=HEADERS)
    assert (answer.status_code, answer.json()["code"]) == (404, "trigger_not_found")


def test_rules_in_use_say_what_they_would_do(hospital: TestClient) -> None:
    answer = hospital.post("/rules/test", json={"attributes": {"body_part": "hand"}})
    assert answer.json() == {
        "decision": "certify",
        "rule": "hands",
        "fields": {"task": "mednist", "sigma": "0.5"},
        "destination": "pacs",
        "instances": "middle",
        "max_instances": 1,
        "outputs": ["sr", "sc"],
    }


def test_series_that_no_rule_matches_is_told_to_be_ignored(hospital: TestClient) -> None:
    answer = hospital.post("/rules/test", json={"attributes": {"modality": "MR"}})
    assert answer.json() == {"decision": "ignore", "rule": None, "reason": "no rule matches"}


def test_other_rules_can_be_tried(hospital: TestClient) -> None:
    rules = '[[rule]]\nname = "x"\nignore = true\nreason = "why"\n'
    answer = hospital.post("/rules/test", json={"attributes": {}, "rules": rules})
    assert answer.json() == {"decision": "ignore", "rule": "x", "reason": "why"}


def test_wrong_rules_are_told_by_line_or_rule(hospital: TestClient, rules_file: Path) -> None:
    rules_file.write_text('[[rule]]\nname = "hands"\nsigma = 99\n')
    answer = hospital.post("/rules/test", json={"attributes": {}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_rules")
    assert "rule 1 ('hands'): `sigma` must be" in json.loads(answer.text)["detail"]
