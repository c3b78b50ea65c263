"""Forgets the assessments of some jobs, when a patient's data are erased."""

import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from certrad.models.files import replace_file
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.assessments import FILE_NAME
from certrad.workers.contract.locked_files import open_locked


def forget_assessments(
    directory: Path,
    *,
    jobs: Collection[str],
    certificates: Collection[str],
    tenant: str,
    is_rehearsal: bool = False,
) -> int:
    """Forgets the assessments that name a job or its certificate, and returns how many there were.

    The file is replaced by one without them: a power cut leaves the one or the other.

    Args:
        directory: The folder of assessments.
        jobs: Ids of the jobs.
        certificates: SHA-256 of the certificates of the jobs.
        tenant: The tenant of the jobs; assessments of the same certificates by others stay.
        is_rehearsal: Whether to count them only.

    Raises:
        OSError: The disk refuses.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return 0
    descriptor = open_locked(path)
    try:
        kept, count = [], 0
        for line in path.read_bytes().splitlines(keepends=True):
            if _is_about(line, jobs, certificates, tenant):
                count += 1
            else:
                kept.append(line)
        if count and not is_rehearsal:
            replace_file(path, b"".join(kept))
    finally:
        os.close(descriptor)
    return count


def _is_about(line: bytes, jobs: Collection[str], certificates: Collection[str], tenant: str) -> bool:
    with suppress(ValueError):  # the unfinished line of a process that died
        made: dict[str, Any] = json.loads(line)
        of_tenant = made.get("tenant", LOCAL_TENANT) == tenant
        return of_tenant and (made["job"] in jobs or made["certificate"] in certificates)
    return False
