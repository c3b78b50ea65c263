"""The note of one callback: which job has ended, its receiver, and how many attempts were made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One callback that is not delivered yet.

    Attributes:
        job: Id of the job that has ended.
        address: The address of the receiver.
        tenant: The tenant of the job.
        status: How the job ended.
        ended_at: When it ended, in seconds since 1970.
        began_at: When the attempts began, in seconds since 1970: at the end of the job, or when an operator restarted
            them.
        attempts: How many attempts were made.
        reason: What went wrong last; empty before the first attempt.
    """

    job: str
    address: str
    tenant: str
    status: str
    ended_at: float
    began_at: float
    attempts: int
    reason: str

    @classmethod
    def from_fields(cls, job: str, stored: Mapping[bytes, bytes]) -> Self:
        """Returns the note that is stored in a hash.

        Args:
            job: Id of the job.
            stored: The fields of the hash.

        Raises:
            KeyError: A field is missing.
            ValueError: A field is not what the script that ends a job writes.
        """
        ended_at = float(stored[b"ended_at"])
        return cls(
            job=job,
            address=stored[b"address"].decode(),
            tenant=stored[b"tenant"].decode(),
            status=stored[b"status"].decode(),
            ended_at=ended_at,
            began_at=float(stored.get(b"began_at", ended_at)),
            attempts=int(stored[b"attempts"]),
            reason=stored[b"reason"].decode(),
        )
