"""The journal of a long measurement: settings first, then a JSON line for each image and sigma, never rewritten."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from certrad.bench.common.noisy_images import Job, Record, StudySettings
from certrad.models.evaluation import journal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Line(Protocol):
    """The content of one line of a journal."""

    def to_json(self) -> str:
        """The line."""


L = TypeVar("L", bound=Line)


class Lines(Generic[L]):
    """Keeps records of one study across runs; a line torn by a kill is dropped.

    Raises ValueError where the file belongs to a study of other settings.
    """

    def __init__(self, path: Path | None, settings: "DataclassInstance", from_json: Callable[[str], L]) -> None:
        self._kept = journal.Journal(path, json.dumps(asdict(settings), sort_keys=True))
        self.records = [from_json(line) for line in self._kept.lines]

    def append(self, record: L) -> None:
        """Keeps one more record."""
        self._kept.append(record.to_json())
        self.records.append(record)


class Journal(Lines[Record]):
    """The journal of certified accuracy."""

    def __init__(self, path: Path, settings: StudySettings) -> None:
        super().__init__(path, settings, Record.from_json)

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs without a record that serves them."""
        done = {(r.index, r.sigma, all(counts.check for counts in r.methods.values())) for r in self.records}
        return [j for j in jobs if (j.index, j.sigma, True) not in done and (j.index, j.sigma, j.check) not in done]

    def of(self, jobs: Iterable[Job]) -> list[Record]:
        """The latest record of each job, in the order of the jobs."""
        latest = {(record.index, record.sigma): record for record in self.records}
        return [latest[job.index, job.sigma] for job in jobs]
