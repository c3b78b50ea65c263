"""The self-test of an engine: it takes work only when its device gives the stored answers."""

import os
import platform
import re
import socket
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog
import torch

from certrad.models.backbones.base import EMBEDDED_ID, Backbone
from certrad.models.backbones.openvino_tower import encoder_software
from certrad.models.backbones.processor import processor_name
from certrad.models.selftest.checks import DeviceCheck
from certrad.models.selftest.facts import ReferencesError, references_sha256
from certrad.models.selftest.outcome import run_check
from certrad.models.selftest.references import read_references
from certrad.models.smoothing.device import noise_law, noise_path
from certrad.models.types.selftest import SelfTestCheck, SelfTestReport, SkippedCheck
from certrad.workers.contract.selftest import FailedSelfTest, SelfTests
from certrad.workers.contract.store_round_trip import round_trip
from certrad.workers.engine.code_digest import code_sha256
from certrad.workers.engine.runtime import Runtime

START_SAMPLES: Final = 128
ORDERED_SAMPLES: Final = 512

_DRIVER: Final = Path("/proc/driver/nvidia/version")
_DRIVER_VERSION: Final = re.compile(r"\b\d+\.\d+(?:\.\d+)?\b")
_PACKAGES: Final = ("certrad", "numpy", "open_clip_torch", "redis", "rq", "scipy", "torch", "transformers")
_OF_INTAKE: Final = "intake makes this check, on its own host"

_log = structlog.get_logger()


def run_selftest(runtime: Runtime, *, samples: int) -> SelfTestReport:
    """Returns the report of the self-test of this engine; each check that fails is logged.

    Args:
        runtime: The state of the engine.
        samples: Samples of the label counts, rounded up to whole batches.
    """
    checks = [
        *device_checks(
            runtime.device,
            lambda: runtime.backbone(EMBEDDED_ID, runtime.dtype),
            batch_size=runtime.batch_size,
            samples=samples,
        ),
        run_check("redis", lambda: round_trip(runtime.redis), time.monotonic),
    ]
    report = SelfTestReport(
        made_at=time.time(),
        checks=tuple(checks),
        skipped=(SkippedCheck(name="decoder", reason=_OF_INTAKE), SkippedCheck(name="signing", reason=_OF_INTAKE)),
        facts=device_facts(runtime.device, runtime.dtype, batch_size=runtime.batch_size),
    )
    for check in report.checks:
        if not check.ok:
            _log.error("selftest failed", check=check.name, detail=check.detail)
    if report.passed:
        _log.info("selftest passed", seconds=round(report.seconds, 3))
    return report


def device_checks(
    device: torch.device, load: Callable[[], Backbone], *, batch_size: int, samples: int
) -> Iterator[SelfTestCheck]:
    """Yields the checks of a device, with noise of a fresh key.

    Args:
        device: The device.
        load: Returns the demonstration model on it.
        batch_size: Samples of a batch.
        samples: Samples of the label counts, rounded up to whole batches.
    """
    try:
        references = read_references()
    except ReferencesError as error:
        yield SelfTestCheck(name="noise_words", ok=False, detail=str(error), seconds=0.0)
        return
    yield from DeviceCheck(
        references=references,
        device=device,
        load=load,
        batch_size=batch_size,
        samples=samples,
        key=os.urandom(32),
        clock=time.monotonic,
    ).run()


def record_selftest(runtime: Runtime, worker_name: str, report: SelfTestReport) -> None:
    """Publishes a failure for GET /health/workers, or removes the one that this device had before.

    Args:
        runtime: The state of the engine.
        worker_name: Name of the RQ worker.
        report: The report.
    """
    tests, host, device = SelfTests(runtime.redis), socket.gethostname(), str(runtime.device)
    if report.passed:
        tests.forget_failure(host, device)
        return
    _log.error("engine takes no work", worker=worker_name, checks=report.failed_checks)
    tests.publish_failure(
        FailedSelfTest(host=host, device=device, failed_at=report.made_at, checks=report.failed_checks)
    )


def device_facts(device: torch.device, dtype: str, *, batch_size: int) -> dict[str, str]:
    """Returns the facts of a device and of the software on it that a report keeps.

    Args:
        device: The device.
        dtype: The name of the precision of the image encoder.
        batch_size: Samples of a batch.
    """
    cuda = device.type == "cuda"
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "driver": _driver() if cuda else "none",
        "cuda": str(torch.version.cuda) if cuda else "none",
        "dtype": dtype,
        "processor": processor_name(device),
        "threads": str(torch.get_num_threads()),
        "block_size": str(batch_size),
        "noise_law": noise_law(device),
        "noise_path": noise_path(device),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in _PACKAGES},
        **encoder_software(dtype),
        "code_sha256": code_sha256(),
        "references_sha256": references_sha256(),
    }


def _driver() -> str:
    """Returns the version of the NVIDIA driver, as its kernel module tells it."""
    try:
        found = _DRIVER_VERSION.search(_DRIVER.read_text("utf-8"))
    except OSError:
        return "unknown"
    return found[0] if found else "unknown"
