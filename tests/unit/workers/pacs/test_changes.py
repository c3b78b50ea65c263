"""The list of changes of Orthanc: nothing is certified unasked, and the connector never hangs on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from certrad.workers.pacs.changes import WENT_BACK, Changes
from certrad.workers.pacs.check import check
from certrad.workers.pacs.database import Database
from certrad.workers.settings import ConnectorSettings

NUMBER = "12345678-12345678-12345678-12345678-12345678"


class List:
    """A list of changes in which every change tells of the same series."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.page: dict[str, Any] | None = None
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One answer; the hundredth is an error, so that a loop without an end ends."""
        self.asked += 1
        assert self.asked < 100
        if request.url.path == "/changes":
            if "last" in request.url.params:
                return httpx.Response(200, json={"Last": self.last, "Changes": [], "Done": True})
            since = int(request.url.params["since"])
            changes = [
                {"ChangeType": "StableSeries", "ID": NUMBER, "Seq": number}
                for number in range(since + 1, self.last + 1)
            ]
            return httpx.Response(200, json=self.page or {"Changes": changes, "Last": self.last, "Done": True})
        if request.url.path.startswith("/series/"):
            tags = {"SeriesInstanceUID": "1.2.3", "Modality": "DX"}
            return httpx.Response(200, json={"MainDicomTags": tags, "ParentStudy": NUMBER})
        return httpx.Response(200, json={"MainDicomTags": {"StudyInstanceUID": "1.2"}})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "pacs")
    yield made
    made.close()


def changes(of: List, database: Database) -> Changes:
    return Changes(httpx.Client(transport=httpx.MockTransport(of.answer)), "http://orthanc.test", database)


def test_archive_that_was_restored_is_not_certified(database: Database) -> None:
    orthanc = List(500)
    followed = changes(orthanc, database)
    followed.step()
    orthanc.last = 3
    assert followed.step() == 0
    assert database.rows("SELECT id FROM pulls") == []
    orthanc.last = 4
    assert followed.step() == 1


def test_list_that_went_back_is_told_by_the_next_check_and_by_no_later_one(database: Database, tmp_path: Path) -> None:
    orthanc = List(500)
    followed = changes(orthanc, database)
    followed.step()
    orthanc.last = 3
    followed.step()
    assert database.fact(WENT_BACK) is not None
    settings = ConnectorSettings(
        data_dir=tmp_path, pacs_url="http://127.0.0.1:1", orthanc_url="http://127.0.0.1:1", url="http://127.0.0.1:1"
    )
    codes = [[step.code for step in check(settings)].count("changes_went_back") for _ in range(2)]
    assert codes == [1, 0]


def test_page_that_is_not_done_and_does_not_advance_ends_the_step(database: Database) -> None:
    orthanc = List(5)
    followed = changes(orthanc, database)
    followed.step()
    orthanc.last = 9
    orthanc.page = {"Changes": [], "Last": 5, "Done": False}
    assert followed.step() == 0
    assert orthanc.asked < 10
