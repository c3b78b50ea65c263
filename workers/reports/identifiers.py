"""Identifiers of reports that follow from what they are about, so that a report made again is the same instance."""

import uuid
from dataclasses import asdict
from hashlib import sha256
from typing import Final

from pydicom.uid import UID

from certrad.models.certificates.canonical import canonical
from certrad.models.types.identity import ClassifierIdentity

# Storage classes of multi-frame images, by the last parts of their class UIDs.
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_MULTI_FRAME: Final = frozenset(
    _STORAGE + last
    for last in (
        *("2.1", "2.2", "3", "3.1", "4.1", "4.3", "4.4", "5", "6.2", "6.3", "7.1", "7.2", "7.3", "7.4", "20"),
        *("12.1", "12.1.1", "12.2", "12.2.1", "12.3"),
        *("13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5", "14.1", "14.2"),
        *("77.1.1.1", "77.1.2.1", "77.1.4.1", "77.1.5.1", "77.1.5.2", "77.1.5.4", "77.1.5.5", "77.1.5.6"),
        *("77.1.6", "77.1.8", "77.1.9", "77.2", "128.1", "130", "481.1", "481.23", "481.24"),
    )
)


def derived_uid(*parts: object) -> UID:
    """Returns a UID under 2.25 that is the same for the same parts.

    Args:
        parts: What the identified thing is about; the first names its kind.
    """
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '|'.join(map(str, parts))).int}")


def structured_report_uid(sop_instance_uid: str, frame: int | None, certificate_sha256: str, edition: str) -> UID:
    """Returns the SOP instance UID of a structured report; another edition is another instance.

    Args:
        sop_instance_uid: SOP instance UID of the image.
        frame: Frame of a multi-frame image; None for an image of one frame.
        certificate_sha256: SHA-256 of the certificate document.
        edition: Language and tenant of the report.
    """
    return derived_uid("structured report", sop_instance_uid, frame, certificate_sha256, edition)


def classifier_id(classifier: ClassifierIdentity) -> str:
    """Returns 64 hexadecimal digits that are the same for every image under one model, adapter, prompt and classes.

    Args:
        classifier: The classifier; parts that a tuning to one image changes are left out.
    """
    adaptation = None if classifier.adaptation is None else asdict(classifier.adaptation)
    parts = [
        classifier.backbone_sha256,
        classifier.prompt,
        classifier.prompt_sha256,
        list(classifier.class_names),
        classifier.template,
        adaptation,
        *([] if classifier.adapter_sha256 is None else [classifier.adapter_sha256]),
    ]
    return sha256(canonical(parts)).hexdigest()


def has_frames(sop_class_uid: str) -> bool:
    """Returns whether a frame of an image of this class may be referred to by its number.

    Args:
        sop_class_uid: The class. DICOM forbids the number of a frame for all but the multi-frame classes.
    """
    return sop_class_uid in _MULTI_FRAME
