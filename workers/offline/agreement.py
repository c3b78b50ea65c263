"""The agreement of readers with results: counts of the assessments that count, with an exact confidence interval."""

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from certrad.models.smoothing import clopper_pearson_lower, clopper_pearson_upper
from certrad.workers.contract.assessments import Assessment, Assessments, Outcome, Verdict
from certrad.workers.contract.exit_codes import DONE, FAILURE, fail
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import WorkerSettings

CONFIDENCE: Final = 0.95
"""Confidence of the two-sided interval of Clopper and Pearson."""

_Kind = tuple[Outcome, str | None, str, str, str | None]
_TAIL: Final = (1 - CONFIDENCE) / 2
_WIDTH: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The assessments of the results of one kind.

    Attributes:
        outcome: Whether a class was certified.
        task: Task of the jobs; None where readers named no job.
        backbone: Id of the backbone.
        prompt: Id of the prompt, or `template`.
        adapter: Id of the adapter of the image encoder; None for the frozen one.
        accepted: Certificates whose latest assessment accepts them.
        rejected: Those that it rejects.
        amended: Those that it amends.
        agreement: The share of the accepted ones.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    outcome: Outcome
    task: str | None
    backbone: str
    prompt: str
    adapter: str | None
    accepted: int
    rejected: int
    amended: int
    agreement: float
    low: float
    high: float


def agreements(latest: Iterable[Assessment]) -> list[Agreement]:
    """Returns the agreement for each outcome, task and classifier.

    Args:
        latest: One assessment for each certificate.
    """
    counts: dict[_Kind, Counter[Verdict]] = {}
    for each in latest:
        kind = (each.outcome, each.task, each.backbone, each.prompt, each.adapter)
        counts.setdefault(kind, Counter())[each.verdict] += 1
    ordered = sorted(counts, key=lambda kind: (kind[0] != "certified", *(part or "" for part in kind[1:])))
    return [_agreement(kind, counts[kind]) for kind in ordered]


def print_agreement(options: Namespace) -> int:
    """Prints the agreement as a table or as JSON.

    Args:
        options: `data_dir` and `json`.

    Returns:
        The exit code.
    """
    settings = settings_of(WorkerSettings, options.data_dir)
    try:
        found = agreements(Assessments(settings.assessments_dir).latest())
    except OSError as error:
        return fail(f"the assessments in {settings.assessments_dir} cannot be read: {error.strerror}", FAILURE)
    if options.json:
        sys.stdout.write(json.dumps([asdict(each) for each in found]) + "\n")
        return DONE
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_WIDTH)
    console.print(_table(found) if found else "No reader has assessed a certificate yet.")
    return DONE


def _agreement(kind: _Kind, counts: Counter[Verdict]) -> Agreement:
    outcome, task, backbone, prompt, adapter = kind
    accepted, total = counts["accept"], counts.total()
    return Agreement(
        outcome=outcome,
        task=task,
        backbone=backbone,
        prompt=prompt,
        adapter=adapter,
        accepted=accepted,
        rejected=counts["reject"],
        amended=counts["amend"],
        agreement=accepted / total,
        low=clopper_pearson_lower(accepted, total, _TAIL),
        high=clopper_pearson_upper(accepted, total, _TAIL),
    )


def _table(found: Iterable[Agreement]) -> Table:
    table = Table()
    for name in ("outcome", "task", "backbone", "prompt", "adapter"):
        table.add_column(name)
    for name in ("accepted", "rejected", "amended", "agreement", f"{CONFIDENCE:.0%} interval"):
        table.add_column(name, justify="right")
    for each in found:
        table.add_row(
            each.outcome,
            each.task or "-",
            each.backbone,
            each.prompt,
            each.adapter or "-",
            str(each.accepted),
            str(each.rejected),
            str(each.amended),
            f"{each.agreement:.1%}",
            f"{each.low:.1%} to {each.high:.1%}",
        )
    return table
