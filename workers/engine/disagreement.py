"""Reports of blocks that were computed twice, and of engines that disagree about one."""

from collections.abc import Callable

import structlog

_log = structlog.get_logger()


def report_redone(job_id: str) -> Callable[[bool], None]:
    """Returns what a ledger calls for a block that was committed before.

    Two engines of the same kind give the same labels. Where they do not, the first ones stand all the same, and the
    operator must know: no certificate can be recomputed to the last label on such machines.

    Args:
        job_id: The job's id.
    """

    def report(same: bool) -> None:
        if same:
            _log.info("block redone", job_id=job_id)
        else:
            _log.error("engines disagree on a block", job_id=job_id)

    return report
