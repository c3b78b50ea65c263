"""The spool of triggers: what was answered with 202 is on the disk, and nobody else may read it."""

from pathlib import Path

import pytest

from certrad.models.errors import Rejected
from certrad.workers.contract.triggers import TriggerSpool, is_uid


@pytest.fixture
def spool(tmp_path: Path) -> TriggerSpool:
    return TriggerSpool(tmp_path)


def test_triggers_come_back_in_their_order(spool: TriggerSpool) -> None:
    ids = [spool.put("orthanc", f"1.2.{number}", "1.3", "DX") for number in range(3)]
    assert [trigger.id for trigger in spool.waiting()] == ids
    assert [trigger.study for trigger in spool.waiting()] == ["1.2.0", "1.2.1", "1.2.2"]


def test_file_of_a_trigger_is_private_and_its_name_tells_nothing(spool: TriggerSpool, tmp_path: Path) -> None:
    spool.put("orthanc", "1.2.840", "1.3.840")
    (path,) = (tmp_path / "triggers").iterdir()
    assert path.stat().st_mode & 0o77 == 0
    assert path.parent.stat().st_mode & 0o77 == 0
    assert "840" not in path.name.partition("-")[2]


def test_removed_trigger_is_gone(spool: TriggerSpool) -> None:
    spool.put("orthanc", "1.2", "1.3")
    (trigger,) = spool.waiting()
    spool.remove(trigger)
    assert spool.waiting() == []


def test_file_that_is_no_trigger_is_deleted_and_stops_nothing(spool: TriggerSpool, tmp_path: Path) -> None:
    spool.put("orthanc", "1.2", "1.3")
    (tmp_path / "triggers" / "0.json").write_text('{"id": 1}')
    assert [trigger.study for trigger in spool.waiting()] == ["1.2"]
    assert len(list((tmp_path / "triggers").iterdir())) == 1


def test_outcome_waits_until_the_connector_tells(spool: TriggerSpool) -> None:
    trigger_id = spool.put("study", "1.2")
    assert spool.outcome(trigger_id) == {"status": "waiting", "series": []}
    spool.tell(trigger_id, {"status": "done", "series": []})
    assert spool.outcome(trigger_id)["status"] == "done"


@pytest.mark.parametrize("trigger_id", ["../connector", "0" * 20 + "-" + "0" * 16, ""])
def test_outcome_of_what_was_never_asked_is_refused(spool: TriggerSpool, trigger_id: str, tmp_path: Path) -> None:
    (tmp_path / "outcomes").mkdir()
    (tmp_path / "connector.json").write_text("{}")
    with pytest.raises(Rejected) as caught:
        spool.outcome(trigger_id)
    assert caught.value.code == "trigger_not_found"


@pytest.mark.parametrize("value", ["1.2.840.10008", "2.25.1", "0"])
def test_uid_is_taken(value: str) -> None:
    assert is_uid(value)


@pytest.mark.parametrize("value", ["", "1..2", "1.2.", "../1", "1.2/3", "1.2\n", "1." + "2" * 63, None, 12, "1.2a"])
def test_what_is_no_uid_is_not(value: object) -> None:
    assert not is_uid(value)
