"""`certrad selftest`: every check that this machine can make, and a report to keep."""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import torch
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from certrad.models.backbones.base import EMBEDDED, EMBEDDED_ID, load_backbone
from certrad.models.backbones.device import chosen_device, chosen_precision, loading_dtype
from certrad.models.backbones.openvino_tower import in_precision
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.signature import sign
from certrad.models.files import replace_file
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing.device import default_batch_size
from certrad.models.types.selftest import CHECKS, REPORT_SCHEMA, SelfTestCheck, SelfTestReport, SkippedCheck
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.redis_access import redis_options
from certrad.workers.engine.selftest import device_checks, device_facts
from certrad.workers.intake.selftest import check_decoder, check_redis, check_signing, intake_facts
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import StackSettings

_REDIS_SECONDS: Final = 5.0

Outcome = SelfTestCheck | SkippedCheck


def test_this_machine(options: Namespace) -> int:
    """Makes the checks, prints each as it ends, and writes the report.

    Returns:
        The exit code: 0 if every check that was made passed, 1 otherwise, 2 for bad usage.
    """
    settings = settings_of(StackSettings, options.data_dir)
    try:
        report = tested(settings, options.samples, _ignore if options.json else _print)
    except ValueError as error:
        return fail(str(error), BAD_USAGE)
    content = signed_report(report, SigningKeys(settings.signing_dir))
    sys.stdout.write(f"{content.decode()}\n" if options.json else _summary(report))
    if options.out is not None:
        try:
            replace_file(options.out, content, private=False)
        except OSError as error:
            return fail(f"the report cannot be written: {error.strerror}", FAILURE)
    return DONE if report.passed else FAILURE


def tested(settings: StackSettings, samples: int, on_outcome: Callable[[Outcome], None]) -> SelfTestReport:
    """Makes the checks and returns the report.

    Args:
        settings: Device, precision and data directory.
        samples: Samples of the label counts, rounded up to whole batches.
        on_outcome: Receives the outcome of each check as it ends.

    Raises:
        ValueError: The device of the settings is not here.
    """
    try:
        device = chosen_device(settings.device)
        dtype = chosen_precision(settings.dtype, device)
    except (RuntimeError, AssertionError) as error:  # torch has no such device
        raise ValueError(f"CERTRAD_DEVICE: {str(error).partition(chr(10))[0]}") from None
    torch.set_num_threads(settings.threads)
    batch_size = settings.block_size or default_batch_size(device)
    made: list[Outcome] = []
    for outcome in _outcomes(settings, device, dtype, batch_size, samples):
        made.append(outcome)
        on_outcome(outcome)
    return SelfTestReport(
        made_at=time.time(),
        checks=tuple(outcome for outcome in made if isinstance(outcome, SelfTestCheck)),
        skipped=tuple(outcome for outcome in made if isinstance(outcome, SkippedCheck)),
        facts={**intake_facts(), **device_facts(device, dtype, batch_size=batch_size)},
    )


def signed_report(report: SelfTestReport, keys: SigningKeys) -> bytes:
    """Returns a report as canonical JSON, every number a decimal string, signed as a certificate document is.

    Args:
        report: The report.
        keys: The keys of this machine; without one that was ever used, `signature` is null.
    """
    document: dict[str, Any] = {
        "schema": REPORT_SCHEMA,
        "made_at": datetime.fromtimestamp(report.made_at, UTC).isoformat(timespec="seconds"),
        "passed": report.passed,
        "checks": [{**asdict(check), "promise": CHECKS[check.name]} for check in report.checks],
        "skipped": [asdict(check) for check in report.skipped],
        "facts": report.facts,
        "signature": None,
    }
    return canonical(sign(document, keys.current()) if keys.public_keys() else document)


def _outcomes(
    settings: StackSettings, device: torch.device, dtype: str, batch_size: int, samples: int
) -> Iterator[Outcome]:
    card = shipped_backbones()[EMBEDDED_ID]
    yield from device_checks(
        device,
        lambda: in_precision(load_backbone(card, EMBEDDED, device=device, dtype=loading_dtype(dtype)), dtype),
        batch_size=batch_size,
        samples=samples,
    )
    yield check_decoder(settings)
    redis = _redis(settings)
    if redis is None:
        yield SkippedCheck(
            name="redis", reason="no service runs on this data directory, and CERTRAD_REDIS_URL is unset"
        )
        yield check_signing(settings, None)
        return
    with redis:
        reached = check_redis(redis)
        yield reached
        yield check_signing(settings, Keyring(redis) if reached.ok else None)


def _redis(settings: StackSettings) -> Redis | None:
    """Returns a client of the named Redis, else of the one that `up` runs on the data directory; None without one."""
    options = redis_options(settings)
    if "redis_url" not in settings.model_fields_set:
        embedded = EmbeddedRedis(settings.data_dir.resolve() / "redis")
        if not embedded.socket_path.exists():
            return None
        options["url"] = embedded.url
    return Redis.from_url(
        **options,
        socket_connect_timeout=_REDIS_SECONDS,
        socket_timeout=_REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def _ignore(_: Outcome) -> None:
    """Prints nothing: the report follows as JSON."""


def _print(outcome: Outcome) -> None:
    sys.stdout.write(_line(outcome))
    sys.stdout.flush()


def _line(outcome: Outcome) -> str:
    if isinstance(outcome, SkippedCheck):
        return f"skipped  {outcome.name:12} {outcome.reason}\n"
    return f"{'ok' if outcome.ok else 'FAILED':8} {outcome.name:12} {outcome.detail} ({outcome.seconds:.2f} s)\n"


def _summary(report: SelfTestReport) -> str:
    facts = "".join(f"{name:18} {value}\n" for name, value in report.facts.items())
    outcome = "passed" if report.passed else f"FAILED: {', '.join(report.failed_checks)}"
    return f"\n{facts}\n{outcome} ({report.seconds:.2f} s)\n"
