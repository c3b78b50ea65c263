"""The measurement group (TID 1501) of one certificate: what was certified for one image, and how."""

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.valuerep import DS, format_number_as_ds

from certrad.models.certificates.stated_samples import StatedVariants
from certrad.models.certificates.statement import StatedAbstention, StatedCertificate
from certrad.workers.reports import codes, variant_codes
from certrad.workers.reports.codes import Code
from certrad.workers.reports.further_claims import further_claims
from certrad.workers.reports.identifiers import classifier_id, derived_uid, has_frames
from certrad.workers.reports.image_radius_text import image_radius
from certrad.workers.reports.noise_space import input_space, radius_code, sigma_code
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import Texts
from certrad.workers.reports.variants import claim_text, least_text

MANUFACTURER: Final = "certrad"
_SIX_DECIMALS: Final = Decimal("1e-6")
_MAX_DS: Final = 16  # characters of a decimal string


def coded(code: Code) -> CodedConcept:
    """Returns a concept as highdicom writes it.

    Args:
        code: The concept.
    """
    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def measurement_group(report: Report, source: Dataset) -> MeasurementsAndQualitativeEvaluations:
    """Returns the group of one certificate.

    An abstention has neither finding nor radius nor probability: an empty number is refused by readers, and 0 would be
    taken for a result.

    Args:
        report: The certificate.
        source: The header of the image.
    """
    frame = report.frame if has_frames(source.SOPClassUID) else None
    of_frame = "" if report.frame is None else f", frame {report.frame}"
    classifier = classifier_id(report.statement.classifier)
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            identifier=f"certrad {report.certificate_sha256[:16]}{of_frame}",
            uid=derived_uid("tracking", source.SOPInstanceUID, report.frame, classifier),
        ),
        finding_type=None if report.finding is None else coded(report.finding),
        method=coded(codes.METHODS[report.statement.decision.rule]),
        algorithm_id=_algorithm(report),
        measurements=list(_measurements(report)),
        qualitative_evaluations=list(_evaluations(report)),
        source_images=[
            SourceImageForMeasurementGroup(
                referenced_sop_class_uid=source.SOPClassUID,
                referenced_sop_instance_uid=source.SOPInstanceUID,
                referenced_frame_numbers=None if frame is None else [frame],
            )
        ],
    )
    for item in group[0].ContentSequence:
        if item.name == coded(codes.MEASUREMENT_METHOD):  # highdicom 0.28.2 has another relationship than TID 1501
            item.RelationshipType = RelationshipTypeValues.HAS_CONCEPT_MOD.value
    group[0].ContentSequence.extend(_texts(report))  # TID 1501 allows texts, highdicom has no argument for them
    return group


def _algorithm(report: Report) -> AlgorithmIdentification:
    statement = report.statement
    classifier, params = statement.classifier, statement.params
    prompt = "" if classifier.prompt_sha256 is None else f", SHA-256 {classifier.prompt_sha256}"
    named = f"adapter: {classifier.adapter}, SHA-256 {classifier.adapter_sha256}"
    adapter = [] if classifier.adapter is None else [named]
    return AlgorithmIdentification(
        name=f"{MANUFACTURER}: {classifier.backbone}",
        version=statement.software.get("certrad", report.software_version),
        family=coded(codes.ARTIFICIAL_INTELLIGENCE),
        manufacturer=MANUFACTURER,
        parameters=[
            f"model: {classifier.backbone}, SHA-256 {classifier.backbone_sha256}",
            *adapter,
            f"prompt: {classifier.prompt}{prompt}",
            f"sigma: {_number(params.sigma)}, alpha: {_number(params.alpha)}, n0: {params.n0}, n: {params.n}",
            f"certificate SHA-256: {report.certificate_sha256}",
        ],
    )


def _measurements(report: Report) -> Iterator[Measurement]:
    statement = report.statement
    params, method = statement.params, coded(codes.METHODS[statement.decision.rule])
    if isinstance(statement.claim, StatedCertificate):
        claim = statement.claim
        yield _bound(radius_code(statement), claim.radius, ROUND_FLOOR, method)
        yield _bound(codes.P_A_LOWER, claim.p_a_lower, ROUND_FLOOR)
        yield _bound(codes.P_B_UPPER, claim.p_b_upper, ROUND_CEILING)
    yield _parameter(sigma_code(statement), params.sigma)
    yield _parameter(codes.ALPHA, params.alpha)
    if params.target_radius is not None:
        yield _parameter(codes.TARGET_RADIUS, params.target_radius)
    yield _count(codes.N_ESTIMATION, params.n)
    yield _count(codes.N_SELECTION, params.n0)
    yield _count(codes.SAMPLES_USED, statement.samples_used)
    if statement.variants is not None:
        yield from _variant_measurements(statement.variants)


