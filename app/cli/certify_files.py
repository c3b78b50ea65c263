"""Sends files to a service and follows them to their outcomes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec

from certrad.app.cli import console
from certrad.app.cli.client import Client, Job, ProblemError
from certrad.workers.contract.exit_codes import ABSTAINED, BAD_USAGE, DONE, FAILURE

P = ParamSpec("P")
Outcome = Job | ProblemError | OSError
KeepFiles = Callable[[Sequence[tuple[Path, Job]]], int]
"""Keeps files of jobs that have ended, given with their images; returns the exit code."""

_WORST_FIRST: Final = (FAILURE, BAD_USAGE, ABSTAINED, DONE)
_AT_ONCE: Final = 32  # files whose jobs are in the queue together


def certify(
    client: Client, files: Sequence[Path], fields: Mapping[str, str], *, as_json: bool, keep: Sequence[KeepFiles] = ()
) -> int:
    """Submits files, then follows one after the other; Ctrl+C cancels the jobs that have not ended.

    It submits a folder of many files in parts, so that it does not fill the queue, and keeps the files of each part
    before the service deletes them.

    Args:
        client: The service.
        files: The images.
        fields: The fields of every request.
        as_json: Whether to print a line of JSON for each file instead of a table.
        keep: Called with the ended jobs and their images; each returns an exit code.

    Returns:
        The worst of the exit codes.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl+C.
    """
    named: list[tuple[Path, Outcome]] = []
    codes: list[int] = []
    for start in range(0, len(files), _AT_ONCE):
        part = _part(client, files[start : start + _AT_ONCE], fields)
        named += part
        jobs = [(file, outcome) for file, outcome in part if isinstance(outcome, Job)]
        codes += [each(jobs) for each in keep]
    if as_json:
        for file, outcome in named:
            console.write_json({"file": str(file), **_as_json(outcome)})
    else:
        _show(named)
    codes += [_code(outcome) for _, outcome in named]
    return min(codes, key=_WORST_FIRST.index)


def _part(client: Client, files: Sequence[Path], fields: Mapping[str, str]) -> list[tuple[Path, Outcome]]:
    """Submits some files and returns each with its outcome."""
    with console.progress_bars() as progress:
        submitted = [_attempt(_submit, client, file, fields) for file in files]
        bars = [
            console.add_bar(progress, file.name, job if isinstance(job, Job) else None)
            for file, job in zip(files, submitted, strict=True)
        ]
        try:
            outcomes = [
                _attempt(console.follow, client, job, progress, bar) if isinstance(job, Job) else job
                for job, bar in zip(submitted, bars, strict=True)
            ]
        except KeyboardInterrupt:
            _cancel(client, submitted)
            raise
    return list(zip(files, outcomes, strict=True))


def _submit(client: Client, file: Path, fields: Mapping[str, str]) -> Job:
    return client.submit(file.read_bytes(), fields)


def _attempt(action: Callable[P, Job], *args: P.args, **kwargs: P.kwargs) -> Outcome:
    try:
        return action(*args, **kwargs)
    except (ProblemError, OSError) as error:
        return error


def _cancel(client: Client, submitted: Iterable[Outcome]) -> None:
    for job in submitted:
        if isinstance(job, Job) and not client.job(job.id).ended:
            client.cancel(job.id)


def _code(outcome: Outcome) -> int:
    match outcome:
        case Job(result={"outcome": "certified"}):
            return DONE
        case Job(result={"outcome": "abstained"}):
            return ABSTAINED
        case ProblemError(status=422):  # an error of the request, reported before there was a job
            return BAD_USAGE
        case _:
            return FAILURE


def _as_json(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Job():
            return {**outcome.raw, "certificate_sha256": outcome.certificate_sha256}
        case ProblemError():
            return {"status": "refused", "error": {"code": outcome.code, "detail": outcome.detail}}
        case OSError():
            return {"status": "refused", "error": {"code": "unreadable_file", "detail": outcome.strerror}}


def _show(named: Iterable[tuple[Path, Outcome]]) -> None:
    rows = []
    for file, outcome in named:
        if isinstance(outcome, Job):
            rows.append(console.Row(image=str(file), job=outcome))
        else:
            console.errors().print(f"{file}: {outcome}", soft_wrap=True)
    if rows:
        console.print_results(console.output(), rows)
        console.print_ids(console.output(), rows)
        console.output().print(console.CAVEAT)
