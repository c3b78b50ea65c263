"""`up` runs the whole service from one command, keeps it up, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import numpy as np
import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from certrad.workers.contract.exit_codes import REDIS_AWAY, SELFTEST_FAILED
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.local.stack import Stack
from certrad.workers.local.supervisor import Child, StackError
from certrad.workers.settings import StackSettings
from tests.support.images import encoded
from tests.support.processes import ROOT, Processes, children, gone, kill_9, wait_for
from tests.support.stack import START_SECONDS, RunningStack, launch, start_stack

pytestmark = pytest.mark.integration

FAMILY = 7  # Redis, API, intake with its ready work horse, archive, the RQ parent of the engine and the engine


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for the tests that leave it running."""
    with Processes(tmp_path_factory.mktemp("processes")) as processes:
        yield start_stack(processes, tmp_path_factory.mktemp("stack") / "data")


def test_a_ready_stack_answers_and_has_an_engine(processes: Processes, tmp_path: Path) -> None:
    fresh = start_stack(processes, tmp_path / "data")
    assert httpx.get(f"{fresh.url}/health/ready", timeout=30).status_code == 200
    backbones = httpx.get(f"{fresh.url}/backbones", timeout=30).json()["backbones"]
    assert [view["card"]["id"] for view in backbones if view["available"]] == ["demo"]


def test_readiness_is_told_on_one_line_of_standard_output(stack: RunningStack) -> None:
    assert stack.output.read_text() == f"certrad ready on {stack.url}\n"


def test_logs_are_json_lines(stack: RunningStack) -> None:
    for name in ("stack", "intake-1", "engine-1"):
        for line in (stack.data_dir / "logs" / f"{name}.log").read_text().splitlines():
            assert {"event", "level", "timestamp", "process"} <= json.loads(line).keys()


def test_a_second_stack_on_the_same_data_is_refused(stack: RunningStack) -> None:
    answer = run_up("--port", "0", "--data-dir", str(stack.data_dir))
    assert answer.returncode == 1
    assert "in use by another local stack" in answer.stderr


def test_a_taken_port_is_refused(stack: RunningStack, tmp_path: Path) -> None:
    answer = run_up("--port", stack.url.rpartition(":")[2], "--data-dir", str(tmp_path))
    assert answer.returncode == 1
    assert "cannot listen" in answer.stderr


def test_automatic_sigma_ends_in_a_signed_document_that_anyone_can_check(stack: RunningStack, tmp_path: Path) -> None:
    """From one HTTP request to the checks of every level; false alarm of the fresh samples: below 1e-11."""
    ramp = np.linspace(0, 255, 96)
    picture = encoded((np.add.outer(ramp, ramp) / 2).astype(np.uint8), "PNG")
    job_id = stack.submit(picture, sigma="auto", n=200, alpha=1e-6)
    assert stack.ended(job_id)["result"]["adaptation"] == "gated"
    content = httpx.get(f"{stack.url}/jobs/{job_id}/certificate", timeout=30).content
    assert json.loads(content)["decision"]["rule"] == "certified_selection"
    answer = httpx.post(f"{stack.url}/verify", content=content, timeout=60).json()
    assert (answer["valid"], answer["issuer"]) == (True, "known")
    image, document, keys = tmp_path / "image.png", tmp_path / "document.json", tmp_path / "keys.json"
    image.write_bytes(picture)
    document.write_bytes(content)
    keys.write_bytes(httpx.get(f"{stack.url}/.well-known/certrad-keys", timeout=30).content)
    checked = [str(document), "--key", str(keys)]
    sampled = ["--image", str(image), "--replay", "100", "--fresh"]
    for command in (["docs/verifier.py", *checked], ["-m", "certrad.workers.cli.main", "verify", *checked, *sampled]):
        ran = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "REFUSED" not in ran.stdout
        assert ran.stdout.endswith("valid\n")
    assert {"fresh", "selection", "replay", "issuer"} <= set(ran.stdout.split())


