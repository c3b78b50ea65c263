"""`certrad pacs run`: the connector to a PACS."""

import signal
import threading
from argparse import Namespace

from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.rules_file import RulesError, read_rules


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    add_data_dir(parser)


def run(options: Namespace) -> int:
    """Runs the connector until SIGTERM or SIGINT.

    Returns:
        The exit code.
    """
    import logging
    import sqlite3

    from certrad.workers.contract import logs
    from certrad.workers.contract.audit import recorded_run
    from certrad.workers.contract.audit_trail import AuditTrail
    from certrad.workers.contract.data_version import open_directory
    from certrad.workers.offline.settings import settings_of
    from certrad.workers.pacs.connector import Connector
    from certrad.workers.settings import ConnectorSettings

    logs.configure("pacs")
    for name in ("httpx", "httpcore"):  # they would log the addresses of images, which name the patient's study
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = settings_of(ConnectorSettings, options.data_dir)
    open_directory(settings.data_dir)
    try:
        trail = AuditTrail(settings.audit_dir)
        connector = Connector(settings, read_rules(settings.rules), trail)
    except RulesError as error:
        for problem in error.problems:
            fail(problem, BAD_USAGE)
        return BAD_USAGE
    except ValueError as error:
        return fail(str(error), BAD_USAGE)
    except (OSError, sqlite3.Error) as error:
        return fail(f"the database of the connector cannot be used: {type(error).__name__}", FAILURE)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _, __: stop.set())
    try:
        with recorded_run(trail, "pacs"):
            connector.run(stop.wait)
    finally:
        connector.close()
    return DONE
