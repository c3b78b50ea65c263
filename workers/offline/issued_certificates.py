"""The certificates of jobs by the audit trail, which names them when the records of the jobs are gone."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from certrad.workers.contract.audit_chain import trail_files

_EVENT: Final = b'"certificate_issued"'
_JOB: Final = "urn:certrad:job"
_CERTIFICATE: Final = "urn:certrad:certificate-sha256"


def issued_certificates(directory: Path, jobs: Collection[str]) -> dict[str, set[str]]:
    """Returns the SHA-256 of the certificates that a trail says were issued for jobs, by the job.

    Args:
        directory: The folder of the trail.
        jobs: Ids of the jobs.

    Raises:
        OSError: A file cannot be read.
    """
    found: dict[str, set[str]] = {}
    for path in trail_files(directory) if jobs else ():
        with path.open("rb") as lines:
            for line in lines:
                if _EVENT in line:
                    named = _identifiers(line)
                    if named.get(_JOB) in jobs and _CERTIFICATE in named:
                        found.setdefault(named[_JOB], set()).add(named[_CERTIFICATE])
    return found


def _identifiers(line: bytes) -> dict[str, str]:
    """Returns what an event names, by the system of its identifier; empty for the line of a process that died."""
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    named = [entity["what"]["identifier"] for entity in event.get("entity", []) if "what" in entity]
    return {identifier["system"]: identifier["value"] for identifier in named}
