"""The local stack: Redis, workers of all queues and the API as child processes, kept in service until a signal."""

import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from types import FrameType
from typing import Final

import structlog

from certrad.workers.contract.exit_codes import REDIS_AWAY, SELFTEST_FAILED
from certrad.workers.contract.names import ARCHIVE_QUEUE, ENGINE_QUEUE, INTAKE_QUEUE
from certrad.workers.local.log_files import LogFiles, open_log
from certrad.workers.local.probe import Question
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.local.service_watch import ServiceWatch
from certrad.workers.local.store_view import StoreView
from certrad.workers.local.supervisor import Child, StackError, end
from certrad.workers.parent_death import parent_death_hook
from certrad.workers.settings import StackSettings

_API_STOP_SECONDS: Final = 10.0
_WORKERS_STOP_SECONDS: Final = 30.0
_SENDERS_STOP_SECONDS: Final = 5.0
_REDIS_STOP_SECONDS: Final = 30.0
_SELFTEST_PAUSE_SECONDS: Final = 60.0  # until an engine whose self-test failed is tried again
_TICK_SECONDS: Final = 0.2
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_log = structlog.get_logger()


class Stack:
    """Runs the service on this machine, on one address that only this machine reaches."""

    def __init__(
        self, settings: StackSettings, *, host: str, port: int, engines: int, connects_to_pacs: bool = False
    ) -> None:
        """Prepares the processes; one that sends callbacks is among them if the settings name hosts for them."""
        data_dir = settings.data_dir.resolve()
        self._logs = data_dir / "logs"
        self._listener = _listen(host, port)
        self._redis = None
        redis_url = settings.redis_url
        if "redis_url" not in settings.model_fields_set:
            self._redis = EmbeddedRedis(data_dir / "redis", maxmemory=settings.redis_maxmemory)
            redis_url = self._redis.url
        self._store = StoreView(settings.model_copy(update={"redis_url": redis_url}))
        self._heartbeat_seconds = settings.heartbeat_seconds
        shared = {
            "CERTRAD_REDIS_URL": redis_url,
            "CERTRAD_DATA_DIR": str(data_dir),
            "TORCHINDUCTOR_CACHE_DIR": str(data_dir / "torch"),  # else importing torch leaves a folder in /tmp
        }
        # An upload is spooled before it is stored; /tmp may be memory.
        spool = {"TMPDIR": str(data_dir)}
        self._api = Child("api", lambda: self._spawn("api", self._api_command(), shared | spool))
        # Beside several engines, one decodes a slow upload while another serves those that follow it.
        intakes = range(1, min(engines, 2) + 1)
        self._workers = [self._worker(f"intake-{number}", INTAKE_QUEUE, shared) for number in intakes]
        self._workers.append(self._worker("archive-1", ARCHIVE_QUEUE, shared))
        if "threads" not in settings.model_fields_set:  # engines share the processors
            shared |= {"CERTRAD_THREADS": str(max(1, settings.threads // engines))}
        self._workers += [self._worker(f"engine-{number}", ENGINE_QUEUE, shared) for number in range(1, engines + 1)]
        self._senders = [self._sender("pacs", ["pacs", "run"], {**shared, "CERTRAD_URL": self.url})] * connects_to_pacs
        if settings.allowed_callbacks:
            self._senders.append(self._sender("callbacks", ["callbacks", "run"], shared))

    @property
    def url(self) -> str:
        """Returns the address of the API."""
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(
        self,
        *,
        on_ready: Callable[[str], None],
        on_death: Callable[[str, int], None],
        on_hang: Callable[[str], None],
    ) -> None:
        """Starts everything, and keeps it in service until a signal.

        SIGTERM, SIGINT and SIGHUP end it, in order: the API, the workers, whose jobs continue at the next start, and
        Redis.

        Args:
            on_ready: Receives the URL once the service can do jobs.
            on_death: Receives name and exit code of every process that ends by itself, before the stack restarts it.
            on_hang: Receives the name of every process that runs and does not serve, before the stack ends it.

        Raises:
            StackError: The stack cannot be started or kept up.
            DataVersionError: Redis holds data of a version that this release does not know.
            EmbeddedRedisError: The Redis server cannot be started.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        log_files = LogFiles(self._logs, [] if self._redis is None else [self._redis.log_path])
        log_files.keep_small(time.monotonic())
        with _wakeups() as stop_or_wait:
            try:
                redis = self._start_redis()
                self._store.open()
                supervised = [*([] if redis is None else [redis]), *self._workers, self._api, *self._senders]
                announced = False
                with closing(self._watch(redis)) as watch:
                    while not stop_or_wait(_TICK_SECONDS):
                        for child in supervised:
                            if (code := child.keep_up(time.monotonic())) is not None:
                                on_death(child.name, code)
                        for child in watch.hung(time.monotonic()):
                            if child.ask_to_end(time.monotonic()):
                                on_hang(child.name)
                        log_files.keep_small(time.monotonic())
                        if not announced and self._is_ready():
                            announced = True
                            on_ready(self.url)
            finally:
                self._stop()

    def _start_redis(self) -> Child | None:
        """Returns the embedded Redis after its first start, whose failure ends the stack; None without one.

        A failure of a later start is tried again, for as long as the disk is full.
        """
        if (redis := self._redis) is None:
            return None
        return Child(
            "redis",
            redis.start,
            process=redis.start(),
            excused=lambda _: redis.disk_is_full,
            grace=_REDIS_STOP_SECONDS,  # it ends cleanly as long as it can
        )

    def _watch(self, redis: Child | None) -> ServiceWatch:
        return ServiceWatch(
            self._store,
            api=(self._api, self._question()),
            redis=None if redis is None or self._redis is None else (redis, self._redis.question),
            workers=self._workers,
            heartbeat_seconds=self._heartbeat_seconds,
        )

    def _question(self) -> Question:
        """Returns what an API that lives has an answer to, be it that it is overloaded."""
        words = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        address = self._listener.getsockname()[:2]
        return Question(family=self._listener.family, address=address, words=words, answer=(b"HTTP/1.",))

    def _worker(self, name: str, queue_name: str, env: Mapping[str, str]) -> Child:
        return Child(
            name,
            lambda: self._spawn(name, _worker_command(queue_name), env),
            excused=lambda code: code == REDIS_AWAY or not self._store.has_room(),
            pauses={SELFTEST_FAILED: _SELFTEST_PAUSE_SECONDS},
        )

    def _sender(self, name: str, command: list[str], env: Mapping[str, str]) -> Child:
        """Returns a process that sends to others; whatever is wrong with it does not end the service."""
        arguments = ["-m", "certrad.workers.cli.main", *command]
        return Child(name, lambda: self._spawn(name, arguments, env), excused=lambda _: True)

    def _api_command(self) -> list[str]:
        return ["-m", "certrad.app.http.server", str(self._listener.fileno())]

    def _spawn(self, name: str, arguments: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with open_log(self._logs / f"{name}.log") as log:
            return subprocess.Popen(  # noqa: S603  # our own modules
                [sys.executable, *arguments],
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._listener.fileno(),) if name == "api" else (),
                process_group=0,  # Ctrl+C reaches this process only, which stops the others in order
                preexec_fn=parent_death_hook(signal.SIGKILL),
            )

    def _is_ready(self) -> bool:
        return self._api.running and self._store.has_engine() and self._api_is_ready()

    def _api_is_ready(self) -> bool:
        host, port = self._listener.getsockname()[:2]
        connection = http.client.HTTPConnection(host, port, timeout=2)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _stop(self) -> None:
        self._listener.close()
        end(self._senders, _SENDERS_STOP_SECONDS)
        end([self._api], _API_STOP_SECONDS)
        end(self._workers, _WORKERS_STOP_SECONDS)
        if self._redis is not None:
            self._redis.stop()
        _log.info("stack stopped")


def _listen(host: str, port: int) -> socket.socket:
    """Returns the socket of the API. It outlives the API's process, so that requests wait while that is restarted.

    Raises:
        StackError: The address cannot be used.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise StackError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections inherit it
    return listener


def _worker_command(queue_name: str) -> list[str]:
    return ["-m", "certrad.workers.cli.main", "worker", queue_name]


@contextmanager
def _wakeups() -> Iterator[Callable[[float], bool]]:
    """Yields a function that waits some seconds or until a child ends, and returns whether a signal asked to stop."""
    stop = False

    def ask_to_stop(_: int, __: FrameType | None) -> None:
        nonlocal stop
        stop = True

    readable, writable = socket.socketpair()
    readable.setblocking(False)
    writable.setblocking(False)
    handlers = {signum: signal.signal(signum, ask_to_stop) for signum in _STOP_SIGNALS}
    handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _, __: None)
    old_fd = signal.set_wakeup_fd(writable.fileno(), warn_on_full_buffer=False)

    def wait(seconds: float) -> bool:
        if not stop and select.select([readable], [], [], seconds)[0]:
            readable.recv(4096)
        return stop

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(old_fd)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        readable.close()
        writable.close()
