"""The connections of one API process: how many there may be, and which one makes room for another."""

import logging
from typing import Final, Protocol

_log: Final = logging.getLogger("certrad.api")
SPARE: Final = 64  # connections without a request, beside those with one
_STALLED_SECONDS: Final = 1.0


class Connection(Protocol):
    """A connection as the others see it."""

    def stalled(self) -> float:
        """Returns the seconds since the last byte of a body that is due; 0 if none is due."""

    def drop(self) -> None:
        """Closes the connection at once."""


class Connections:
    """Counts the connections, and closes the one that does least when there are too many.

    A connection is either answering a request or waiting for one. The longest waiting one is closed first: whoever
    opens connections and sends nothing, or half of the headers, closes its own.
    """

    def __init__(self, limit: int) -> None:
        """Sets the limit.

        Args:
            limit: Requests that may be answered at once.
        """
        self._limit = limit
        self._waiting: dict[Connection, None] = {}  # longest waiting first
        self._answering: dict[Connection, None] = {}

    def open(self, connection: Connection) -> None:
        """Takes a new connection, for which the longest waiting one is closed if there are too many.

        Args:
            connection: The new connection.
        """
        self._waiting[connection] = None
        if len(self._waiting) + len(self._answering) > self._limit + SPARE:
            _log.warning("an idle connection was closed, because there were more than %d", self._limit + SPARE)
            self._drop(next(iter(self._waiting)))

    def begin(self, connection: Connection) -> bool:
        """Returns whether a request that has come may be answered.

        If the limit is reached, the request whose body has stalled for longest makes room for it.

        Args:
            connection: The connection of the request.
        """
        if len(self._answering) >= self._limit:
            slowest = max(self._answering, key=lambda other: other.stalled())
            if slowest.stalled() < _STALLED_SECONDS:
                _log.warning("a request was refused, because %d others are being answered", self._limit)
                return False
            _log.warning("a request whose body stalled was closed, because there were %d", self._limit)
            self._drop(slowest)
        self._waiting.pop(connection, None)
        self._answering[connection] = None
        return True

    def end(self, connection: Connection) -> None:
        """Lets a connection wait for its next request; one that was closed since is not there any more.

        Args:
            connection: The connection, whose request was answered.
        """
        if connection in self._answering:
            del self._answering[connection]
            self._waiting[connection] = None

    def close(self, connection: Connection) -> None:
        """Forgets a connection that is closed.

        Args:
            connection: The connection.
        """
        self._waiting.pop(connection, None)
        self._answering.pop(connection, None)

    def _drop(self, connection: Connection) -> None:
        self.close(connection)
        connection.drop()
