"""Outcomes of studies that a person asked for: the decisions, the jobs and the deliveries, without a UID."""

from typing import Any, Final

from certrad.workers.pacs.database import Database

_OPEN: Final = frozenset({"open", "chosen", "submitted"})


def outcome(database: Database, trigger_id: str) -> dict[str, Any] | None:
    """Returns what has become of a trigger so far; None unless somebody waits for it.

    Args:
        database: The state of the connector.
        trigger_id: The trigger.
    """
    pulls = database.rows("SELECT * FROM pulls WHERE trigger_id = ? AND told ORDER BY id", trigger_id)
    if not pulls:
        return None
    series = []
    is_open = False
    for pull in pulls:
        is_open = is_open or pull["state"] == "open"
        if pull["state"] == "listed":
            continue
        instances = []
        # Those that an earlier trigger chose belong to the answer too: the series is certified already.
        for row in database.rows(
            "SELECT * FROM instances WHERE pull = ? OR (series = ? AND ? = 'done') ORDER BY id",
            pull["id"],
            pull["series"],
            pull["state"],
        ):
            deliveries = database.rows(
                "SELECT output, destination, state, reason FROM deliveries WHERE instance = ? ORDER BY id", row["id"]
            )
            is_open = is_open or row["state"] in _OPEN or any(one["state"] == "waiting" for one in deliveries)
            instances.append(
                {
                    "state": row["state"],
                    "job": row["job"],
                    "rule": row["rule"],
                    "reason": row["reason"],
                    "deliveries": [dict(one) for one in deliveries],
                }
            )
        told = {name: pull[name] for name in ("state", "rule", "reason")}
        series.append({**told, "instances": instances})
    return {"status": "working" if is_open else "done", "series": series}
