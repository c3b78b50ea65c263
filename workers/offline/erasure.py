"""Erases what the service holds about one patient's jobs, and reports in numbers what went and what stays."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

from redis import Redis

from certrad.workers.contract import certificate_files, outputs, uploads
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.audit_events import AuditEvent
from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.certificate_files import CERTIFICATE_FILES
from certrad.workers.contract.certificate_owners import CertificateOwners
from certrad.workers.contract.forgotten_assessments import forget_assessments
from certrad.workers.contract.names import (
    ACTIVE,
    CALLBACKS,
    DEAD_CALLBACKS,
    JOBS,
    UNSTAMPED,
    record_key,
)
from certrad.workers.contract.records import Records
from certrad.workers.contract.settings import SharedSettings
from certrad.workers.contract.stages import forget_stages, is_held, stop_stages
from certrad.workers.offline.issued_certificates import issued_certificates
from certrad.workers.pacs.database import Database
from certrad.workers.pacs.erasing import ConnectorRows, erase_rows, find_rows, jobs_of_study
from certrad.workers.reports.predecessors import ReportIndex

_PATIENCE_SECONDS: Final = 60.0
_AT_ONCE: Final = 1_000


class HeldError(Exception):
    """A worker does not let go of a job that was cancelled."""


class UnrecordedError(Exception):
    """The audit trail cannot be written, so that nothing would record the erasure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The jobs and files that are to be erased.

    Attributes:
        tenant: The tenant of the jobs.
        reference: The reference of the jobs; None for those named otherwise.
        study: The UID of a study that the connector knows; None for those named otherwise.
        jobs: Ids of jobs.
        with_certificates: Whether their certificates go too.
    """

    tenant: str = LOCAL_TENANT
    reference: str | None = None
    study: str | None = None
    jobs: Sequence[str] = ()
    with_certificates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, and erased unless it was a rehearsal.

    Attributes:
        jobs: Ids of the jobs.
        counts: How much there was in each place.
        certificates: SHA-256 of the certificates that stay.
        unnamed: Ids of the jobs without a record whose certificates the audit trail does not name either.
    """

    jobs: Sequence[str]
    counts: Mapping[str, int]
    certificates: Sequence[str]
    unnamed: Sequence[str]


