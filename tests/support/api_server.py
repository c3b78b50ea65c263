"""The real API on a real socket, inside the test's process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from certrad.app.http.server import connection_options
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from tests.support.processes import wait_for


@contextmanager
def api_server(settings: ApiSettings, *, port: int = 0) -> Iterator[str]:
    """Serves the API, on a free port unless one is named; gives its URL."""
    config = uvicorn.Config(
        create_app(settings),
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        **connection_options(settings),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, what="the API")
        listening = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{listening}"
    finally:
        server.should_exit = True
        thread.join()
