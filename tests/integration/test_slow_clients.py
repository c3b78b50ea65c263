"""The API is not held up by clients that send too slowly, too little or too much at once."""

import json
import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.api import PNG
from tests.support.processes import wait_for
from tests.support.raw_client import ApiProcess, api_process, closing, everything, head, problem_of

RATE = 1_000  # bytes a second
LONG = 3_600  # seconds: a limit that no test reaches


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedRedis) -> Iterator[ApiProcess]:
    """An API process that waits for one or two seconds only."""
    limits = {"header_timeout": 1, "stall_timeout": 2, "min_body_rate": RATE}
    with api_process(tmp_path_factory.mktemp("hasty"), redis_server.url, **limits) as api:
        yield api


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedRedis) -> Iterator[ApiProcess]:
    """An API process that only its number of connections protects."""
    with api_process(
        tmp_path_factory.mktemp("patient"), redis_server.url, header_timeout=LONG, stall_timeout=LONG
    ) as api:
        yield api


def refused(api: ApiProcess) -> list[tuple[str, int]]:
    """Method and status in each access line of a request without a route."""
    lines = [json.loads(line) for line in api.log.read_text().splitlines() if '"event": "request"' in line]
    return [(line["method"], line["status"]) for line in lines if line["route"] == "unmatched"]


def assert_timed_out(connection: socket.socket) -> None:
    """Checks that the service answers 408 and closes the connection."""
    status, body = problem_of(everything(connection))
    assert (status, body["code"]) == (408, "request_timeout")


@pytest.mark.parametrize("sent", [b"G", head("/certify"), head("/certify", "X-Long: " + "x" * 9_000)])
def test_half_of_the_headers_is_answered_with_408(hasty: ApiProcess, sent: bytes) -> None:
    assert_timed_out(hasty.connect(sent))


def test_what_is_no_request_has_a_line_that_repeats_nothing_of_it(hasty: ApiProcess) -> None:
    before = len(refused(hasty))
    assert everything(hasty.connect(b"DOE^JANE /DOE^JANE DOE^JANE\r\n\r\n")).startswith(b"HTTP/1.1 400")
    assert refused(hasty)[before:] == [("other", 400)]
    assert "DOE" not in hasty.log.read_text()


def test_headers_that_come_too_slowly_have_a_line(hasty: ApiProcess) -> None:
    before = len(refused(hasty))
    assert_timed_out(hasty.connect(head("/DOE^JANE")))
    assert refused(hasty)[before:] == [("other", 408)]
    assert "DOE" not in hasty.log.read_text()


def test_a_body_that_comes_too_slowly_has_one_line_with_its_answer(hasty: ApiProcess) -> None:
    def lines() -> list[str]:
        return [line for line in hasty.log.read_text().splitlines() if '"/verify"' in line]

    before = len(lines())
    assert_timed_out(hasty.connect(head("/verify", "Content-Length: 1000"), b"\r\n", PNG))
    wait_for(lambda: lines()[before:], what="the line of the request")
    assert [json.loads(line)["status"] for line in lines()[before:]] == [408]


def test_an_upload_that_comes_too_slowly_is_counted_as_refused(hasty: ApiProcess) -> None:
    def counted() -> float:
        found = re.search(r'certrad_http_upload_refusals_total\{code="request_timeout"\} (\S+)', metrics())
        return float(found[1]) if found else 0.0

    def metrics() -> str:
        return httpx.get(f"{hasty.url}/metrics").text

    before = counted()
    assert_timed_out(hasty.connect(head("/certify", "Content-Length: 1000"), b"\r\n", PNG))
    wait_for(lambda: counted() == before + 1, what="the refusal in the metrics")


def test_a_body_that_is_too_large_has_a_line(hasty: ApiProcess) -> None:
    before = len(refused(hasty))
    assert httpx.post(f"{hasty.url}/certify", content=bytes(66 << 20)).status_code == 413
    wait_for(lambda: refused(hasty)[before:] == [("POST", 413)], what="the line of the request")


def test_half_of_the_second_request_is_answered_with_408(hasty: ApiProcess) -> None:
    whole = head("/health/live", method="GET") + b"\r\n"
    received = everything(hasty.connect(whole, whole[:20]))
    first, _, second = received.partition(b'{"status":"ok"}')
    assert first.startswith(b"HTTP/1.1 200")
    assert problem_of(second)[1]["code"] == "request_timeout"


def test_a_connection_without_a_request_is_closed_without_a_word(hasty: ApiProcess) -> None:
    assert everything(hasty.connect()) == b""


@pytest.mark.parametrize("path", ["/certify", "/verify", "/jobs"])
def test_headers_that_drip_are_answered_with_408(hasty: ApiProcess, path: str) -> None:
    connection = hasty.connect(head(path))
    while not select.select([connection], [], [], 0.05)[0]:
        connection.sendall(b"x")
    assert_timed_out(connection)


