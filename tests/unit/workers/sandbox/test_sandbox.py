"""Code on untrusted bytes can do nothing but answer, within limits, and only a well-formed answer is believed."""

import ctypes
import logging
import os
import platform
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from certrad.models.errors import Rejected
from certrad.workers.sandbox.child import Answer, SandboxError, allow_cpu_seconds, run_limited

Result = tuple[dict[str, Any], bytes]


# Landlock is in Linux since 5.13, and in most distributions' kernels.
HIDES = sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1


def promised(here: bool) -> Callable[[Callable[..., None]], Callable[..., None] | None]:
    """A test of what is promised on some systems only; on others there is no such test, rather than a skipped one."""
    return lambda test: test if here else None


def run(
    function: Callable[[], Result],
    *,
    memory: int = 256 << 20,
    cpu: int = 10,
    payload: int = 1 << 20,
    hidden: Path = Path("/nowhere/data"),
) -> Answer:
    return run_limited(function, memory_bytes=memory, cpu_seconds=cpu, max_payload=payload, hidden=hidden)


def refusal(function: Callable[[], Result], **limits: Any) -> str:
    with pytest.raises(Rejected) as refused:
        run(function, **limits)
    return refused.value.code


def test_header_and_payload_come_back() -> None:
    payload = os.urandom(1 << 20)
    assert run(lambda: ({"a": [1, None, "ü"]}, payload)) == ({"a": [1, None, "ü"]}, payload)


def test_it_runs_in_another_process() -> None:
    assert run(lambda: ({"pid": os.getpid()}, b"")).header["pid"] != os.getpid()


def test_a_refusal_comes_back_as_it_was() -> None:
    def refuse() -> Result:
        raise Rejected("frame_required", "the image has 3 frames")

    with pytest.raises(Rejected, match="frame_required: the image has 3 frames"):
        run(refuse)


def test_memory_is_limited() -> None:
    assert refusal(lambda: ({}, b"x" * (300 << 20))) == "image_too_large"


def test_processor_time_is_limited() -> None:
    def spin() -> Result:
        while True:
            pass

    assert refusal(spin, cpu=1) == "image_too_large"


def test_wall_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep() -> Result:
        time.sleep(600)
        return {}, b""

    monkeypatch.setattr("certrad.workers.sandbox.child._WALL_PER_CPU", 0.1)
    assert refusal(sleep, cpu=2) == "image_too_large"


def test_a_crash_is_an_unreadable_image() -> None:
    def crash() -> Result:
        os.kill(os.getpid(), signal.SIGSEGV)
        return {}, b""

    assert refusal(crash) == "unreadable_image"


def test_a_silent_exit_is_an_unreadable_image() -> None:
    assert refusal(lambda: os._exit(0)) == "unreadable_image"
    assert refusal(lambda: os._exit(1)) == "unreadable_image"


def test_a_defect_tells_its_type_and_line_but_not_its_message() -> None:
    def fail() -> Result:
        raise ZeroDivisionError("Mustermann^Erika")

    with pytest.raises(SandboxError, match=r"^ZeroDivisionError:test_sandbox\.py:\d+$"):
        run(fail)


def test_an_exception_outside_the_usual_tree_is_a_defect_too() -> None:
    class PanicException(BaseException):
        """Stands for what Rust extensions raise."""

    def panic() -> Result:
        raise PanicException

    with pytest.raises(SandboxError, match="PanicException"):
        run(panic)


def test_a_longer_answer_than_agreed_is_refused() -> None:
    assert refusal(lambda: ({}, b"x" * (2 << 20)), payload=1 << 20) == "image_too_large"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0",
        b"\x02\0\0\0\0\0\0\0{}",
        b"\x02\0\0\0\x05\0\0\0{}abc",
        b"\xff\xff\xff\xff\0\0\0\0",
        b"\x05\0\0\0\0\0\0\0[[[[[",
        b'\x2a\0\0\0\0\0\0\0{"rejected": {"code": "x", "detail": "y"}}',
        b'\x18\0\0\0\0\0\0\0{"failed": "an\\nother"}  ',
    ],
)
def test_a_malformed_answer_is_an_unreadable_image(said: bytes) -> None:
    def lie() -> Result:
        pipe = next(int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2 and _is_pipe(int(name)))
        os.write(pipe, said)
        os._exit(0)

    assert refusal(lie) == "unreadable_image"


