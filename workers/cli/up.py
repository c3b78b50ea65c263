"""`certrad up`: the whole service on this machine."""

import io
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from certrad.workers.cli.callbacks_run import secrets_of
from certrad.workers.contract.arguments import Parser, add_data_dir, add_host
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, SELFTEST_FAILED, fail
from certrad.workers.contract.loopback import AddressError, is_loopback
from certrad.workers.contract.option_kinds import integer
from certrad.workers.contract.rules_file import read_rules


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    add_host(parser)
    parser.option("--port", integer(0, 65_535), "port to listen on; 0 picks a free one", default=8000)
    add_data_dir(parser)
    parser.option("--engines", integer(1, 64), "number of engine processes", default=1)


def run(options: Namespace) -> int:
    """Runs the service until a signal.

    Returns:
        The exit code.
    """
    from certrad.models.installed import CardError, own_cards
    from certrad.workers.contract import logs
    from certrad.workers.contract.data_version import open_directory
    from certrad.workers.local.redis_server import EmbeddedRedisError
    from certrad.workers.local.stack import Stack
    from certrad.workers.local.supervisor import StackError
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.pacs.connections import root_of
    from certrad.workers.settings import CallbackSettings, ConnectorSettings, StackSettings

    try:
        is_loopback(options.host)
    except AddressError as error:
        return fail(str(error), BAD_USAGE)
    settings = settings_of(StackSettings, options.data_dir)
    try:
        own_cards(
            settings.cards_dir, settings.prompts_dir, settings.adapters_dir
        )  # the engines would report a faulty one in their logs only
    except CardError as error:
        return fail(str(error), BAD_USAGE)
    try:
        connector = ConnectorSettings()
        if connector.pacs_url is not None:
            root_of(connector)
            read_rules(connector.rules)
        if settings.allowed_callbacks:
            secrets_of(CallbackSettings())
    except ValueError as error:  # RulesError too
        return fail(str(error), BAD_USAGE)
    data_dir = settings.data_dir.resolve()
    _tell(f"data directory {data_dir} ({_origin(options.data_dir, settings)}; {_age(data_dir)})")
    open_directory(data_dir)
    log_dir = data_dir / "logs"
    log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    redis = "" if "redis_url" in settings.model_fields_set else "Redis, "
    engines = f"{options.engines} {'engine' if options.engines == 1 else 'engines'}"
    _tell(f"starting {redis}intake, {engines} and the API; logs in {log_dir}")

    def announce(url: str) -> None:
        sys.stdout.write(f"certrad ready on {url}\n")
        sys.stdout.flush()
        _tell(f"in another terminal: {_command()} certify IMAGE --url {url}; Ctrl+C stops the service")

    with _log(log_dir / "stack.log") as log:
        logs.configure("stack", log)
        try:
            stack = Stack(
                settings,
                host=options.host,
                port=options.port,
                engines=options.engines,
                connects_to_pacs=connector.pacs_url is not None,
            )
            stack.run(on_ready=announce, on_death=_report_death, on_hang=_report_hang)
        except (StackError, EmbeddedRedisError) as error:
            return fail(str(error), FAILURE)
    return DONE


@contextmanager
def _log(path: Path) -> Iterator[TextIO]:
    """Yields the log of this process; what a full disk did not take is lost."""
    from certrad.workers.local.log_files import open_log

    log = io.TextIOWrapper(open_log(path), encoding="utf-8", write_through=True)
    try:
        yield log
    finally:
        with suppress(OSError):
            log.close()


def _command() -> str:
    """Returns how to call `certrad` from the working directory: by its name where the shell finds it, else by path."""
    if shutil.which("certrad"):
        return "certrad"
    return os.path.relpath(Path(sys.executable).with_name("certrad"))


def _origin(given: Path | None, settings: object) -> str:
    """Returns who chose the data directory."""
    if given is not None:
        return "from --data-dir"
    chosen = "data_dir" in getattr(settings, "model_fields_set", ())
    return "from CERTRAD_DATA_DIR" if chosen else "the default, in the working directory"


def _age(data_dir: Path) -> str:
    """Returns whether the data directory exists already: a service started in another folder would begin anew."""
    there = data_dir.is_dir() and any(data_dir.iterdir())
    return "its jobs, prompts and keys are used" if there else "new, without earlier jobs, prompts or keys"


def _report_death(name: str, code: int) -> None:
    if code == SELFTEST_FAILED:
        _tell(f"the self-test of {name} failed; it takes no work and is tried again in a minute; see its log")
        return
    _tell(f"{name} ended with exit code {code} and is started again; see its log")


def _report_hang(name: str) -> None:
    _tell(f"{name} runs and does not answer; it is ended and started again")


def _tell(message: str) -> None:
    with suppress(OSError):  # a full disk or a closed terminal must not stop the service
        sys.stderr.write(f"certrad: {message}\n")
        sys.stderr.flush()
