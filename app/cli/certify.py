"""Files sent to a service and followed to their outcomes, and what the command's exit code says of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec

from certrad.app.cli import console
from certrad.app.cli.client import Client, Job, ProblemError

CERTIFIED: Final = 0
FAILURE: Final = 1
BAD_USAGE: Final = 2
ABSTAINED: Final = 3
P = ParamSpec("P")
_WORST_FIRST: Final = (FAILURE, BAD_USAGE, ABSTAINED, CERTIFIED)


def certify(client: Client, files: Sequence[Path], fields: dict[str, str], *, as_json: bool) -> int:
    """Submits every file, then follows one after the other; Ctrl+C cancels what has not ended."""
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
    named = list(zip(files, outcomes, strict=True))
    if as_json:
        for file, outcome in named:
            console.write_json({"file": str(file), **_as_json(outcome)})
    else:
        _show(named)
    return min((_code(outcome) for outcome in outcomes), key=_WORST_FIRST.index)


def _submit(client: Client, file: Path, fields: Mapping[str, str]) -> Job:
    return client.submit(file.read_bytes(), fields)


def _attempt(action: Callable[P, Job], *args: P.args, **kwargs: P.kwargs) -> Job | ProblemError | OSError:
    try:
        return action(*args, **kwargs)
    except (ProblemError, OSError) as error:
        return error


def _cancel(client: Client, submitted: Iterable[Job | ProblemError | OSError]) -> None:
    for job in submitted:
        if isinstance(job, Job) and not client.job(job.id).ended:
            client.cancel(job.id)


def _code(outcome: Job | ProblemError | OSError) -> int:
    match outcome:
        case Job(result={"outcome": "certified"}):
            return CERTIFIED
        case Job(result={"outcome": "abstained"}):
            return ABSTAINED
        case ProblemError(status=422):  # found in the request before there was a job
            return BAD_USAGE
        case _:
            return FAILURE


def _as_json(outcome: Job | ProblemError | OSError) -> dict[str, Any]:
    match outcome:
        case Job():
            return outcome.raw
        case ProblemError():
            return {"status": "refused", "error": {"code": outcome.code, "detail": outcome.detail}}
        case OSError():
            return {"status": "refused", "error": {"code": "unreadable_file", "detail": outcome.strerror}}


def _show(named: Iterable[tuple[Path, Job | ProblemError | OSError]]) -> None:
    rows = []
    for file, outcome in named:
        if isinstance(outcome, Job):
            rows.append(console.Row(image=str(file), job=outcome))
        else:
            console.errors().print(f"{file}: {outcome}")
    if rows:
        console.print_results(console.output(), rows)
        console.output().print(console.CAVEAT)
