"""The files of the page, read once when the process starts."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = "index.html"
REFERENCE: Final = "reference.html"
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_LICENCES: Final = frozenset({"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """One file of the page.

    Attributes:
        content: Its bytes.
        media_type: What it is.
        etag: Its ETag, which follows from its bytes.
    """

    content: bytes
    media_type: str
    etag: str


def read_files(directory: Path = Path(__file__).parent) -> dict[str, PageFile]:
    """Returns every file that a browser may load, by its path below the directory.

    Args:
        directory: The directory of the page.
    """
    return {
        path.relative_to(directory).as_posix(): _read(path)
        for path in sorted(directory.rglob("*"))
        if path.suffix in _MEDIA_TYPES or path.name in _LICENCES
    }


def page_file(content: bytes, media_type: str) -> PageFile:
    """Returns a file with the ETag of its bytes.

    Args:
        content: Its bytes.
        media_type: What it is.
    """
    return PageFile(content=content, media_type=media_type, etag=f'"{hashlib.sha256(content).hexdigest()}"')


def _read(path: Path) -> PageFile:
    return page_file(path.read_bytes(), _MEDIA_TYPES.get(path.suffix, "text/plain; charset=utf-8"))
