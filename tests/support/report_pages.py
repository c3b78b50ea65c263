"""Reports of invented results, and images that show nobody, for pages."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from certrad.models.certificates.document import state
from certrad.models.certificates.statement import StatedCertificate, Statement
from certrad.models.types import CertifyRequest, ClassifierSpec, FixedSigma, SamplingParams
from certrad.models.types.applied_window import AppliedWindow
from certrad.models.types.image import ImageScale
from certrad.workers.reports.codes import Code
from certrad.workers.reports.report import Report
from tests.support.certificates import SCALE, WINDOWS, answered

ISSUED: Final = datetime(2026, 11, 30, 6, 6, 36, 123456, tzinfo=timezone(timedelta(hours=1)))
PNEUMONIA: Final = Code(value="233604007", scheme="SCT", meaning="Pneumonia")
SURE: Final = (0.02, 0.96, 0.02)
UNSURE: Final = (0.4, 0.35, 0.25)
LONG: Final = (
    "Adenokarzinom der Lunge mit Lymphangiosis carcinomatosa und Pleurakarzinose, differentialdiagnostisch Sarkoidose "
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
)
NAMES: Final = ("normal", "pneumonia", "pleural effusion")
COLOUR: Final = replace(SCALE, unit="grey level", channels=3, slope=1 / 255)


def report(
    probabilities: tuple[float, ...] = SURE,
    *,
    names: tuple[str, ...] = NAMES,
    params: SamplingParams = SamplingParams(n0=100, n=1000),  # noqa: B008  # frozen
    sigma: float = 0.25,
    scale: ImageScale = SCALE,
    window: AppliedWindow = WINDOWS[0],
    claim: Mapping[str, Any] | None = None,
    adapter: str | None = None,
    **fields: Any,
) -> Report:
    """The report of a result with these class probabilities under noise; `claim` and `fields` replace parts of it."""
    spec = ClassifierSpec(
        backbone="demo-clip-vit-b32",
        prompt="few-shot-0123456789abcdef",
        class_names=names,
        template="{}",
        adapter=adapter,
    )
    request = CertifyRequest(classifier=spec, sigma=FixedSigma(sigma), params=params)
    statement: Statement = state(answered(request, probabilities, pixels_sha256="ab" * 32, scale=scale, window=window))
    if claim is not None:
        statement = replace(statement, claim=replace(cast(Any, statement.claim), **claim))
    values: dict[str, Any] = {
        "statement": statement,
        "certificate_sha256": "3f9c2a7be4d1058c" + "0" * 48,
        "finding": PNEUMONIA if isinstance(statement.claim, StatedCertificate) else None,
        "issued_at": ISSUED,
        "software_version": "0.1.0",
    }
    return Report(**{**values, **fields})


def source(**elements: Any) -> Dataset:
    """The header of a CT image as `read_source` returns it, with other elements."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "Modality": "CT",
        "PatientName": "Müller^Jürgen",
        "PatientID": "P1",
        "PatientBirthDate": "19500101",
        "PatientSex": "M",
        "StudyDate": "20261130",
        "StudyTime": "101112",
        "StudyID": "S1",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "",
    }
    for keyword, value in {**values, **elements}.items():
        setattr(dataset, keyword, value)
    return dataset


def image(rows: int, columns: int, *, colour: bool = False) -> NDArray[np.uint8]:
    """A ramp, grey or in colours."""
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    channels = (x, y, 1 - x) if colour else (x, x, x)
    return np.asarray(np.rint(np.stack(channels, axis=-1) * 255), dtype=np.uint8)
