"""The page at `/`, the API reference at `/docs`, and the files that both load."""

import json
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from certrad.app.api.entity_tags import not_modified
from certrad.app.api.remedies import REMEDIES
from certrad.app.page.files import PAGE, REFERENCE, PageFile, page_file, read_files
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
IfNoneMatch = Annotated[str | None, Header()]


def page_router(settings: ApiSettings) -> APIRouter:
    """Returns the routes of the page. It reads the files now, so that a request reads no disk.

    Args:
        settings: Of the service, for what the page says about it.
    """
    files = read_files()
    files["service.json"] = _facts(settings)
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(if_none_match: IfNoneMatch = None) -> Response:
        return _answer(files[PAGE], if_none_match)

    @router.get("/docs")
    async def reference(if_none_match: IfNoneMatch = None) -> Response:
        return _answer(files[REFERENCE], if_none_match)

    @router.get("/page/{path:path}")
    async def file(path: str, if_none_match: IfNoneMatch = None) -> Response:
        if path not in files or path in (PAGE, REFERENCE):
            raise Rejected("not_found", "the page has no such file")
        return _answer(files[path], if_none_match)

    return router


def _answer(file: PageFile, if_none_match: str | None) -> Response:
    headers = {**_HEADERS, "ETag": file.etag}
    if not_modified(file.etag, if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def _facts(settings: ApiSettings) -> PageFile:
    """Returns what the page says and the interface does not: what to do about each error code, and limits."""
    facts = {
        "default_task": settings.default_task,
        "max_body_bytes": settings.max_body_bytes,
        "output_ttl": settings.output_ttl,
        "remedies": {code: remedy.what_to_do for code, remedy in REMEDIES.items()},
    }
    return page_file(json.dumps(facts).encode(), "application/json")
