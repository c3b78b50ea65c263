"""Runs code that touches untrusted bytes in a child process that can do little and whose answer is checked.

The child keeps no descriptor but one pipe, writes no file, starts no process, gains no privilege, and has limits on
memory, processor time and wall time. Where Linux can do it, it opens nothing that the service keeps, keys above all,
and no socket. It answers with a JSON header and raw bytes, never with pickle.
"""

import ctypes
import json
import os
import re
import resource
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from certrad.models.errors import PROBLEMS, Rejected
from certrad.workers.parent_death import die_with
from certrad.workers.sandbox import confinement

_LENGTHS: Final = struct.Struct("<II")
_MAX_HEADER: Final = 64 << 10
_MAX_DETAIL: Final = 300
_MAX_FILES: Final = 32  # decoders import parts of themselves late
_WALL_PER_CPU: Final = 4  # a busy machine may give a process a quarter of its time
_PR_SET_NO_NEW_PRIVS: Final = 38
_FAILURE: Final = re.compile(r"[A-Za-z0-9_.:]{1,160}")


class SandboxError(Exception):
    """The function failed in an unforeseen way; the message is the type of its error and its line of code."""


class Answer(NamedTuple):
    """The child's answer; the caller, who alone knows which answers are possible, checks it."""

    header: dict[str, Any]
    payload: bytes


def run_limited(
    function: Callable[[], tuple[dict[str, Any], bytes]],
    *,
    memory_bytes: int,
    cpu_seconds: int,
    max_payload: int,
    hidden: Path,
    first_cpu_seconds: int | None = None,
) -> Answer:
    """Returns what `function` returns in a forked child.

    Args:
        function: The function to run.
        memory_bytes: Address space that the child may add to what it was forked with.
        cpu_seconds: Processor time of the child.
        max_payload: Bytes of the second part of the answer.
        hidden: The directory of which the child opens nothing.
        first_cpu_seconds: Processor time until the child calls `allow_cpu_seconds`; None for all of it.

    Raises:
        Rejected: `function` raised it; or `image_too_large`, when memory or time ran out; or `unreadable_image`, when
            the child crashed or its answer is malformed.
        SandboxError: `function` raised anything else.
    """
    deadline = time.monotonic() + _WALL_PER_CPU * cpu_seconds
    source, sink = os.pipe()
    pid = _fork()
    if pid == 0:
        limits = (min(first_cpu_seconds or cpu_seconds, cpu_seconds), cpu_seconds)
        _be_child(function, sink, memory_bytes, limits, hidden, parent=os.getppid())
    os.close(sink)
    limit = _LENGTHS.size + _MAX_HEADER + max_payload
    status = None
    try:
        received = _receive(source, deadline, limit)
        status = _wait(pid, deadline) if len(received) <= limit else None
    finally:
        if status is None:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        os.close(source)
    return _interpret(received, status)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of threads, such as those of a BLAS; the child takes no lock that one of them could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def allow_cpu_seconds(seconds: int) -> None:
    """Lets this process, a child of `run_limited`, use more processor time.

    Args:
        seconds: The processor time in all; the limit of the caller stays.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if hard == resource.RLIM_INFINITY else min(seconds, hard), hard))


# -- the child ---------------------------------------------------------------------------------------------------------


def _be_child(
    function: Callable[[], tuple[dict[str, Any], bytes]],
    sink: int,
    memory_bytes: int,
    cpu_seconds: tuple[int, int],
    hidden: Path,
    parent: int,
) -> NoReturn:
    try:
        _confine(sink, memory_bytes, cpu_seconds, hidden, parent)
        header, payload = _attempt(function)
        text = json.dumps(header).encode()
        for part in (_LENGTHS.pack(len(text), len(payload)), text, payload):
            _write(sink, part)
    finally:
        os._exit(0)


def _attempt(function: Callable[[], tuple[dict[str, Any], bytes]]) -> tuple[dict[str, Any], bytes]:
    try:
        header, payload = function()
    except Rejected as rejected:
        return {"rejected": {"code": rejected.code, "detail": rejected.detail}}, b""
    except MemoryError:
        return {"rejected": {"code": "image_too_large", "detail": "decoding needs more memory than is allowed"}}, b""
    except BaseException as error:  # Rust extensions raise panics that are no Exception
        return {"failed": _describe(error)}, b""
    return {"answer": header}, payload


def _describe(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f":{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    return f"{type(error).__name__}{where}"


def _confine(sink: int, memory_bytes: int, cpu_seconds: tuple[int, int], hidden: Path, parent: int) -> None:
    die_with(parent)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, sink)
    os.closerange(sink + 1, os.sysconf("SC_OPEN_MAX"))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        inherited = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _limit(resource.RLIMIT_AS, inherited + memory_bytes)
        confinement.hide(hidden)
        confinement.give_up_sockets()
    _limit(resource.RLIMIT_CPU, cpu_seconds[1])
    allow_cpu_seconds(cpu_seconds[0])
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_FILES)


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (allowed, allowed))


def _write(sink: int, part: bytes) -> None:
    rest = memoryview(part)
    while rest:
        rest = rest[os.write(sink, rest) :]


# -- the parent --------------------------------------------------------------------------------------------------------


def _receive(source: int, deadline: float, limit: int) -> bytes:
    """Returns what the child sends until it closes the pipe, has sent more than `limit`, or the time is over."""
    received = bytearray()
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while len(received) <= limit and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        part = os.read(source, 1 << 20)
        if not part:
            break
        received += part
    return bytes(received)


def _wait(pid: int, deadline: float) -> int | None:
    """Returns the wait status of the child; None if it still runs at the deadline."""
    pause = 0.0005
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() >= deadline:
            return None
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _interpret(received: bytes, status: int) -> Answer:
    if status:
        stopped = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        if stopped:
            raise Rejected("image_too_large", "decoding needs more time or memory than is allowed")
        raise Rejected("unreadable_image", "the decoder crashed on this file")
    header, payload = _parse(received)
    match header:
        case {"answer": dict(answer)}:
            return Answer(answer, payload)
        case {"rejected": {"code": str(code), "detail": str(detail)}} if code in PROBLEMS:
            raise Rejected(code, detail[:_MAX_DETAIL])
        case {"failed": str(failure)} if _FAILURE.fullmatch(failure):
            raise SandboxError(failure)
        case _:
            raise _malformed()


def _parse(received: bytes) -> tuple[Any, bytes]:
    try:
        header_length, payload_length = _LENGTHS.unpack_from(received)
        body = memoryview(received)[_LENGTHS.size :]
        if header_length > _MAX_HEADER or len(body) != header_length + payload_length:
            raise _malformed()
        return json.loads(bytes(body[:header_length])), bytes(body[header_length:])
    except (struct.error, ValueError, RecursionError) as error:
        raise _malformed() from error


def _malformed() -> Rejected:
    return Rejected("unreadable_image", "the decoder broke on this file")
