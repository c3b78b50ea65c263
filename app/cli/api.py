"""`certrad api`: the HTTP process alone."""

import os
import sys
from argparse import Namespace

from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.commands import BAD_USAGE, DONE, fail
from certrad.workers.contract.loopback import AddressError, require_loopback
from certrad.workers.contract.option_kinds import integer, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.option("--host", text("ADDRESS"), "loopback address to listen on", default="127.0.0.1")
    parser.option("--port", integer(0, 65_535), "port to listen on", default=8000)
    add_data_dir(parser)
    parser.flag(
        "--inside-container",
        "allow any --host: this process runs in a container, and the network that reaches it is yours to close, for "
        "there is no access control yet",
    )


def run(options: Namespace) -> int:
    """Serves until a signal.

    Returns:
        The exit code.
    """
    if not options.inside_container:
        try:
            require_loopback(options.host)
        except AddressError as error:
            return fail(f"{error}; in a container, --inside-container allows it", BAD_USAGE)
    from certrad.app.http.server import serve  # only the extra `api` installs what it needs
    from certrad.app.settings import ApiSettings
    from certrad.workers.contract.waiting import tell_if_redis_is_away

    if options.data_dir is not None:  # uvicorn builds the application, which reads the environment
        os.environ["CERTRAD_DATA_DIR"] = str(options.data_dir.resolve())
    settings = ApiSettings()
    sys.stderr.write(f"certrad: starting the API on {options.host} port {options.port}\n")
    tell_if_redis_is_away(settings)
    serve(settings, host=options.host, port=options.port)
    return DONE
