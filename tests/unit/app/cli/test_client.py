"""The client reads events and errors from the bytes it gets, and never sends a file name."""

import httpx
import pytest

from certrad.app.cli.client import Client, Event, ProblemError, parse_events


def event_stream(*lines: str) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, text="\n".join(lines))


def test_comments_hints_and_a_cut_off_event_are_left_out() -> None:
    response = event_stream(
        "retry: 2000",
        "",
        "id: 1-0",
        "event: phase",
        'data: {"phase": "decoding"}',
        "",
        ": still here",
        "",
        "id: 2-0",
        "event: end",
        'data: {"status": "succeeded"}',
    )
    assert list(parse_events(response)) == [Event(id="1-0", name="phase", data={"phase": "decoding"})]


def test_data_of_several_lines_is_kept() -> None:
    response = event_stream("event: progress", "id: 1-0", 'data: {"samples_done":', "data:  64}", "", "")
    assert list(parse_events(response)) == [Event(id="1-0", name="progress", data={"samples_done": 64})]


@pytest.mark.parametrize("body", [b"<html>proxy</html>", b"[]", b'{"error": 1}', b""])
def test_foreign_error_body_is_named_as_such(body: bytes) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(502, content=body))
    with Client("http://service", transport=transport) as client, pytest.raises(ProblemError) as caught:
        client.job("j")
    assert (caught.value.status, caught.value.code) == (502, "not_certrad")


def test_service_that_stays_away_is_given_up() -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    pauses: list[float] = []
    transport = httpx.MockTransport(away)
    client = Client("http://service", transport=transport, sleep=pauses.append)
    with client, pytest.raises(ProblemError) as caught:
        client.wait("j")
    assert caught.value.code == "unreachable"
    assert 10 <= sum(pauses) <= 60


def test_file_name_is_not_sent() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(503, json={"code": "queue_full", "title": "full", "detail": "later"})

    with Client("http://service", transport=httpx.MockTransport(answer)) as client, pytest.raises(ProblemError):
        client.submit(b"image", {"sigma": "0.5"})
    assert str(seen[0].url) == "http://service/certify?sigma=0.5"
    assert seen[0].headers["content-type"] == "application/octet-stream"
    assert seen[0].content == b"image"
