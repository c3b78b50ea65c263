"""What a report says, before it takes the form of a structured report, a page or a FHIR bundle."""

from dataclasses import dataclass
from datetime import datetime

from certrad.models.certificates.statement import StatedAbstention, StatedCertificate, Statement
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.reports.codes import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """An earlier structured report about the same image, which the new one follows.

    Attributes:
        sop_class_uid: SOP class of the report.
        sop_instance_uid: SOP instance of the report.
        series_instance_uid: Its series.
        study_instance_uid: Its study.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One certificate, with what the reports about it need besides.

    Attributes:
        statement: What the certificate document states.
        certificate_sha256: SHA-256 of the signed document, 64 hexadecimal digits.
        finding: The certified class as a coded concept, `UNLIKE-TRAINING` for the extra class of a bank; None for an
            abstention, which never names a class.
        issued_at: Time of the first report about this certificate, with its time zone.
        software_version: Version of certrad that writes the report.
        frame: Frame of a multi-frame image, from 1; None for an image of one frame.
        warnings: Codes of `IMAGE_WARNINGS`, and `burned_in_annotation`.
        predecessor: An earlier report about the same image, or None.
        language: Language of the texts for people, `en` or `de`.
        jws: The certificate as compact JWS, for FHIR; None leaves the signature out of the bundle.
        tenant: The tenant that the report is made for. No text of it says so.
    """

    statement: Statement
    certificate_sha256: str
    finding: Code | None
    issued_at: datetime
    software_version: str
    frame: int | None = None
    warnings: tuple[str, ...] = ()
    predecessor: Predecessor | None = None
    language: str = "en"
    jws: str | None = None
    tenant: str = LOCAL_TENANT

    def __post_init__(self) -> None:
        if (self.finding is None) != isinstance(self.statement.claim, StatedAbstention):
            raise ValueError("a report must have a finding if, and only if, a class is certified")
        if self.issued_at.tzinfo is None:
            raise ValueError("the time of a report must have a time zone")

    @property
    def names_class(self) -> bool:
        """Returns whether the report names a class of the image: neither an abstention nor the extra class does."""
        return isinstance(claim := self.statement.claim, StatedCertificate) and not claim.unlike

    @property
    def edition(self) -> str:
        """Returns what makes the report another instance about the same certificate: its language and its tenant."""
        return self.language if self.tenant == LOCAL_TENANT else f"{self.language}/{self.tenant}"