def test_a_large_upload_is_spooled_beside_the_data(stack: RunningStack) -> None:
    api = wait_for(lambda: stack.child("certrad.app.http.server"), what="the API")
    part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n' + bytes(3 << 20)
    head = b"POST /prompts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    address = ("127.0.0.1", int(stack.url.rpartition(":")[2]))

    def spooled() -> bool:
        try:
            links = [os.readlink(path) for path in Path(f"/proc/{api.pid}/fd").iterdir()]
        except FileNotFoundError:  # closed between the two
            return spooled()
        return any(link.startswith(f"{stack.data_dir.resolve()}/") and link.endswith("(deleted)") for link in links)

    with socket.create_connection(address) as client:
        client.sendall(head + f"Content-Length: {2 * len(part)}\r\n\r\n".encode() + part)
        wait_for(spooled, timeout=30, what="a file of the upload in the folder of the data")
    wait_for(lambda: not spooled(), what="its end with the connection")


@pytest.mark.parametrize(
    "words", [("certrad.app.http.server",), ("worker", "intake"), ("worker", "archive"), ("redis.sock",)]
)
def test_a_killed_child_is_started_again(stack: RunningStack, words: tuple[str, ...]) -> None:
    victim = wait_for(lambda: stack.child(*words), what="the child")
    kill_9(victim.pid)
    wait_for(lambda: stack.another_child(victim, *words), what="another child")
    wait_for(lambda: httpx.get(f"{stack.url}/health/ready", timeout=30).status_code == 200)


def test_a_killed_engine_is_replaced_with_its_worker(stack: RunningStack) -> None:
    former = wait_for(stack.engines, timeout=START_SECONDS)
    victim = wait_for(lambda: stack.child("worker engine"), what="the worker")
    kill_9(victim.pid)
    wait_for(lambda: stack.engines() - former, timeout=START_SECONDS, what="another engine")


def test_a_child_that_ends_with_exit_code_0_is_started_again(stack: RunningStack) -> None:
    victim = wait_for(lambda: stack.child("worker", "intake"), what="the child")
    victim.send_signal(signal.SIGTERM)
    wait_for(lambda: stack.another_child(victim, "worker", "intake"), what="another child")


def test_sigterm_leaves_no_process_and_no_socket(processes: Processes, tmp_path: Path) -> None:
    running = start_stack(processes, tmp_path / "data")
    family = [child.pid for child in children(running.process.pid)]
    assert len(family) == FAMILY
    running.process.terminate()
    assert running.process.wait(START_SECONDS) == 0
    assert all(map(gone, family))
    assert not (running.data_dir / "redis" / "redis.sock").exists()


def test_kill_9_of_the_supervisor_leaves_no_process(processes: Processes, tmp_path: Path) -> None:
    supervisor = launch(processes, tmp_path / "data")
    whole = wait_for(
        lambda: found if len(found := children(supervisor.pid)) == FAMILY else None,
        timeout=START_SECONDS,
        what="every process",
    )
    family = [child.pid for child in whole]
    kill_9(supervisor.pid)
    wait_for(lambda: all(map(gone, family)), what="the end of every process")


def test_a_service_that_others_reach_asks_for_a_key(processes: Processes, tmp_path: Path) -> None:
    launch(processes, tmp_path / "data", "--host", "0.0.0.0")
    output = processes.output("data")
    ready = wait_for(
        lambda: re.search(r"certrad ready on http://0\.0\.0\.0:(\d+)\n", output.read_text()),
        timeout=START_SECONDS,
        what="the line that says the stack is ready",
    )
    answer = httpx.get(f"http://127.0.0.1:{ready[1]}/jobs")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_a_child_that_keeps_dying_ends_the_stack() -> None:
    child = Child("short-lived", lambda: subprocess.Popen([sys.executable, "-c", ""]))
    with pytest.raises(StackError, match="died 11 times within a minute"):
        live_through(child, 11, every=5.0)


def test_a_child_that_dies_now_and_then_is_kept_up() -> None:
    child = Child("mortal", lambda: subprocess.Popen([sys.executable, "-c", ""]))
    live_through(child, 15, every=7.0)
    child.keep_up(1_000.0)
    assert child.process is not None
    child.process.wait()


def test_a_child_that_died_waits_longer_each_time() -> None:
    child = Child("short-lived", lambda: subprocess.Popen([sys.executable, "-c", ""]))
    pauses = []
    for _ in range(6):
        died_at = child.start_at
        live_through(child, 1, every=0.0)
        pauses.append(child.start_at - died_at)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])