@pytest.mark.parametrize(
    ("path", "form"), [("/certify", ""), ("/certify", "image"), ("/verify", ""), ("/prompts", "images")]
)
def test_a_body_that_drips_is_answered_with_408(hasty: ApiProcess, path: str, form: str) -> None:
    kind = ["Content-Type: multipart/form-data; boundary=b"] if form else []
    part = f'--b\r\nContent-Disposition: form-data; name="{form}"; filename="f"\r\n\r\n' if form else ""
    connection = hasty.connect(head(path, "Content-Length: 100000", *kind), b"\r\n", part.encode())
    while not select.select([connection], [], [], 0.05)[0]:
        connection.sendall(b"x")
    assert_timed_out(connection)


def test_a_body_that_stops_after_a_fast_start_is_answered_with_408(hasty: ApiProcess) -> None:
    assert_timed_out(hasty.connect(head("/certify", "Content-Length: 5000000"), b"\r\n", bytes(4_000_000)))


def test_a_body_that_nobody_reads_does_not_keep_its_connection(hasty: ApiProcess) -> None:
    received = everything(hasty.connect(head("/nowhere", "Content-Length: 1000"), b"\r\n", b"x"))
    assert received.startswith(b"HTTP/1.1 404")


def test_a_steady_body_is_taken_however_long_it_takes(hasty: ApiProcess) -> None:
    size = 60_000
    connection = hasty.connect(head("/certify", f"Content-Length: {size}", "Connection: close"), b"\r\n", PNG)
    left = size - len(PNG)
    while left and not select.select([connection], [], [], 0.1)[0]:  # 7 s: three times the period
        connection.sendall(bytes(min(left, 800)))
        left -= min(left, 800)
    assert everything(connection).startswith(b"HTTP/1.1 202")


def test_a_client_that_expects_to_be_asked_is_given_time(hasty: ApiProcess) -> None:
    lines = head("/certify", f"Content-Length: {len(PNG)}", "Expect: 100-continue", "Connection: close")
    connection = hasty.connect(lines, b"\r\n")
    assert connection.recv(65_536).startswith(b"HTTP/1.1 100")
    connection.sendall(PNG)
    assert everything(connection).startswith(b"HTTP/1.1 202")


def test_a_client_that_reads_nothing_is_disconnected(hasty: ApiProcess) -> None:
    wait_for(lambda: hasty.clients() == 0, what="the end of earlier connections")
    wanted = head("/openapi.json", method="GET") + b"\r\n"
    with hasty.connect(wanted * 200) as connection:
        connection.setblocking(False)
        assert hasty.clients() <= 1
        wait_for(lambda: hasty.clients() == 0, what="the end of the connection")


def test_half_open_connections_lock_nobody_out_and_do_not_fill_the_log(patient: ApiProcess) -> None:
    before = size_beside_requests(patient)
    with closing([patient.connect(head("/certify")) for _ in range(1_100)]):
        wait_for(patient.is_alive, what="an answer beside 1,100 half-open connections")
        assert size_beside_requests(patient) - before < 2_000  # else a line each: 1,100


def test_unfinished_bodies_lock_nobody_out(patient: ApiProcess) -> None:
    unfinished = head("/certify", "Content-Length: 1000") + b"\r\n" + PNG
    with closing([patient.connect(unfinished) for _ in range(1_100)]):
        wait_for(patient.answers, what="an answer beside 1,100 unfinished bodies")
        assert size_beside_requests(patient) < 20_000  # else a line each: 1,100


def size_beside_requests(patient: ApiProcess) -> int:
    """Returns the size of the log without the lines that each request has, those of another test among them."""
    lines = patient.log.read_text().splitlines()
    return sum(len(line) for line in lines if '"event": "request"' not in line)


@pytest.mark.parametrize(("path", "size", "number"), [("/certify", 20_000_000, 15), ("/verify", 8_000_000, 30)])
def test_unfinished_bodies_occupy_no_memory(patient: ApiProcess, path: str, size: int, number: int) -> None:
    unfinished = head(path, f"Content-Length: {size}"), b"\r\n", PNG, bytes(size - len(PNG) - 1)
    before = patient.memory()
    with closing([patient.connect(*unfinished) for _ in range(number)]):
        wait_for(lambda: patient.unread() == 0, what="the reading of what was sent")
        assert patient.memory() - before < size * number / 3


def test_a_body_that_is_no_file_is_small(patient: ApiProcess) -> None:
    answer = httpx.patch(f"{patient.url}/prompts/any", content=bytes(1_100_000))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_more_requests_than_allowed_are_refused_until_one_ends(tmp_path: Path, redis_server: EmbeddedRedis) -> None:
    with api_process(tmp_path, redis_server.url, max_connections=2) as api:
        job = httpx.post(f"{api.url}/certify", content=PNG).json()["id"]
        followers = [api.connect(head(f"/jobs/{job}/events", method="GET"), b"\r\n") for _ in range(2)]
        with closing(followers):
            for follower in followers:
                assert follower.recv(65_536).startswith(b"HTTP/1.1 200")
            answer = httpx.get(f"{api.url}/tasks")
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_connections")
            assert answer.headers["retry-after"]
            assert api.is_alive()  # or `certrad up` would start it again
            for probe in ("ready", "workers"):
                assert "too_many_connections" not in httpx.get(f"{api.url}/health/{probe}").text
            assert ("GET", 503) in refused(api)
            followers[0].close()
            wait_for(lambda: httpx.get(f"{api.url}/tasks").is_success, what="an answer after the end of a request")
