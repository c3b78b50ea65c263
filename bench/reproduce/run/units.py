"""Units of work: each is computed once, in whatever process, and kept in a journal that a killed run goes on from."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from tqdm import tqdm

from certrad.models.evaluation.journal import Journal

Json = Any
Key = tuple[str | int | float, ...]
U = TypeVar("U")
U_contra = TypeVar("U_contra", contravariant=True)


class Worker(Protocol[U_contra]):
    """Computes a unit; loaded once in each process."""

    def __call__(self, unit: U_contra) -> Json:
        """The JSON value of a unit."""


class Kept:
    """The values of finished units in a folder.

    header: what all values depend on; another header has a file of its own, so that no value is taken for another's.
    """

    def __init__(self, folder: Path, header: Json) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps(header, sort_keys=True)
        self._journal = Journal(folder / f"{hashlib.sha256(line.encode()).hexdigest()[:12]}.jsonl", line)
        self._values = {tuple(key): value for key, value in map(json.loads, self._journal.lines)}

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def __getitem__(self, key: Key) -> Json:
        return self._values[key]

    def keep(self, key: Key, value: Json) -> None:
        """Keeps the value of a unit."""
        self._journal.append(json.dumps([list(key), value]))
        self._values[key] = value


@dataclass(frozen=True)
class Workforce(Generic[U]):
    """Processes of one thread each that compute units; one process is this one, with the threads it has.

    build: loads what a process needs; it is sent to each, so it holds names and small tensors only.
    """

    build: Callable[[], Worker[U]]
    processes: int

    def compute(self, units: Sequence[tuple[Key, U]], kept: Kept, title: str) -> list[Json]:
        """The values of all units, in order; what `kept` lacks is computed and kept."""
        todo = [(key, unit) for key, unit in units if key not in kept]
        if todo:
            with tqdm(total=len(units), initial=len(units) - len(todo), desc=title, unit="unit") as progress:
                for (key, _), value in zip(todo, self._values([unit for _, unit in todo]), strict=True):
                    kept.keep(key, value)
                    progress.update()
        return [kept[key] for key, _ in units]

    def _values(self, units: Sequence[U]) -> Iterator[Json]:
        if self.processes == 1:
            yield from map(self.build(), units)
            return
        with ProcessPoolExecutor(
            min(self.processes, len(units)), get_context("spawn"), initializer=_start, initargs=(self.build,)
        ) as pool:
            yield from pool.map(_compute, units)


_worker: Worker[Any]
"""Worker of a process of the pool, loaded once by `_start`."""


def _start(build: Callable[[], Worker[Any]]) -> None:
    global _worker  # what the initializer of a process pool is for
    torch.set_num_threads(1)
    _worker = build()


def _compute(unit: object) -> Json:
    return _worker(unit)
