"""The body of a STOW-RS request: its parts go to the disk piece by piece, and only their beginnings are looked at."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from certrad.models.errors import Rejected
from certrad.workers.contract.file_meta import META_BYTES, Identity, read_identity
from certrad.workers.contract.received import ReceivedRequest, sync_file

INSTANCE: Final = "application/dicom"
MULTIPART: Final = "multipart/related"
CANNOT_UNDERSTAND: Final = 0xC000
OUT_OF_RESOURCES: Final = 0xA700
_PIECE: Final = 1 << 20
_MOST_PARTS: Final = 1000
_MOST_BOUNDARY: Final = 200


@dataclass(slots=True)
class Part:
    """One part of a body.

    Attributes:
        media_type: What it says that it is.
        start: Its first bytes.
        size: Its bytes so far.
        identity: The instance that it is, once it has ended.
        failure: Why it was not stored, as a code of PS3.18; None if it was.
    """

    media_type: str = INSTANCE
    start: bytearray = field(default_factory=bytearray)
    size: int = 0
    identity: Identity | None = None
    failure: int | None = None


class InstancesBody:
    """Takes the parts of one body as they come."""

    def __init__(self, request: ReceivedRequest, *, max_bytes: int) -> None:
        """Begins.

        Args:
            request: Where the files of instances go.
            max_bytes: Bytes that one instance may have.
        """
        self._request = request
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._path: Path | None = None
        self._ended = False
        self.parts: list[Part] = []

    async def receive(self, request: Request, media_type: str, boundary: bytes) -> None:
        """Reads a body to its end.

        Args:
            request: The request.
            media_type: That of the body, `application/dicom` or `multipart/related`.
            boundary: What is between the parts of the latter.

        Raises:
            Rejected: invalid_multipart, body_too_large, storage_unavailable.
            ClientDisconnect: The client went away before the end of the body.
        """
        parser = self._parser(boundary) if media_type == MULTIPART else None
        waiting = bytearray()
        try:
            if parser is None:
                self._begin()
            async for chunk in request.stream():
                waiting += chunk
                if len(waiting) >= _PIECE:
                    await run_in_threadpool(self._take, parser, bytes(waiting))
                    waiting.clear()
            await run_in_threadpool(self._take, parser, bytes(waiting))
            if parser is None:
                await run_in_threadpool(self._end)
            elif not self._ended:
                raise Rejected("invalid_multipart", "the body ends before its last boundary")
        except FormParserError:
            raise Rejected(
                "invalid_multipart", "the body is not divided by the boundary that its header names"
            ) from None
        finally:
            if self._file is not None:
                self._file.close()

    def _parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._begin_header,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_part_data": lambda data, start, end: self._write(data[start:end]),
                "on_part_end": self._end,
                "on_end": self._end_all,
            },
        )

    def _take(self, parser: MultipartParser | None, data: bytes) -> None:
        if parser is None:
            self._write(data)
        else:
            parser.write(data)

    def _begin(self) -> None:
        if len(self.parts) >= _MOST_PARTS:
            raise Rejected("invalid_multipart", f"a body may have {_MOST_PARTS} parts")
        self.parts.append(Part())
        self._path, self._file = self._request.open()

    def _begin_header(self) -> None:
        self._header = (bytearray(), bytearray())

    def _end_header(self) -> None:
        name, value = self._header
        if name.strip().lower() == b"content-type":
            self.parts[-1].media_type = _media_type(bytes(value).decode("latin-1"))

    def _write(self, data: bytes) -> None:
        part = self.parts[-1]
        part.size += len(data)
        part.start += data[: META_BYTES - len(part.start)]
        if self._file is not None and part.size <= self._max_bytes:
            self._request.write(self._file, data)

    def _end(self) -> None:
        part = self.parts[-1]
        part.identity = read_identity(bytes(part.start))
        part.start.clear()
        if part.identity is None or not part.identity.sop_class or part.media_type != INSTANCE:
            part.failure = CANNOT_UNDERSTAND
        elif part.size > self._max_bytes:
            part.failure = OUT_OF_RESOURCES
        if self._file is not None and self._path is not None:
            if part.failure is None:
                sync_file(self._file)
            else:
                self._path.unlink()
            self._file.close()
            self._path = self._file = None

    def _end_all(self) -> None:
        self._ended = True


def read_content_type(header: str) -> tuple[str, bytes]:
    """Returns the media type of a body of instances, and the boundary of its parts.

    Args:
        header: The header `Content-Type`.

    Raises:
        Rejected: unsupported_media_type, invalid_multipart.
    """
    media_type, options = parse_options_header(header)
    name = media_type.decode("latin-1").strip().lower()
    if name == INSTANCE:
        return INSTANCE, b""
    root = options.get(b"type", INSTANCE.encode()).decode("latin-1").strip().lower()
    if name != MULTIPART or root != INSTANCE:
        raise Rejected("unsupported_media_type", 'send `multipart/related; type="application/dicom"`')
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= _MOST_BOUNDARY:
        raise Rejected("invalid_multipart", "the header `Content-Type` names no boundary")
    return MULTIPART, boundary


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()
