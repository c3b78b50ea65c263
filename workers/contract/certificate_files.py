"""The files of a certificate: the document, its envelopes and its time stamp, side by side under one digest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

CertificateFile = Literal["document", "dsse", "jws", "time_stamp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """The names of the files of one kind.

    Attributes:
        media_type: Its media type.
        suffix: What follows the SHA-256 of the document, or the name of the job or image, in the file name.
        description: What it is, in words.
    """

    media_type: str
    suffix: str
    description: str


CERTIFICATE_FILES: Final[Mapping[CertificateFile, FileKind]] = {
    "document": FileKind(
        media_type="application/json",
        suffix=".json",
        description="the signed document: canonical JSON, whose SHA-256 is its address",
    ),
    "dsse": FileKind(
        media_type="application/vnd.in-toto+json",
        suffix=".dsse",
        description="the document as predicate of an in-toto Statement in a DSSE envelope",
    ),
    "jws": FileKind(
        media_type="application/jose",
        suffix=".jws",
        description="the document as compact JWS, algorithm `Ed25519`",
    ),
    "time_stamp": FileKind(
        media_type="application/timestamp-reply",
        suffix=".tsr",
        description="the RFC 3161 time stamp over the signature of the document",
    ),
}


def path(certificates_dir: Path, sha256: str, kind: CertificateFile) -> Path:
    """Returns the path of a file of a certificate.

    Args:
        certificates_dir: The folder of the store.
        sha256: SHA-256 of the document, 64 hexadecimal digits, which the caller has checked.
        kind: The kind of file.
    """
    return certificates_dir / f"{sha256}{CERTIFICATE_FILES[kind].suffix}"


def read_time_stamp(certificates_dir: Path, sha256: str) -> bytes | None:
    """Returns the time stamp of a certificate; None if it has none.

    Args:
        certificates_dir: The folder of the store.
        sha256: As of `path`.

    Raises:
        OSError: The disk refuses.
    """
    try:
        return path(certificates_dir, sha256, "time_stamp").read_bytes()
    except FileNotFoundError:
        return None
