"""The Observation of a FHIR bundle: the certified class with its radius, or an abstention without a value."""

from collections.abc import Iterator
from typing import Final

from certrad.models.certificates.statement import StatedAbstention, StatedCertificate, Statement
from certrad.models.types.image import ImageRadius
from certrad.workers.reports import codes, variant_codes
from certrad.workers.reports.codes import Code
from certrad.workers.reports.fhir_elements import Element, absent, component, concept, concept_of, number
from certrad.workers.reports.further_claims import further_claims
from certrad.workers.reports.image_radius_text import image_radius
from certrad.workers.reports.noise_space import radius_code, sigma_code
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import Texts
from certrad.workers.reports.variants import claim_text, least_text

_FRAME: Final = Code(value="121190", scheme="DCM", meaning="Referenced Frames")
_IMAGING: Final = ("http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging")
_NOT_APPLICABLE: Final = ("not-applicable", "Not Applicable")


def observation(report: Report, *, subject: Element | None, device: Element, study: Element | None) -> Element:
    """Returns the Observation of a report.

    Args:
        report: The report.
        subject: The patient, or None.
        device: The device that observed.
        study: The imaging study that it observed, or None.
    """
    moment = report.issued_at.isoformat(timespec="seconds")
    statement, texts = report.statement, Texts(report.language)
    return {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [concept_of(*_IMAGING)],
        "code": concept(codes.FINDING),
        "effectiveDateTime": moment,
        "issued": moment,
        **(_absence(texts) if report.finding is None else {"valueCodeableConcept": concept(report.finding)}),
        "method": concept(codes.METHODS[statement.decision.rule]),
        "device": device,
        "note": [{"text": limit} for limit in texts.stated_limits(statement)],
        "component": [
            *_outcome(statement, texts),
            *_variants(statement, texts),
            *_further(statement, texts),
            *_settings(statement),
            component(codes.SAMPLES_USED, valueInteger=statement.samples_used),
            component(codes.SCOPE, valueCodeableConcept=concept(codes.SCOPES[statement.scope], texts.scope(statement))),
            *_image(report),
            component(codes.CERTIFICATE_SHA256, valueString=report.certificate_sha256),
        ],
        **({"subject": subject} if subject else {}),
        **({"derivedFrom": [study]} if study else {}),
    }


def _absence(texts: Texts) -> Element:
    """Returns why an abstention has no value (obs-6 allows none beside it): nothing failed, and nothing is known."""
    text = texts("fhir.abstained")
    return {"dataAbsentReason": absent("unknown", "Unknown", also=codes.ABSTAINED, text=text)}


def _outcome(statement: Statement, texts: Texts) -> list[Element]:
    match statement.claim:
        case StatedCertificate() as claim:
            return [
                component(codes.OUTCOME, valueCodeableConcept=concept(codes.CERTIFIED)),
                component(radius_code(statement), valueQuantity=number(claim.radius, at_least=True)),
                _radius_in_image(statement, texts),
                component(codes.P_A_LOWER, valueQuantity=number(claim.p_a_lower, at_least=True)),
                *_target(claim.target_reached),
            ]
        case StatedAbstention() as claim:
            # No number stands for an abstention: a reader that ignores codes would take 0 or -1 for a radius.
            return [
                component(codes.OUTCOME, valueCodeableConcept=concept(codes.ABSTAINED)),
                component(
                    codes.ABSTENTION_REASON, valueCodeableConcept=concept(codes.ABSTENTION_REASONS[claim.reason])
                ),
                component(radius_code(statement), dataAbsentReason=absent(*_NOT_APPLICABLE)),
            ]


def _radius_in_image(statement: Statement, texts: Texts) -> Element:
    match statement.radius_in_image_units:
        case ImageRadius() as radius:
            return component(codes.RADIUS_IN_IMAGE, valueString=image_radius(radius, texts))
        case absence:
            return component(
                codes.RADIUS_IN_IMAGE, dataAbsentReason=absent(*_NOT_APPLICABLE, text=texts.no_image_radius(absence))
            )


def _variants(statement: Statement, texts: Texts) -> list[Element]:
    """Returns what other renderings show. A radius of all of them is there only where all of them held."""
    stated = statement.variants
    if stated is None:
        return []
    outcome = concept(variant_codes.variants_outcome(held=stated.held), claim_text(stated, statement, texts))
    found = [component(variant_codes.VARIANTS, valueCodeableConcept=outcome)]
    if stated.held:
        found.append(component(variant_codes.VARIANTS_RADIUS, valueQuantity=number(stated.radius, at_least=True)))
    else:
        reason = absent(*_NOT_APPLICABLE, text=texts("variants.no_radius"))
        found.append(component(variant_codes.VARIANTS_RADIUS, dataAbsentReason=reason))
    if stated.held is not None:
        found.append(component(variant_codes.VARIANTS_TRIED, valueInteger=len(stated.rows)))
    if stated.asked_radius:
        found.append(component(variant_codes.VARIANTS_ASKED, valueQuantity=number(stated.asked_radius)))
    if stated.counterexample is not None:
        found.append(component(variant_codes.VARIANTS_LEAST, valueString=least_text(stated, statement, texts)))
    return found


def _further(statement: Statement, texts: Texts) -> Iterator[Element]:
    for each in further_claims(statement, texts):
        yield component(each.name, valueCodeableConcept=concept(each.outcome, each.text))
        for name, text in each.items:
            yield component(name, valueString=text)


def _target(reached: bool | None) -> list[Element]:
    if reached is None:
        return []
    outcome = codes.TARGET_REACHED if reached else codes.TARGET_MISSED
    return [component(codes.TARGET_OUTCOME, valueCodeableConcept=concept(outcome))]


def _settings(statement: Statement) -> list[Element]:
    params, target = statement.params, statement.params.target_radius
    return [
        component(sigma_code(statement), valueQuantity=number(params.sigma)),
        component(codes.ALPHA, valueQuantity=number(params.alpha)),
        component(codes.N_SELECTION, valueInteger=params.n0),
        component(codes.N_ESTIMATION, valueInteger=params.n),
        *([] if target is None else [component(codes.TARGET_RADIUS, valueQuantity=number(target))]),
    ]


def _image(report: Report) -> list[Element]:
    frame = [] if report.frame is None else [component(_FRAME, valueInteger=report.frame)]
    warnings = [
        component(codes.WARNING, valueCodeableConcept=concept(codes.WARNINGS[code])) for code in report.warnings
    ]
    return [*frame, *warnings]
