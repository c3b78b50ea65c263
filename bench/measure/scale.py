"""Measures one certificate over several engines: how much faster it is, and what it asks of Redis.

    python -m certrad.bench scale

Real engines: `certrad up` with `demo`, each engine on one thread and pinned to a core of its own, as many
as there are cores. Simulated engines, up to 64: real Redis, real claims and commits, and a classifier that sleeps for
the time of a GPU. Simulated engines that do not sleep: what Redis takes for a batch, and where it saturates, with its
writes on the disk before each answer, as `certrad up` has it, and without.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from redis import Redis

from certrad.bench.common.machine import this_machine
from certrad.bench.measure.scale_real import Real, measure_real
from certrad.bench.measure.scale_simulation import Simulated, simulate
from certrad.workers.local.redis_server import EmbeddedRedis

_ENGINES: Final = "1,2,4,8,16,32,64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One certificate.

    Attributes:
        kind: `measured` with a real encoder, or `simulated`.
        engines: Engines that shared it.
        seconds: From the first claim to the decision.
        efficiency: Time of one engine over the time of so many, divided by their number.
        samples_per_second: Samples of all engines together.
        commands_per_sample: Requests to Redis; None where they were not counted.
        redis_share: Processor time of Redis over the time, 1 for all of one core; None where it was not read.
        engine_share: The same for the code of all engines around the encoder.
    """

    kind: str
    engines: int
    seconds: float
    efficiency: float
    samples_per_second: float
    commands_per_sample: float | None = None
    redis_share: float | None = None
    engine_share: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--engines", default=_ENGINES, help="numbers of simulated engines")
    parser.add_argument("--n", type=int, default=200_000, help="samples of a certificate of simulated engines")
    parser.add_argument("--batch-size", type=int, default=256, help="samples of one batch")
    parser.add_argument("--batch-ms", type=float, default=100.0, help="milliseconds that a simulated GPU takes for it")
    parser.add_argument("--real-n", type=int, default=20_000, help="samples of a certificate of real engines; 0: none")
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    machine = this_machine()
    numbers = [int(number) for number in arguments.engines.split(",")]
    cores = sorted(os.sched_getaffinity(0))
    tables: dict[str, list[Row]] = {}

    def tell(title: str, rows: list[Row]) -> None:
        tables[title] = rows
        if not arguments.json:  # at once: the next table takes minutes
            print(as_markdown(title, rows), end="\n\n", flush=True)

    if arguments.real_n:
        reals = [measure_real(arguments.real_n, cores[:engines]) for engines in _doublings(len(cores))]
        tell("real engines", _of_reals(reals, arguments.real_n))
    for title, seconds, fsync in (
        (f"simulated engines, {arguments.batch_ms:g} ms for a batch", arguments.batch_ms / 1000, "always"),
        ("simulated engines that take no time for a batch", 0.0, "always"),
        ("the same, with a Redis that writes to the disk once a second", 0.0, "everysec"),
    ):
        with _redis(fsync) as socket:
            made = [
                simulate(socket, engines=engines, n=arguments.n, batch_size=arguments.batch_size, seconds=seconds)
                for engines in numbers
            ]
        tell(title, _of_simulated(made, arguments.n))
    if arguments.json:
        rows = {title: [asdict(row) for row in table] for title, table in tables.items()}
        print(json.dumps({"tables": rows, "machine": asdict(machine)}, indent=2))
    else:
        print(machine)


def as_markdown(title: str, rows: list[Row]) -> str:
    """Returns a table for the documentation.

    Args:
        title: What it is about.
        rows: Its rows.
    """
    lines = [
        f"**{title}**",
        "",
        "| kind | engines | s | efficiency | samples/s | commands/sample | Redis, cores | code of engines, cores |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        counted = (row.commands_per_sample, row.redis_share, row.engine_share)
        cells = " | ".join("" if value is None else f"{value:.3g}" for value in counted)
        lines.append(
            f"| {row.kind} | {row.engines} | {row.seconds:.2f} | {row.efficiency:.2f} | {row.samples_per_second:,.0f} "
            f"| {cells} |"
        )
    return "\n".join(lines)


def _of_reals(reals: list[Real], n: int) -> list[Row]:
    return [
        Row(
            kind="measured",
            engines=real.engines,
            seconds=real.seconds,
            efficiency=reals[0].seconds / real.seconds / real.engines,
            samples_per_second=n / real.seconds,
        )
        for real in reals
    ]


def _of_simulated(made: list[Simulated], n: int) -> list[Row]:
    first = made[0]
    return [
        Row(
            kind="simulated",
            engines=one.engines,
            seconds=one.seconds,
            efficiency=first.seconds * first.engines / one.seconds / one.engines,
            samples_per_second=n / one.seconds,
            commands_per_sample=one.commands / n,
            redis_share=one.redis_seconds / one.seconds,
            engine_share=one.engines_seconds / one.seconds,
        )
        for one in made
    ]


def _doublings(most: int) -> list[int]:
    return [number for number in (1, 2, 4, 8, 16, 32, 64) if number <= most]


@contextmanager
def _redis(fsync: str) -> Iterator[Path]:
    """Yields the socket of a Redis of its own, as `certrad up` starts it but for when its writes reach the disk."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as server:
        with Redis.from_url(server.url) as redis:
            redis.config_set("appendfsync", fsync)
        yield server.socket_path
