"""Erases what the connector knows about some jobs: instances, pushed files, deliveries, and the series they are of."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from certrad.workers.contract.received import ReceivedSpool
from certrad.workers.contract.triggers import TriggerSpool
from certrad.workers.pacs.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorRows:
    """What the connector's database holds about some jobs, by the numbers of its rows.

    Attributes:
        instances: The instances.
        deliveries: Their deliveries.
        pulls: The series and studies that have no other instance.
        triggers: The triggers that those come from.
        files: The files of pushed instances.
    """

    instances: Sequence[int] = ()
    deliveries: Sequence[int] = ()
    pulls: Sequence[int] = ()
    triggers: Sequence[str] = ()
    files: Sequence[str] = ()


def jobs_of_study(database: Database, study: str) -> list[str]:
    """Returns the ids of the jobs that were made of a study, each instance's last one.

    Args:
        database: The connector's database.
        study: The study's UID.
    """
    rows = database.rows("SELECT DISTINCT job FROM instances WHERE study = ? AND job IS NOT NULL", study)
    return [row["job"] for row in rows]


def find_rows(database: Database, *, jobs: Collection[str], study: str | None = None) -> ConnectorRows:
    """Returns what the database holds about some jobs, and about a study.

    Args:
        database: The connector's database.
        jobs: Ids of the jobs.
        study: The UID of a study, all of which is meant; None for the jobs alone.
    """
    found = [
        row
        for row in database.rows("SELECT id, pull, study, series, job, received FROM instances")
        if row["job"] in jobs or row["study"] == study
    ]
    instances = {row["id"] for row in found}
    pulls = [
        row
        for row in database.rows("SELECT id, trigger_id, study FROM pulls")
        if row["study"] and row["study"] in {study, *(row["study"] for row in found)}
    ]
    kept = {row["study"] for row in database.rows("SELECT id, study FROM instances") if row["id"] not in instances}
    kept |= {row["study"] for row in database.rows("SELECT study FROM pulls WHERE state IN ('open', 'received')")}
    gone = [row for row in pulls if row["study"] == study or row["study"] not in kept]
    deliveries = database.rows("SELECT id, instance, study FROM deliveries")
    return ConnectorRows(
        instances=sorted(instances),
        deliveries=[row["id"] for row in deliveries if row["instance"] in instances or row["study"] == study],
        pulls=[row["id"] for row in gone],
        triggers=sorted({row["trigger_id"] for row in gone}),
        files=[row["received"] for row in found if row["received"] is not None],
    )


def erase_rows(database: Database, rows: ConnectorRows, pacs_dir: Path) -> None:
    """Erases what `find_rows` found, in one transaction, and then the files.

    Args:
        database: The connector's database.
        rows: What to erase.
        pacs_dir: The folder of the connector.

    Raises:
        OSError: The disk refuses.
        sqlite3.Error: The database does.
    """
    with database.transaction() as connection:
        for table, numbers in (("deliveries", rows.deliveries), ("instances", rows.instances), ("pulls", rows.pulls)):
            connection.executemany(f"DELETE FROM {table} WHERE id = ?", _each(numbers))  # noqa: S608  # names of tables
    database.forget_deleted()
    spool, triggers = ReceivedSpool(pacs_dir), TriggerSpool(pacs_dir)
    for file in rows.files:
        spool.delete(file)
    for trigger in rows.triggers:
        triggers.forget_outcome(trigger)


def _each(numbers: Iterable[int]) -> list[tuple[int]]:
    return [(number,) for number in numbers]
