"""`certrad api`: the HTTP process alone."""

import os
import sys
from argparse import Namespace

from certrad.workers.contract.arguments import Parser, add_data_dir, add_host
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, fail
from certrad.workers.contract.loopback import AddressError, is_loopback
from certrad.workers.contract.option_kinds import integer


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    add_host(parser)
    parser.option("--port", integer(0, 65_535), "port to listen on", default=8000)
    add_data_dir(parser)


def run(options: Namespace) -> int:
    """Serves until a signal.

    Returns:
        The exit code.
    """
    try:
        is_open = is_loopback(options.host)
    except AddressError as error:
        return fail(str(error), BAD_USAGE)
    from certrad.app.http.server import serve  # only the extra `api` installs what it needs
    from certrad.app.settings import ApiSettings
    from certrad.workers.contract.data_version import open_directory
    from certrad.workers.contract.waiting import tell_if_redis_is_away

    if options.data_dir is not None:  # uvicorn builds the application, which reads the environment
        os.environ["CERTRAD_DATA_DIR"] = str(options.data_dir.resolve())
    settings = ApiSettings()
    open_directory(settings.data_dir)
    words = "open to this machine" if is_open and not settings.is_closed else "closed: every request needs an API key"
    sys.stderr.write(f"certrad: starting the API on {options.host} port {options.port}, {words}\n")
    tell_if_redis_is_away(settings)
    serve(settings, host=options.host, port=options.port)
    return DONE