def _variant_measurements(stated: StatedVariants) -> Iterator[Measurement]:
    """Yields the numbers of other renderings; there is a radius only where all of them held."""
    if stated.held:
        yield _bound(variant_codes.VARIANTS_RADIUS, stated.radius, ROUND_FLOOR)
    if stated.held is not None:
        yield _measurement(variant_codes.VARIANTS_TRIED, len(stated.rows), coded(variant_codes.RENDERINGS))
    if stated.asked_radius:
        yield _parameter(variant_codes.VARIANTS_ASKED, stated.asked_radius)


def _evaluations(report: Report) -> Iterator[QualitativeEvaluation]:
    claim = report.statement.claim
    abstained = isinstance(claim, StatedAbstention)
    yield _evaluation(codes.OUTCOME, codes.ABSTAINED if abstained else codes.CERTIFIED)
    match claim:
        case StatedAbstention(reason=reason):
            yield _evaluation(codes.ABSTENTION_REASON, codes.ABSTENTION_REASONS[reason])
        case StatedCertificate(target_reached=bool(reached)):
            yield _evaluation(codes.TARGET_OUTCOME, codes.TARGET_REACHED if reached else codes.TARGET_MISSED)
        case _:
            pass
    if (variants := report.statement.variants) is not None:
        yield _evaluation(variant_codes.VARIANTS, variant_codes.variants_outcome(held=variants.held))
    for each in further_claims(report.statement, Texts(report.language)):
        yield _evaluation(each.name, each.outcome)
    yield _evaluation(codes.SCOPE, codes.SCOPES[report.statement.scope])
    for warning in report.warnings:
        yield _evaluation(codes.WARNING, codes.WARNINGS[warning])


def _texts(report: Report) -> Iterator[TextContentItem]:
    statement, texts = report.statement, Texts(report.language)
    yield _text(codes.CERTIFICATE_SHA256, report.certificate_sha256)
    yield _text(codes.SCOPE_TEXT, texts.scope(statement))
    yield _text(codes.INPUT_SPACE, input_space(statement, texts))
    if isinstance(statement.claim, StatedCertificate):
        yield _text(codes.RADIUS_IN_IMAGE, image_radius(statement.radius_in_image_units, texts))
    if (variants := statement.variants) is not None:
        yield _text(variant_codes.VARIANTS_TEXT, claim_text(variants, statement, texts))
        if variants.counterexample is not None:
            yield _text(variant_codes.VARIANTS_LEAST, least_text(variants, statement, texts))
    for each in further_claims(statement, texts):
        yield _text(each.text_name, each.text)
        for name, text in each.items:
            yield _text(name, text)
    for limit in texts.stated_limits(statement):
        yield _text(codes.LIMITS, limit)


def _bound(name: Code, value: float, rounding: str, method: CodedConcept | None = None) -> Measurement:
    """Returns a bound, rounded against the claim, so that its text and its floating-point value are equal."""
    rounded = Decimal(repr(value)).quantize(_SIX_DECIMALS, rounding)
    return _measurement(name, float(rounded), coded(codes.NO_UNITS), method)


def _parameter(name: Code, value: float) -> Measurement:
    return _measurement(name, float(value), coded(codes.NO_UNITS))


def _count(name: Code, value: int) -> Measurement:
    return _measurement(name, value, coded(codes.SAMPLES))


def _measurement(name: Code, value: float, unit: CodedConcept, method: CodedConcept | None = None) -> Measurement:
    measurement = Measurement(name=coded(name), value=value, unit=unit, method=method)
    text = _number(value)
    # highdicom would write 10000 as 10000.0 and 0.00001 with an exponent.
    measurement[0].MeasuredValueSequence[0].NumericValue = DS(
        text if len(text) <= _MAX_DS else format_number_as_ds(float(value))
    )
    return measurement


def _number(value: float) -> str:
    """Returns a number in decimal notation, without trailing zeros."""
    return format(Decimal(repr(value)).normalize() if isinstance(value, float) else Decimal(value), "f")


def _evaluation(name: Code, value: Code) -> QualitativeEvaluation:
    return QualitativeEvaluation(name=coded(name), value=coded(value))


def _text(name: Code, value: str) -> TextContentItem:
    return TextContentItem(name=coded(name), value=value, relationship_type=RelationshipTypeValues.CONTAINS)
