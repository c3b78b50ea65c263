"""`certrad pacs check`: the connection to the PACS, step by step."""

import json
import logging
import sys
from argparse import Namespace
from dataclasses import asdict

from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.flag("--json", "print a line of JSON for each step")


def run(options: Namespace) -> int:
    """Tests the connection and prints each step as it ends.

    Returns:
        The exit code: 0 if every step went well.
    """
    from certrad.workers.pacs.check import check
    from certrad.workers.settings import ConnectorSettings

    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = ConnectorSettings()
    if settings.pacs_url is None:
        return fail("CERTRAD_PACS_URL must name the DICOMweb root of the PACS, http://HOST:8042/dicom-web", BAD_USAGE)
    code = DONE
    for step in check(settings):
        if step.code is not None:
            code = FAILURE
        if options.json:
            sys.stdout.write(json.dumps(asdict(step)) + "\n")
        elif step.code is None:
            sys.stdout.write(f"ok      {step.name}\n")
        else:
            sys.stdout.write(f"FAILED  {step.name}: {step.code}\n        {step.meaning} {step.what_to_do}\n")
        sys.stdout.flush()
    return code
