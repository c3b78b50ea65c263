"""`certrad certify --study`: asks for a study of the PACS, waits for the connector, and prints what became of it."""

import os
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any, Final

from certrad.app.cli import console
from certrad.app.cli.client import Client, Job, ProblemError
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import ABSTAINED, BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import Kind
from certrad.workers.contract.triggers import is_uid

SECRET: Final = "CERTRAD_TRIGGER_SECRET"  # noqa: S105  # the name of a variable
_POLL_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 30.0


def add_study(parser: Parser, *, excludes: Sequence[str]) -> None:
    """Declares `--study` and `--series`.

    Args:
        parser: The parser of the command.
        excludes: The options that say nothing about a study, because the rules of the connector decide.
    """
    uid = Kind(read=_read_uid, metavar="UID")
    parser.option("--study", uid, "study of the PACS to certify, by the rules of the connector, instead of files")
    parser.option("--series", uid, "series of the study", without="all of its series")

    def rule(options: Namespace) -> Iterator[str]:
        if options.series is not None and options.study is None:
            yield "`--series` goes with `--study` only"
        if options.study is None:
            return
        for name in excludes:
            if getattr(options, name) not in (None, []):
                shown = "FILE|DIR" if name == "paths" else f"--{name.replace('_', '-')}"
                yield f"`--study` and `{shown}` exclude each other: the rules of the connector decide"
        if options.local:
            yield "`--study` and `--local` exclude each other: a connector belongs to a running service"

    parser.check(rule)


def certify_study(client: Client, study: str, series: str | None, *, as_json: bool) -> int:
    """Asks for a study and waits until nothing of it is left to do.

    Args:
        client: The service.
        study: The study's UID.
        series: The UID of one of its series; None for all.
        as_json: Whether to print JSON.

    Returns:
        The exit code.

    Raises:
        ProblemError: The service refused.
    """
    if not (secret := os.environ.get(SECRET)):
        return fail(f"{SECRET} must hold the secret that the service was started with", BAD_USAGE)
    headers = {"Certrad-Trigger-Secret": secret}
    body = {"study_instance_uid": study} | ({} if series is None else {"series_instance_uid": series})
    path = str(client.send("POST", "/triggers/study", json=body, headers=headers)["links"]["self"])
    outcome = _wait(client, path, headers)
    if outcome is None:
        return fail("no connector answered within 30 s: set CERTRAD_PACS_URL and start `certrad up`", FAILURE)
    instances = [instance for one in outcome["series"] for instance in one["instances"]]
    rows = [console.Row(image=f"instance {number}", job=job) for number, job in enumerate(_jobs(client, instances), 1)]
    if as_json:
        console.write_json({**outcome, "jobs": [row.job.raw for row in rows]})
    else:
        _show(outcome, rows)
    return _code(outcome, [row.job for row in rows])


def _wait(client: Client, path: str, headers: dict[str, str]) -> dict[str, Any] | None:
    asked = time.monotonic()
    with console.errors().status("waiting for the connector"):
        while (outcome := client.send("GET", path, headers=headers))["status"] != "done":
            if outcome["status"] == "waiting" and time.monotonic() - asked > _PATIENCE_SECONDS:
                return None
            time.sleep(_POLL_SECONDS)
    return outcome


def _jobs(client: Client, instances: list[dict[str, Any]]) -> Iterator[Job]:
    for instance in instances:
        try:
            if instance["job"] is not None:
                yield client.job(instance["job"])
        except ProblemError as problem:
            console.errors().print(f"job {instance['job']}: {problem}", soft_wrap=True)


def _show(outcome: dict[str, Any], rows: list[console.Row]) -> None:
    out = console.output()
    for number, series in enumerate(outcome["series"], 1):
        rule = "" if series["rule"] is None else f" by the rule {series['rule']!r}"
        reason = "" if series["reason"] is None else f": {series['reason']}"
        states = [instance["state"] for instance in series["instances"]]
        counts = {"certified": states.count("ended"), "failed": states.count("failed")}
        count = "".join(f", {number} {word}" for word, number in counts.items() if number or word == "certified")
        count = count if series["state"] == "done" else ""
        out.print(f"series {number}: {series['state']}{rule}{reason}{count}", soft_wrap=True)
        for instance in series["instances"]:
            if instance["state"] == "failed":
                out.print(f"  failed: {instance['reason']}", soft_wrap=True)
            for one in instance["deliveries"]:
                why = "" if one["reason"] is None else f" ({one['reason']})"
                out.print(
                    f"  {one['output']} to {one['destination']}: {one['state'].replace('_', ' ')}{why}", soft_wrap=True
                )
    if rows:
        console.print_results(out, rows)
        console.print_ids(out, rows)
        out.print(console.CAVEAT)


def _code(outcome: dict[str, Any], jobs: list[Job]) -> int:
    series = outcome["series"]
    deliveries = [one for item in series for instance in item["instances"] for one in instance["deliveries"]]
    if any(one["state"] == "put_aside" for one in deliveries) or any(item["state"] == "failed" for item in series):
        return FAILURE
    if any(instance["state"] == "failed" for item in series for instance in item["instances"]):
        return FAILURE
    return ABSTAINED if any((job.result or {}).get("outcome") == "abstained" for job in jobs) else DONE


def _read_uid(given: str) -> str:
    if not is_uid(given):
        raise ValueError("must be a DICOM UID: up to 64 digits and dots")
    return given