class Erasure:
    """The erasure of what is wanted from one job store and one data directory."""

    def __init__(self, redis: Redis, settings: SharedSettings, wanted: Wanted) -> None:
        """Looks the jobs up.

        Raises:
            ValueError: The id of a job is none, or jobs of the study are another tenant's.
            RedisError: The job store does not answer.
        """
        self._redis = redis
        self._settings = settings
        self._wanted = wanted
        self._records = Records(redis, ttl=settings.job_ttl)
        self._database = Database(settings.pacs_dir) if settings.pacs_dir.is_dir() else None
        self.jobs = tuple(dict.fromkeys(self._find()))

    def rehearse(self) -> Report:
        """Returns what would be erased."""
        return self._report({name: place(True) for name, place in self._places().items()})

    def run(self, *, patience: float = _PATIENCE_SECONDS) -> Report:
        """Erases, and returns what.

        The records of the jobs go last: an erasure that was cut off finds its jobs again. The audit trail records it
        before they go.

        Args:
            patience: Seconds that a worker has to let go of a job.

        Raises:
            HeldError: A worker did not; the job is cancelled, and nothing was erased.
            UnrecordedError: The audit trail cannot be written; the records are there.
            OSError: The disk refuses; the records are there.
            RedisError: The job store does not answer; so does another run find the rest.
        """
        self._cancel(patience)
        places = self._places()
        self._certificates  # noqa: B018  # read before the records that name them go
        last = places.pop("job records")
        counts = {name: place(False) for name, place in places.items()}
        counts["job records"] = last(True)
        self._audit(counts)
        last(False)
        return self._report(counts)

    def close(self) -> None:
        """Closes the connector's database."""
        if self._database is not None:
            self._database.close()

    def _find(self) -> Iterator[str]:
        for job_id in self._wanted.jobs:
            uploads.path_of(self._settings.blobs_dir, job_id)
            if self._tenant(job_id) in (None, self._wanted.tenant):
                yield job_id
        if self._wanted.study is not None and self._database is not None:
            yield from self._of_study(self._database, self._wanted.study)
        if self._wanted.reference is not None:
            yield from self._of_reference(self._wanted.reference)

    def _of_study(self, database: Database, study: str) -> list[str]:
        """Returns the jobs of a study; what the connector holds about it goes as a whole, so all are of the tenant."""
        jobs = jobs_of_study(database, study)
        mine = (None, self._wanted.tenant)
        if theirs := [f"{job_id} of {tenant}" for job_id in jobs if (tenant := self._tenant(job_id)) not in mine]:
            raise ValueError(
                f"nothing was erased, since the study has jobs of other tenants than {self._wanted.tenant}: "
                f"{', '.join(theirs)}; give --tenant, or erase these by --jobs first"
            )
        return jobs

    def _of_reference(self, reference: str) -> Iterator[str]:
        members = sorted({*self._redis.zrange(JOBS, 0, -1), *self._redis.zrange(ACTIVE, 0, -1)})
        for start in range(0, len(members), _AT_ONCE):
            some = members[start : start + _AT_ONCE]
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in some:
                    pipe.hmget(record_key(job_id.decode()), "reference", "tenant")
                answers = cast("list[list[bytes | None]]", pipe.execute())
            for job_id, (found, tenant) in zip(some, answers, strict=True):
                if found == reference.encode() and (tenant or LOCAL_TENANT.encode()) == self._wanted.tenant.encode():
                    yield job_id.decode()

    def _tenant(self, job_id: str) -> str | None:
        status, tenant = cast("list[bytes | None]", self._redis.hmget(record_key(job_id), "status", "tenant"))
        return None if status is None else (tenant or LOCAL_TENANT.encode()).decode()

    @cached_property
    def _issued(self) -> Mapping[str, set[str]]:
        """The certificates of the jobs without a record, by the audit trail: those that the tenant made."""
        gone = [job_id for job_id in self.jobs if self._records.status(job_id) is None]
        issued = issued_certificates(self._settings.audit_dir, gone)
        owners, tenant = CertificateOwners(self._settings.owners_dir), self._wanted.tenant
        return {job_id: {each for each in issued.get(job_id, ()) if owners.has(each, tenant)} for job_id in gone}

    @cached_property
    def _certificates(self) -> tuple[str, ...]:
        found = (self._redis.hget(record_key(job_id), "certificate") for job_id in self.jobs)
        recorded = {digest.decode() for digest in cast("Iterator[bytes | None]", found) if digest}
        return tuple(sorted(recorded.union(*self._issued.values())))

    @cached_property
    def _rows(self) -> ConnectorRows:
        if self._database is None:
            return ConnectorRows()
        return find_rows(self._database, jobs=self.jobs, study=self._wanted.study)

    def _cancel(self, patience: float) -> None:
        for job_id in self.jobs:
            if self._records.cancel(job_id):
                stop_stages(self._redis, job_id)
        deadline = time.monotonic() + patience
        while held := [job_id for job_id in self.jobs if is_held(self._redis, job_id)]:
            if time.monotonic() > deadline:
                raise HeldError(f"a worker still has {', '.join(held)}, which is cancelled: run this again")
            time.sleep(0.1)

    def _places(self) -> dict[str, Callable[[bool], int]]:
        """Returns what counts and, unless it is a rehearsal, erases, by the name of its place."""
        places: dict[str, Callable[[bool], int]] = {
            "deliveries of the connector": lambda _: len(self._rows.deliveries),
            "series and studies of the connector": lambda _: len(self._rows.pulls),
            "pushed files of the connector": lambda _: len(self._rows.files),
            "instances of the connector": self._erase_instances,
            "assessments": self._erase_assessments,
            "entries in the index of reports": self._erase_reports,
            "outputs": self._erase_outputs,
            "uploads": self._erase_uploads,
            "callbacks that wait": self._count_callbacks,
            "job records": self._erase_records,
        }
        if self._wanted.with_certificates:
            return {"certificates": self._erase_certificates, **places}
        return places

    def _erase_instances(self, is_rehearsal: bool) -> int:
        if self._database is not None and not is_rehearsal:
            erase_rows(self._database, self._rows, self._settings.pacs_dir)
        return len(self._rows.instances)

    def _erase_assessments(self, is_rehearsal: bool) -> int:
        return forget_assessments(
            self._settings.assessments_dir,
            jobs=self.jobs,
            certificates=self._certificates,
            tenant=self._wanted.tenant,
            is_rehearsal=is_rehearsal,
        )

    def _erase_reports(self, is_rehearsal: bool) -> int:
        index = ReportIndex(self._settings.data_dir / "reports")
        return index.forget(self._certificates, tenant=self._wanted.tenant, is_rehearsal=is_rehearsal)

    def _erase_outputs(self, is_rehearsal: bool) -> int:
        folder = self._settings.outputs_dir
        there = [path for path in folder.iterdir() if outputs.job_of(path) in self.jobs] if folder.is_dir() else []
        for job_id in () if is_rehearsal else self.jobs:
            outputs.delete(folder, job_id)
        return len(there)

    def _erase_uploads(self, is_rehearsal: bool) -> int:
        folder = self._settings.blobs_dir
        there = sum(uploads.path_of(folder, job_id).exists() for job_id in self.jobs)
        for job_id in () if is_rehearsal else self.jobs:
            uploads.delete(folder, job_id)
        return there

    def _count_callbacks(self, _: bool) -> int:
        lists = (CALLBACKS, DEAD_CALLBACKS)
        return sum(self._redis.zscore(name, job_id) is not None for name in lists for job_id in self.jobs)

    def _erase_records(self, is_rehearsal: bool) -> int:
        there = [job_id for job_id in self.jobs if self._records.status(job_id) is not None]
        if is_rehearsal:
            return len(there)
        for job_id in self.jobs:
            forget_stages(self._redis, job_id)
            self._records.erase(job_id)
        return len(there)

    def _erase_certificates(self, is_rehearsal: bool) -> int:
        alone = self._only_of_these()
        owners = CertificateOwners(self._settings.owners_dir)
        for digest in () if is_rehearsal else alone:
            self._redis.srem(UNSTAMPED, digest)
            for kind in CERTIFICATE_FILES:
                certificate_files.path(self._settings.certificates_dir, digest, kind).unlink(missing_ok=True)
            owners.remove(digest, self._wanted.tenant)  # last: what nobody is noted for is the local tenant's
        return len(alone)

    def _only_of_these(self) -> list[str]:
        """Returns the certificates that no other job has: the same image certified twice has one document."""
        others = {member.decode() for member in cast("list[bytes]", self._redis.zrange(JOBS, 0, -1))} - {*self.jobs}
        needed = {cast("bytes | None", self._redis.hget(record_key(job_id), "certificate")) for job_id in others}
        owners = CertificateOwners(self._settings.owners_dir)
        mine = (digest for digest in self._certificates if not owners.others(digest, self._wanted.tenant))
        return [digest for digest in mine if digest.encode() not in needed]

    def _audit(self, counts: Mapping[str, int]) -> None:
        trail = AuditTrail(self._settings.audit_dir)
        details = {name.replace(" ", "_"): str(count) for name, count in counts.items() if count}
        events = [AuditEvent(name="patient_erased", process="cli", details={"jobs": str(len(self.jobs)), **details})]
        events += [AuditEvent(name="job_erased", process="cli", job=job_id) for job_id in self.jobs]
        if not all(trail.record(event) for event in events):
            raise UnrecordedError("the audit trail cannot be written, so the job records stay: run this again")

    def _report(self, counts: Mapping[str, int]) -> Report:
        directory = self._settings.certificates_dir
        stays = (
            digest
            for digest in self._certificates
            if certificate_files.path(directory, digest, "document").exists()
            and not (self._wanted.with_certificates and digest in self._only_of_these())
        )
        unnamed = tuple(job_id for job_id, digests in self._issued.items() if not digests)
        return Report(jobs=self.jobs, counts=counts, certificates=tuple(stays), unnamed=unnamed)