def test_deaths_that_something_else_caused_are_not_counted() -> None:
    child = Child("innocent", lambda: subprocess.Popen([sys.executable, "-c", ""]), excused=lambda code: code == 0)
    live_through(child, 12, every=1.0)
    assert not child.deaths
    assert child.start_at == pytest.approx(11.0 + 2.0)


def test_a_death_that_would_happen_again_at_once_waits_long_and_is_not_counted() -> None:
    command = [sys.executable, "-c", f"raise SystemExit({SELFTEST_FAILED})"]
    child = Child("faulty", lambda: subprocess.Popen(command), pauses={SELFTEST_FAILED: 60.0})
    live_through(child, 12, every=100.0)
    assert not child.deaths
    assert child.start_at == pytest.approx(1100.0 + 60.0)


def test_a_process_that_does_not_serve_is_asked_to_end_and_then_killed() -> None:
    stubborn = "import signal, sys; signal.signal(15, signal.SIG_IGN); sys.stdout.write('.'); sys.stdout.flush(); "
    command = [sys.executable, "-c", stubborn + "signal.pause()"]
    child = Child("stubborn", lambda: subprocess.Popen(command, stdout=subprocess.PIPE), grace=5.0)
    child.keep_up(0.0)
    process = child.process
    assert process is not None
    assert process.stdout is not None
    with process.stdout as output:
        output.read(1)  # it ignores SIGTERM from here on
        assert [child.ask_to_end(now) for now in (1.0, 2.0)] == [True, False]
        child.keep_up(5.9)
        assert process.poll() is None
        child.keep_up(6.0)
        assert process.wait() == -signal.SIGKILL
    child.start_at = 1e9
    assert child.keep_up(6.1) == -signal.SIGKILL


@pytest.mark.parametrize(("full", "code", "kept_up"), [(True, 1, True), (False, REDIS_AWAY, True), (False, 1, False)])
def test_workers_that_die_of_redis_do_not_end_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool, code: int, kept_up: bool
) -> None:
    monkeypatch.setattr("certrad.workers.local.supervisor._LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("certrad.workers.local.stack._worker_command", lambda _: ["-c", f"raise SystemExit({code})"])
    deaths: list[str] = []

    def count(name: str, _: int) -> None:
        deaths.append(name)
        if deaths.count("intake-1") == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    with EmbeddedRedis(tmp_path / "redis", maxmemory="4mb") as server, Redis.from_url(server.url) as client:
        if full:
            with pytest.raises(OutOfMemoryError):
                fill(client)
        settings = StackSettings(redis_url=server.url, data_dir=tmp_path / "data")
        stack = Stack(settings, host="127.0.0.1", port=0, engines=1)
        with nullcontext() if kept_up else pytest.raises(StackError, match="died 11 times within a minute"):
            stack.run(on_ready=deaths.append, on_death=count, on_hang=deaths.append)
    assert (deaths.count("intake-1") == 20) == kept_up


def test_logs_that_cannot_be_written_stop_nobody(processes: Processes, tmp_path: Path) -> None:
    logs = tmp_path / "data" / "logs"
    logs.mkdir(parents=True)
    for name in ("stack", "api", "intake-1", "engine-1"):
        (logs / f"{name}.log").symlink_to("/dev/full")
    running = start_stack(processes, tmp_path / "data")
    victim = wait_for(lambda: running.child("worker", "intake"), what="the child")
    kill_9(victim.pid)
    wait_for(lambda: running.another_child(victim, "worker", "intake"), what="another child")
    running.process.terminate()
    assert running.process.wait(START_SECONDS) == 0
    assert "Error" not in processes.errors("data").read_text()


def fill(client: Redis) -> None:
    """Fills a Redis of 4 MB."""
    for index in range(100):
        client.set(f"filler:{index}", b"x" * 100_000)


def live_through(child: Child, deaths: int, *, every: float) -> None:
    """Lets the child start and die, on a clock of our own."""
    now = child.start_at
    for _ in range(deaths):
        child.start_at = 0.0
        child.keep_up(now)
        assert child.process is not None
        child.process.wait()
        child.keep_up(now)
        now += every


def run_up(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "certrad.workers.cli.main", "up", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=START_SECONDS, check=False)
