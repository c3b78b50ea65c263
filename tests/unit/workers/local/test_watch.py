"""A part is called silent only when it had the time to answer and gave no answer."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from certrad.workers.local.probe import Probe, Question
from certrad.workers.local.watch import HeartbeatWatch, ProbeWatch

PATIENCE = 15.0
PID = 7


@pytest.fixture
def question(tmp_path: Path) -> Question:
    return Question(family=socket.AF_UNIX, address=str(tmp_path / "part"), words=b"?", answer=(b"yes", b"busy"))


@pytest.fixture
def listener(question: Question) -> Iterator[socket.socket]:
    """A part that takes connections; what it answers is the test's affair."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(question.address))
        server.listen(64)
        yield server


def answer(listener: socket.socket, words: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(64)
        connection.sendall(words)


def answered(watch: ProbeWatch, listener: socket.socket, now: float, pid: int = PID) -> bool:
    """Lets one probe go out and be answered; returns whether the part counts as silent then."""
    watch.probe(pid, now)
    answer(listener, b"yes")
    return watch.probe(pid, now)


def silent_at(watch: ProbeWatch, seconds: range, pid: int = PID) -> list[int]:
    """The seconds at which the part counts as silent, if the watch looks every second."""
    return [second for second in seconds if watch.probe(pid, second)]


@pytest.mark.parametrize(
    ("words", "outcome"), [(b"yes", "answered"), (b"busy: loading", "answered"), (b"no", "silent"), (b"", "silent")]
)
def test_a_probe_tells_an_answer_from_other_words(
    question: Question, listener: socket.socket, words: bytes, outcome: str
) -> None:
    probe = Probe(question, deadline=1.0)
    assert probe.outcome(0.0) is None
    answer(listener, words)
    assert probe.outcome(0.0) == outcome


def test_a_probe_without_an_answer_ends_at_its_deadline(question: Question, listener: socket.socket) -> None:
    probe = Probe(question, deadline=1.0)
    assert [probe.outcome(now) for now in (0.0, 0.9, 1.0)] == [None, None, "silent"]


def test_a_probe_reaches_an_address_of_ip_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()[:2]
        probe = Probe(Question(family=socket.AF_INET, address=address, words=b"?", answer=(b"yes",)), deadline=1.0)
        probe.outcome(0.0)
        answer(server, b"yes")
        assert probe.outcome(0.0) == "answered"


def test_a_part_that_nobody_can_reach_any_more_is_silent_after_15_seconds(
    question: Question, listener: socket.socket
) -> None:
    watch = ProbeWatch(question)
    assert not answered(watch, listener, 0.0)
    Path(str(question.address)).unlink()
    assert silent_at(watch, range(1, 20)) == [15, 16, 17, 18, 19]


def test_a_part_that_takes_connections_and_does_not_answer_is_silent(
    question: Question, listener: socket.socket
) -> None:
    watch = ProbeWatch(question)
    answered(watch, listener, 0.0)
    assert silent_at(watch, range(1, 40))[0] in range(15, 30)
    watch.close()


def test_one_answer_in_time_ends_the_count(question: Question, listener: socket.socket) -> None:
    watch = ProbeWatch(question)
    answered(watch, listener, 0.0)
    silent_at(watch, range(1, 22))  # two probes have failed, the third is on its way
    for _ in range(2):
        listener.accept()[0].close()
    answer(listener, b"yes")
    assert silent_at(watch, range(22, 37)) == []
    watch.close()


def test_a_part_that_has_never_answered_is_given_two_minutes(question: Question) -> None:
    assert silent_at(ProbeWatch(question), range(200))[0] == 120


def test_another_process_is_given_its_time_to_start(question: Question, listener: socket.socket) -> None:
    watch = ProbeWatch(question)
    answered(watch, listener, 0.0)
    Path(str(question.address)).unlink()
    assert silent_at(watch, range(1, 16)) == [15]
    assert silent_at(watch, range(16, 130), pid=PID + 1) == []


def test_time_in_which_the_supervisor_slept_does_not_count(question: Question, listener: socket.socket) -> None:
    watch = ProbeWatch(question)
    answered(watch, listener, 0.0)
    Path(str(question.address)).unlink()
    silent_at(watch, range(1, 15))
    assert silent_at(watch, range(3_600, 3_615)) == []


def stands_still_at(watch: HeartbeatWatch, seconds: range, heartbeat: bytes | None, pid: int = PID) -> list[int]:
    return [second for second in seconds if watch.observe(pid, heartbeat, second)]


def test_a_heartbeat_that_stands_still_is_told_after_the_patience() -> None:
    watch = HeartbeatWatch(PATIENCE)
    assert stands_still_at(watch, range(18), b"10:00") == [15, 16, 17]


def test_a_heartbeat_that_changes_is_never_told_however_late_its_clock() -> None:
    watch = HeartbeatWatch(PATIENCE)
    beats = [stands_still_at(watch, range(now, now + 10), b"1970-%d" % now) for now in range(0, 100, 10)]
    assert beats == [[]] * 10


def test_a_heartbeat_that_redis_let_expire_stands_still() -> None:
    watch = HeartbeatWatch(PATIENCE)
    watch.observe(PID, b"10:00", 0)
    assert stands_still_at(watch, range(1, 17), None) == [15, 16]


def test_a_worker_without_a_first_heartbeat_is_given_ten_minutes() -> None:
    assert stands_still_at(HeartbeatWatch(PATIENCE), range(602), None) == [600, 601]


def test_time_in_which_nobody_looked_does_not_count() -> None:
    watch = HeartbeatWatch(PATIENCE)
    watch.observe(PID, b"10:00", 0)
    assert stands_still_at(watch, range(3_600, 3_614), b"10:00") == []


def test_another_worker_begins_anew() -> None:
    watch = HeartbeatWatch(PATIENCE)
    stands_still_at(watch, range(14), b"10:00")
    assert stands_still_at(watch, range(14, 28), b"10:00", pid=PID + 1) == []
