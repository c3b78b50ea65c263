"""`certrad erase`: everything about one patient's jobs."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from certrad.workers.contract.access import LOCAL_TENANT, TENANT_FORM, is_tenant
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import Kind, text

if TYPE_CHECKING:
    from redis import Redis

    from certrad.workers.offline.erasure import Report, Wanted
    from certrad.workers.settings import StackSettings

STAYS: Final = (
    "the audit trail, which names jobs, and no patient",
    "what callers, receivers of callbacks and a PACS have received",
    "backups of the data directory and of Redis",
    "Redis' append-only file holds the records until it is rewritten, while no job is active",
)
"""What no erasure reaches."""


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.option("--reference", text("R"), "reference of the jobs; - reads it from standard input")
    parser.option("--study", text("UID"), "UID of a study that the connector to the PACS has had certified")
    parser.option("--jobs", _ids(), "ids of the jobs, separated by commas")
    parser.option(
        "--tenant",
        text("NAME"),
        "tenant of the jobs",
        without=f"with --study that of CERTRAD_TRIGGER_TENANT, else {LOCAL_TENANT}",
    )
    parser.flag("--certificates", "erase their certificates too, which hold no patient data")
    parser.flag("--dry-run", "say what would be erased, and change nothing")
    parser.flag("--yes", "erase without asking")
    parser.flag("--json", "print machine-readable output")
    add_data_dir(parser)
    parser.check(_rules)


def _ids() -> Kind:
    def read(given: str) -> tuple[str, ...]:
        return tuple(filter(None, (part.strip() for part in given.split(","))))

    return Kind(read=read, metavar="ID,...")


def _rules(options: Namespace) -> Iterator[str]:
    if not (options.reference or options.study or options.jobs):
        yield "one of `--reference`, `--study` and `--jobs` must be given"
    if options.tenant is not None and not is_tenant(options.tenant):
        yield f"`--tenant` must be {TENANT_FORM}"
    if options.dry_run and options.yes:
        yield "`--dry-run` and `--yes` exclude each other"
    if not options.dry_run and not options.yes and (options.reference == "-" or not sys.stdin.isatty()):
        yield "`--yes` must be given where nobody can be asked"


def run(options: Namespace) -> int:
    """Erases, or says what would be erased.

    Returns:
        The exit code: 1 if nothing was found or not all could be erased.
    """
    from redis.exceptions import RedisError

    from certrad.workers.offline.erasure import Wanted
    from certrad.workers.offline.service_redis import running_redis
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.settings import StackSettings

    settings = settings_of(StackSettings, options.data_dir)
    reference = sys.stdin.readline().rstrip("\n") if options.reference == "-" else options.reference
    wanted = Wanted(
        tenant=options.tenant or (settings.trigger_tenant if options.study else LOCAL_TENANT),
        reference=reference or None,
        study=options.study,
        jobs=options.jobs or (),
        with_certificates=options.certificates,
    )
    code = FAILURE
    try:
        with running_redis(settings, otherwise="the records of its jobs are in its database: start it first") as redis:
            code = _erase(redis, settings, wanted, options)
    except RedisError as error:
        return fail(
            f"Redis does not answer or refuses ({type(error).__name__}), so that not all could be erased: run this "
            "again, as the user of the API",
            FAILURE,
        )
    return code  # without a service the body has not come to its end


def _erase(redis: "Redis", settings: "StackSettings", wanted: "Wanted", options: Namespace) -> int:
    import sqlite3
    from contextlib import closing

    from certrad.workers.offline.erasure import Erasure, HeldError, UnrecordedError

    try:
        with closing(Erasure(redis, settings, wanted)) as rehearsal:
            found = rehearsal.rehearse()
        if not any(found.counts.values()):
            return fail(
                f"nothing is found of tenant {wanted.tenant}; a reference is known for {settings.job_ttl} s after the "
                "end of a job, and then --jobs finds what is left",
                FAILURE,
            )
        if options.dry_run or not (options.yes or _agrees(found)):
            _tell(found, "would be erased" if options.dry_run else "not erased", as_json=options.json)
            return DONE
        with closing(Erasure(redis, settings, wanted)) as erasure:  # looks again: a job may have ended meanwhile
            _tell(erasure.run(), "erased", as_json=options.json)
        return DONE
    except (HeldError, UnrecordedError) as error:
        return fail(str(error), FAILURE)
    except ValueError as error:
        return fail(str(error), BAD_USAGE)
    except (OSError, sqlite3.Error) as error:
        return fail(f"not all could be erased ({type(error).__name__}): run this again", FAILURE)


def _unnamed(job_id: str) -> str:
    return (
        f"whatever is kept by the certificate of job {job_id}, if it had one: neither a job record nor the audit trail "
        "names it"
    )


def _agrees(found: "Report") -> bool:
    things = ", ".join(f"{count} {name}" for name, count in found.counts.items() if count)
    sys.stderr.write(f"certrad: this erases for ever {things}. Type yes to erase: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"


def _tell(report: "Report", what: str, *, as_json: bool) -> None:
    certificates = [f"certificate {digest}, which holds no patient data" for digest in report.certificates]
    stays = [*certificates, *map(_unnamed, report.unnamed), *STAYS]
    if as_json:
        answer = {"what": what, "jobs": list(report.jobs), "counts": dict(report.counts), "stays": stays}
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    sys.stdout.write(f"jobs: {', '.join(report.jobs) or 'none'}\n{what}:\n")
    sys.stdout.writelines(f"{count:8}  {name}\n" for name, count in report.counts.items())
    sys.stdout.write("stays:\n")
    sys.stdout.writelines(f"  {one}\n" for one in stays)
