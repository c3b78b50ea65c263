"""The connection that has waited longest makes room for another, and no request is touched."""

from dataclasses import dataclass, field

import pytest

from certrad.app.http.connections import SPARE, Connections


@dataclass(eq=False)
class Client:
    """A connection of a test."""

    silent: float = 0.0
    dropped: list[bool] = field(default_factory=list)

    def stalled(self) -> float:
        return self.silent

    def drop(self) -> None:
        self.dropped.append(True)


def answering(connections: Connections, *silent: float) -> list[Client]:
    """Clients whose requests are being answered."""
    clients = [Client(silent=seconds) for seconds in silent]
    for client in clients:
        connections.open(client)
        assert connections.begin(client)
    return clients


def test_the_longest_waiting_connection_makes_room_and_no_request_is_touched() -> None:
    connections = Connections(2)
    busy = answering(connections, 0.0, 30.0)
    waiting = [Client() for _ in range(SPARE + 2)]
    for client in waiting:
        connections.open(client)
    assert [bool(client.dropped) for client in waiting] == [True, True] + [False] * SPARE
    assert not any(client.dropped for client in busy)


def test_a_connection_waits_anew_after_each_request() -> None:
    connections = Connections(1)
    first = answering(connections, 0.0)[0]
    others = [Client() for _ in range(SPARE)]
    for client in others:
        connections.open(client)
    connections.end(first)
    connections.open(Client())
    assert (others[0].dropped, first.dropped) == ([True], [])


def test_the_body_that_stalled_longest_makes_room_for_a_request() -> None:
    connections = Connections(3)
    busy = answering(connections, 2.0, 5.0, 0.0)
    answering(connections, 0.0)
    assert [bool(client.dropped) for client in busy] == [False, True, False]


@pytest.mark.parametrize("silent", [0.0, 0.5])
def test_a_request_is_refused_when_all_others_go_on(silent: float) -> None:
    connections = Connections(2)
    busy = answering(connections, silent, 0.0)
    client = Client()
    connections.open(client)
    assert not connections.begin(client)
    assert not any(other.dropped for other in busy)
    connections.close(busy[0])
    assert connections.begin(client)
