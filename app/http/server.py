"""Starts uvicorn with the application, with limits on its connections; `python -m` this module serves a socket."""

import logging
import os
import resource
import socket
import sys
from functools import partial
from typing import Any, Final, cast

import uvicorn
from fastapi import FastAPI

from certrad.app.api.request_log import log_refused
from certrad.app.http.connections import SPARE, Connections
from certrad.app.http.log_limit import OncePerPeriod
from certrad.app.http.protocol import LimitedProtocol, TimeLimits
from certrad.app.settings import ApiSettings
from certrad.workers.contract import logs
from certrad.workers.contract.loopback import is_loopback

_BACKLOG: Final = 256  # connections that asyncio accepts before any of them can be closed
_OTHER_FILES: Final = 2 * _BACKLOG + SPARE + 128  # the backlog twice, Redis, threads, log, modules
_LOG_SECONDS: Final = 60.0
_LOGGERS: Final = ("uvicorn.error", "asyncio", "certrad.api")


def serve(settings: ApiSettings, *, host: str = "127.0.0.1", port: int = 8000, fd: int | None = None) -> None:
    """Serves the API until a signal.

    Args:
        settings: The settings.
        host: The address to listen on.
        port: The port to listen on, from 0 to 65,535.
        fd: The number of an open socket to listen on, in place of both.
    """
    logs.configure("api")
    limit_repeated_lines()
    if not _is_loopback(host, fd):
        settings = settings.model_copy(update={"access": "closed"})
    uvicorn.run(
        partial(_build, settings),
        factory=True,
        host=host,
        port=port,
        fd=fd,
        log_level="warning",
        log_config=None,  # its lines are JSON as all others
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        **connection_options(settings),
    )


def _build(settings: ApiSettings) -> FastAPI:
    from certrad.app.main import create_app  # not before uvicorn has set its logging up

    return create_app(settings)


def _is_loopback(host: str, fd: int | None) -> bool:
    """Returns whether only this machine reaches the address that is listened on."""
    if fd is None:
        return is_loopback(host)
    with socket.socket(fileno=os.dup(fd)) as listener:
        return is_loopback(str(listener.getsockname()[0]))


def connection_options(settings: ApiSettings) -> dict[str, Any]:
    """Returns the options of `uvicorn.Config` that limit connections.

    Args:
        settings: The settings.
    """
    limits = TimeLimits(head=settings.header_timeout, stall=settings.stall_timeout, body_rate=settings.min_body_rate)
    connections = Connections(raise_open_files_limit(settings.max_connections))
    protocol = partial(
        LimitedProtocol, limits=limits, connections=connections, log_refused=partial(log_refused, settings)
    )
    return {
        "http": cast("Any", protocol),
        "ws": "none",
        "proxy_headers": bool(settings.proxies),  # uvicorn would believe every program of this machine
        "forwarded_allow_ips": list(settings.proxies),
        "backlog": _BACKLOG,
        "timeout_keep_alive": cast("int", settings.idle_timeout),  # uvicorn only adds it to a time
    }


def raise_open_files_limit(wanted: int) -> int:
    """Raises the limit on open files, and returns how many requests can be answered at once.

    Each request needs a connection, and a file for its body.

    Args:
        wanted: Requests that may be answered at once.
    """
    files = 2 * wanted + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < files:
        soft = files if hard == unlimited else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == unlimited else max(1, min(wanted, (soft - _OTHER_FILES) // 2))


def limit_repeated_lines() -> None:
    """Limits each repeated message of the server's log to one line a minute."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(OncePerPeriod(_LOG_SECONDS))


if __name__ == "__main__":
    serve(ApiSettings(), fd=int(sys.argv[1]))
