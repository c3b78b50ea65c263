"""One question to a part of the stack, on a connection of its own, that never makes the supervisor wait."""

import errno
import socket
from dataclasses import dataclass
from typing import Final, Literal

_NOT_YET: Final = frozenset({errno.EAGAIN, errno.EINPROGRESS, errno.EALREADY, errno.ENOTCONN})
_ANSWER_BYTES: Final = 512

Outcome = Literal["answered", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, and the address that it goes to.

    Attributes:
        family: The address family of the socket.
        address: The address as `socket.connect` takes it.
        words: The bytes that are sent.
        answer: The bytes that every answer begins with, also that of a part which is busy or overloaded.
    """

    family: socket.AddressFamily
    address: str | tuple[str, int]
    words: bytes
    answer: tuple[bytes, ...]


class Probe:
    """A question on its way; it holds one socket until it has an outcome or is closed."""

    def __init__(self, question: Question, *, deadline: float) -> None:
        """Creates the socket; `outcome` connects and sends.

        Args:
            question: The question.
            deadline: Monotonic seconds after which no answer counts.
        """
        self._question = question
        self._deadline = deadline
        self._unsent = question.words
        self._read = b""
        self._connected = False
        self._socket = socket.socket(question.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)

    def outcome(self, now: float) -> Outcome | None:
        """Goes on as far as it can without waiting.

        Args:
            now: Monotonic seconds.

        Returns:
            The outcome, or None as long as there is none.
        """
        found = self._advance()
        if found is None and now >= self._deadline:
            found = "silent"
        if found is not None:
            self.close()
        return found

    def close(self) -> None:
        """Gives the question up."""
        self._socket.close()

    def _advance(self) -> Outcome | None:
        try:
            if not self._connected:
                self._connect()
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            while chunk := self._socket.recv(_ANSWER_BYTES):
                self._read += chunk
                if self._read.startswith(self._question.answer):
                    return "answered"
                if len(self._read) >= _ANSWER_BYTES:
                    return "silent"
        except OSError as error:
            return None if error.errno in _NOT_YET else "silent"
        return "silent"

    def _connect(self) -> None:
        code = self._socket.connect_ex(self._question.address)
        if code not in (0, errno.EISCONN, errno.EINPROGRESS, errno.EALREADY):
            raise OSError(code, "connect")
        # EINPROGRESS counts as connected: `send` fails with EAGAIN until the connection is made.
        self._connected = code in (0, errno.EISCONN, errno.EINPROGRESS)
