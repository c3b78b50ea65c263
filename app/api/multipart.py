"""Multipart forms that bring one file and some fields."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import UploadFile

from certrad.app.api.problems import InvalidRequest
from certrad.models.errors import Rejected

_FIELD_BYTES: Final = 256 * 1024
_FIELDS_MAX: Final = 32


def form_content(file: str, described: Mapping[str, Any], form: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the OpenAPI content of a multipart form: one required file, and the fields of a JSON schema.

    Args:
        file: The name of the file's part.
        described: The JSON schema of the file's part.
        form: The JSON schema of the fields.
    """
    return {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {file: described, **form["properties"]},
                "required": [file],
                "additionalProperties": False,
            }
        }
    }


def is_form(request: Request) -> bool:
    """Returns whether the body is a multipart form."""
    return request.headers.get("content-type", "").lower().startswith("multipart/")


@asynccontextmanager
async def read_form(request: Request, file: str) -> AsyncIterator[tuple[UploadFile, list[tuple[str, str]]]]:
    """Yields the file and the text fields of a form.

    A large file lies in the folder that TMPDIR names, without a name of its own, and is gone after the context ends.

    Args:
        request: The request.
        file: The name of the file's part, which the form must have once.

    Raises:
        InvalidRequest: The file is missing or there is more than one, or a field is not text.
        Rejected: storage_unavailable.
    """
    fields: list[tuple[str, str]] = []
    limits: dict[str, Any] = {"max_files": 1, "max_fields": _FIELDS_MAX, "max_part_size": _FIELD_BYTES}
    try:
        form = await request.form(**limits)
    except OSError as error:
        raise Rejected("storage_unavailable", f"the upload was not stored: {error.strerror}") from error
    try:
        files = form.getlist(file)
        if len(files) != 1 or not isinstance(files[0], UploadFile):
            raise InvalidRequest({file: "must be sent exactly once, as a file part"})
        for name, value in form.multi_items():
            if name != file:
                if not isinstance(value, str):
                    raise InvalidRequest({name: "must be a text part"})
                fields.append((name, value))
        yield files[0], fields
    finally:
        await form.close()