def _is_pipe(descriptor: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
    except FileNotFoundError:
        return False


def test_it_inherits_no_descriptor_but_the_pipe() -> None:
    def descriptors() -> Result:
        return {"open": [os.readlink(f"/proc/self/fd/{name}") for name in (0, 1, 2)] + _others()}, b""

    def _others() -> list[str]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                if int(name) > 2:
                    found.append(os.readlink(f"/proc/self/fd/{name}"))
            except FileNotFoundError:
                continue
        return found

    with socket.socket(), Path(__file__).open():
        opened = run(descriptors).header["open"]
    assert opened[:3] == ["/dev/null"] * 3
    assert len(opened) == 4
    assert opened[3].startswith("pipe:")


def test_it_writes_no_file(tmp_path: Path) -> None:
    def write() -> Result:
        (tmp_path / "file").write_bytes(b"patient data")
        return {}, b""

    with pytest.raises(SandboxError, match=r"OSError|PermissionError"):
        run(write)
    assert not (tmp_path / "file").exists() or (tmp_path / "file").read_bytes() == b""


@promised(HIDES)
def test_it_opens_nothing_that_the_service_keeps(tmp_path: Path) -> None:
    data_dir, beside = tmp_path / "data", tmp_path / "beside"
    for path in (data_dir / "signing" / "private.pem", beside):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("key")
    (tmp_path / "link").symlink_to(data_dir)

    def attempt(act: Callable[[], object]) -> str:
        try:
            return str(act())
        except OSError as error:
            return type(error).__name__

    def snoop() -> Result:
        key = data_dir / "signing" / "private.pem"
        tries: list[Callable[[], object]] = [
            key.read_text,
            (tmp_path / "link" / "signing" / "private.pem").read_text,
            Path(f"/proc/{os.getppid()}/root{key}").read_text,
            Path(f"/proc/{os.getppid()}/mem").open,
            lambda: os.listdir(data_dir),
            key.unlink,
            lambda: os.link(key, tmp_path / "stolen"),
            lambda: beside.rename(key),
        ]
        return {"tries": [attempt(act) for act in tries], "beside": attempt(beside.read_text)}, b""

    assert run(snoop, hidden=data_dir).header == {"tries": ["PermissionError"] * 8, "beside": "key"}
    assert (data_dir / "signing" / "private.pem").read_text() == "key"


@promised(platform.machine() in ("x86_64", "aarch64"))
def test_it_makes_no_socket() -> None:
    def call() -> Result:
        refused = []
        for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
            try:
                socket.socket(family)
            except PermissionError:
                refused.append(family.name)
        return {"refused": refused}, b""

    assert run(call).header["refused"] == ["AF_UNIX", "AF_INET", "AF_INET6"]


def test_it_says_nothing_outside_its_answer(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def talk() -> Result:
        os.write(1, b"Mustermann^Erika")
        os.write(2, b"Mustermann^Erika")
        logging.getLogger("pydicom").error("Mustermann^Erika")
        return {}, b""

    run(talk)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@promised(sys.platform == "linux")
def test_it_gains_no_privileges_and_dies_with_its_parent() -> None:
    def ask() -> Result:
        libc = ctypes.CDLL(None)
        signum = ctypes.c_int()
        libc.prctl(2, ctypes.byref(signum))
        return {"no_new_privs": libc.prctl(39, 0, 0, 0, 0), "death": signum.value}, b""

    assert run(ask).header == {"no_new_privs": 1, "death": signal.SIGKILL}


def test_no_child_is_left_when_the_parent_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> bytes:
        raise KeyboardInterrupt

    def sleep() -> Result:
        time.sleep(600)
        return {}, b""

    before = set(psutil.Process().children())  # this session's Redis, for one
    monkeypatch.setattr("certrad.workers.sandbox.child._receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(sleep)
    assert set(psutil.Process().children()) <= before


def test_processor_time_is_given_in_two_parts() -> None:
    """The second part is asked for once it is known how much there is to do, and is never more than the whole."""

    def measure() -> Result:
        limits = [resource.getrlimit(resource.RLIMIT_CPU)]
        for seconds in (7, 1000):
            allow_cpu_seconds(seconds)
            limits.append(resource.getrlimit(resource.RLIMIT_CPU))
        return {"limits": limits}, b""

    arguments: dict[str, Any] = {"memory_bytes": 256 << 20, "max_payload": 0, "hidden": Path("/nowhere/data")}
    answer = run_limited(measure, cpu_seconds=10, first_cpu_seconds=3, **arguments)
    assert answer.header["limits"] == [[3, 10], [7, 10], [10, 10]]
    answer = run_limited(measure, cpu_seconds=2, first_cpu_seconds=3, **arguments)
    assert answer.header["limits"] == [[2, 2]] * 3


def test_a_child_that_never_asks_for_more_time_ends_with_the_first_part() -> None:
    def spin() -> Result:
        while True:
            pass

    with pytest.raises(Rejected) as refused:
        run_limited(
            spin, memory_bytes=256 << 20, cpu_seconds=600, first_cpu_seconds=1, max_payload=0, hidden=Path("/nowhere")
        )
    assert refused.value.code == "image_too_large"
