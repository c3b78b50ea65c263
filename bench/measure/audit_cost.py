"""Measures what the audit trail adds to a call of the API: milliseconds of one event, and of reading a certificate.

    python -m certrad.bench audit-cost

A certificate is read over a real socket, with the trail and with one that records nothing; both are asked in turn.
"""

import argparse
import hashlib
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import uvicorn

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.bench.common.machine import Machine, this_machine
from certrad.workers.contract.audit_events import AuditEvent
from certrad.workers.contract.audit_trail import AuditTrail

_DOCUMENT = json.dumps({"schema": "certrad.certificate/3", "fill": "0" * 40_000}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCost:
    """Medians in milliseconds.

    event: writing one event. event_of_four: the same while three other threads write. read: reading a certificate
    without a trail. audited_read: reading it with one.
    """

    event: float
    event_of_four: float
    read: float
    audited_read: float
    machine: Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    measured = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(asdict(measured)))
    else:
        print(
            f"an event {measured.event:.2f} ms, one of four writers {measured.event_of_four:.2f} ms; reading a "
            f"certificate {measured.read:.2f} ms, with its event {measured.audited_read:.2f} ms"
        )


def measure(rounds: int) -> AuditCost:
    """Returns the cost on this machine, on the disk of the folder for temporary files."""
    machine = this_machine()
    with tempfile.TemporaryDirectory() as folder:
        trail = AuditTrail(Path(folder) / "trail")
        event = AuditEvent(name="certificate_read", process="bench", certificate="ab" * 32, network="127.0.0.1")
        alone = _median(lambda: trail.record(event), rounds)
        others = [threading.Thread(target=_median, args=(lambda: trail.record(event), rounds)) for _ in range(3)]
        for other in others:
            other.start()
        of_four = _median(lambda: trail.record(event), rounds)
        for other in others:
            other.join()
        plain, audited = _reads(Path(folder), rounds)
    return AuditCost(event=alone, event_of_four=of_four, read=plain, audited_read=audited, machine=machine)


def _reads(folder: Path, rounds: int) -> tuple[float, float]:
    digest = hashlib.sha256(_DOCUMENT).hexdigest()
    settings = ApiSettings(data_dir=folder)
    settings.certificates_dir.mkdir()
    (settings.certificates_dir / f"{digest}.json").write_bytes(_DOCUMENT)
    plain, audited = [], []
    with _served(settings) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def read() -> None:
            connection.request("GET", f"/certificates/{digest}")
            assert connection.getresponse().read() == _DOCUMENT  # noqa: S101  # a refusal would be fast

        for _ in range(rounds):
            with patch.object(AuditTrail, "record", return_value=True):
                plain.append(_median(read, 1))
            audited.append(_median(read, 1))
        connection.close()
    return statistics.median(plain), statistics.median(audited)


@contextmanager
def _served(settings: ApiSettings) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def _median(call: Callable[[], object], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - begin))
    return statistics.median(took)
