"""Request bodies that are a file as they are, without a form around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, cast

from fastapi import Request
from starlette.datastructures import UploadFile

from certrad.models.errors import Rejected

_IN_MEMORY: Final = 1 << 20  # as Starlette keeps of a file in a form


@asynccontextmanager
async def read_raw(request: Request) -> AsyncIterator[BinaryIO]:
    """Yields the body as a file.

    What is over 1 MiB lies in the folder that TMPDIR names, without a name of its own, and is gone after the context
    ends: a body that is sent slowly, or never to its end, occupies no memory.

    Args:
        request: The request.

    Raises:
        Rejected: storage_unavailable, body_too_large.
        ClientDisconnect: The client went away before the end of the body.
    """
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        file = cast("BinaryIO", spool)
        upload = UploadFile(file)
        try:
            async for chunk in request.stream():
                await upload.write(chunk)  # in a thread, once it goes to the disk
            await upload.seek(0)
        except OSError as error:
            raise Rejected("storage_unavailable", f"the upload was not stored: {error.strerror}") from error
        yield file
