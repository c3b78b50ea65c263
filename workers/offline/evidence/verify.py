"""`certrad evidence verify`: the signature of evidence, and the digest of every file of it."""

import hashlib
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certrad.models.certificates.envelopes import dsse
from certrad.models.certificates.strict_json import load
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.offline.evidence.gather import ENVELOPE, PREDICATE_TYPE
from certrad.workers.offline.verification import read_issuer


def verify_evidence(options: Namespace) -> int:
    """Checks the folder and prints what is wrong.

    Returns:
        The exit code: 0 if nothing was changed, 1 otherwise, 2 for bad usage.
    """
    try:
        known = None if options.key is None else read_issuer(options.key)
    except (OSError, ValueError) as error:
        return fail(str(error), BAD_USAGE)
    try:
        holder, digests = _stated(options.folder)
    except (OSError, ValueError) as error:
        return fail(f"the envelope cannot be trusted: {error}", FAILURE)
    wrong = list(_differences(options.folder, digests))
    if known is not None:
        digest = hashlib.sha256(bytes.fromhex(holder)).hexdigest()
        if holder not in known.public_keys or digest in known.revoked:
            wrong.append("the evidence is signed with a key that is not one of the issuer's, or that was revoked")
    for each in wrong:
        fail(each, FAILURE)
    if wrong:
        return FAILURE
    checked = "" if known else "; whose key that is was not checked: no `--key` was given"
    sys.stdout.write(f"{len(digests)} files are as the key {holder} signed them{checked}\n")
    return DONE


def _stated(folder: Path) -> tuple[str, dict[str, str]]:
    """Returns the public key that signed the evidence, and the digests of its files.

    Raises:
        OSError: There is no envelope.
        ValueError: It is no envelope of evidence, or its signature does not verify.
    """
    envelope: Any = load((folder / ENVELOPE).read_bytes())
    if not dsse.is_envelope(envelope):
        raise ValueError("it is no DSSE envelope")
    match load(dsse.payload_of(envelope)):
        case {"predicateType": kind, "predicate": {"public_key": str(holder)}, "subject": list(subjects)} if (
            kind == PREDICATE_TYPE
        ):
            pass
        case _:
            raise ValueError("it holds no statement about evidence")
    if not dsse.is_signed_by(holder, envelope):
        raise ValueError("its signature does not verify")
    return holder, {each["name"]: each["digest"]["sha256"] for each in subjects}


def _differences(folder: Path, digests: dict[str, str]) -> Iterator[str]:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {ENVELOPE}
    for name in sorted(there - digests.keys()):
        yield f"{name} was added"
    for name, digest in sorted(digests.items()):
        if name not in there:
            yield f"{name} is missing"
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            yield f"{name} was changed"
