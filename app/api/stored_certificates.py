"""The files of a certificate as responses: document, envelopes and time stamp, byte for byte as intake stored them."""

import hashlib
import json
import re
from base64 import b64decode, urlsafe_b64decode
from pathlib import Path
from typing import Final

from fastapi import Response

from certrad.app.api.dependencies import Services
from certrad.app.api.entity_tags import not_modified
from certrad.models.errors import Rejected
from certrad.workers.contract.certificate_files import CERTIFICATE_FILES, CertificateFile, path

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def require_readable(services: Services, sha256: str, tenant: str) -> None:
    """Lets a tenant pass that made a certificate, or everyone where the operator says that certificates are public.

    Args:
        services: The services.
        sha256: The digest as the client gave it.
        tenant: The tenant that asks.

    Raises:
        Rejected: certificate_not_found, as if there were none.
    """
    if not _SHA256.fullmatch(sha256):
        raise Rejected("certificate_not_found", "a digest must be 64 lowercase hexadecimal digits")
    if not services.settings.public_certificates and not services.owners.has(sha256, tenant):
        raise Rejected("certificate_not_found", "no certificate has this digest")


def read_certificate(directory: Path, sha256: str) -> bytes:
    """Returns a document, byte for byte.

    Args:
        directory: The folder of the documents.
        sha256: The digest as the client gave it.

    Raises:
        Rejected: certificate_not_found, digest_mismatch.
    """
    if not _SHA256.fullmatch(sha256):
        raise Rejected("certificate_not_found", "a digest must be 64 lowercase hexadecimal digits")
    try:
        content = (directory / f"{sha256}.json").read_bytes()
    except FileNotFoundError:
        raise Rejected("certificate_not_found", "no certificate has this digest") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Rejected("digest_mismatch", "the stored certificate has another digest")
    return content


def stored_file(
    certificates_dir: Path, sha256: str, kind: CertificateFile, if_none_match: str | None = None
) -> Response:
    """Returns a file of a certificate.

    Args:
        certificates_dir: The folder of the store.
        sha256: The digest as the client gave it.
        kind: The kind of file.
        if_none_match: The client's `If-None-Match`.

    Raises:
        Rejected: certificate_not_found, envelope_not_found, time_stamp_not_found, digest_mismatch.
    """
    document = read_certificate(certificates_dir, sha256)
    content = document if kind == "document" else _read(certificates_dir, sha256, kind)
    if content is None:
        raise Rejected("time_stamp_not_found" if kind == "time_stamp" else "envelope_not_found", "")
    if not _holds(kind, content, document):
        raise Rejected("digest_mismatch", "the stored envelope is around another certificate")
    # Envelopes follow from the document and its key; a stamp that is stored stays.
    tag = f'"{sha256}"' if kind == "document" else f'"{sha256}-{kind}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if not_modified(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=CERTIFICATE_FILES[kind].media_type, headers=headers)


def _read(certificates_dir: Path, sha256: str, kind: CertificateFile) -> bytes | None:
    try:
        return path(certificates_dir, sha256, kind).read_bytes()
    except FileNotFoundError:
        return None


def _holds(kind: CertificateFile, content: bytes, document: bytes) -> bool:
    """Returns whether an envelope is around this document; its readers check its signature."""
    try:
        match kind:
            case "dsse":
                return b'"predicate":' + document + b',"predicateType":' in b64decode(json.loads(content)["payload"])
            case "jws":
                payload = content.split(b".")[1]
                return urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)) == document
            case _:
                return True
    except (ValueError, KeyError, TypeError, IndexError):
        return False
