"""The certificate document: every fact a claim rests on, as canonical JSON that hashes the same everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from certrad.models.certificates.facts import Facts
from certrad.models.certificates.further_claims import further_results
from certrad.models.certificates.labels import merkle_root, run_lengths
from certrad.models.certificates.parameters import state_parameters
from certrad.models.certificates.prediction_sets import (
    StatedPredictionSet,
    state_prediction_set,
)
from certrad.models.certificates.schemas import schema_3
from certrad.models.certificates.stated_parameters import StatedParameters
from certrad.models.certificates.stated_samples import StatedSamples, StatedVariants
from certrad.models.certificates.statement import (
    SelectorShares,
    StatedAbstention,
    StatedCertificate,
    StatedOutcome,
    StatedParams,
    StatedRouting,
    Statement,
)
from certrad.models.certificates.text import formula, limits, scope_text
from certrad.models.certificates.unsmoothed import StatedUnsmoothed, state_unsmoothed
from certrad.models.certificates.variants import state_variants
from certrad.models.certificates.window_box_text import ShownImage
from certrad.models.images.units import radius_in_image_units
from certrad.models.types import (
    ETA,
    Abstention,
    Certificate,
    ClassifierSpec,
    GatedAdaptation,
    LabelCounts,
    ZeroShotAdaptation,
)
from certrad.models.types.evidence import RoutedEvidence, label_numbers
from certrad.models.types.image import ImageRadius, NoImageRadius
from certrad.models.types.result import (
    AbstainedResult,
    AdaptationName,
    CertificationResult,
    CertifiedResult,
    Provenance,
    ResultWarning,
)
from certrad.models.types.routing import Routed
from certrad.models.types.routing_summary import RouteSummary, RoutingSummary
from certrad.models.types.variants import UnsmoothedEvidence, VariantsEvidence


def document(facts: Facts) -> dict[str, Any]:
    """Returns the certificate document, free of patient data and of time, so that one claim has one digest.

    It is not signed yet: `signature` is None.

    Args:
        facts: All that it states.
    """
    return schema_3.write(state(facts))


def state(facts: Facts) -> Statement:
    """Returns what a document of these facts states.

    Args:
        facts: All that it states.
    """
    request, evidence = facts.request, facts.evidence
    params, spec = request.params, request.classifier
    return Statement(
        schema=schema_3.NAME,
        claim=_claim(facts),
        scope=spec.scope,
        scope_text=scope_text(facts.classifier),
        limits=tuple(limits(facts.classifier, evidence.selection_samples, evidence.estimation_samples)),
        params=StatedParams(
            sigma=evidence.sigma,
            alpha=params.alpha,
            n0=params.n0,
            n=params.n,
            bound=params.bound,
            target_radius=params.target_radius,
            eta=ETA,
            alpha_split=evidence.alpha_split,
            formula=formula(evidence.decision.rule, evidence.alpha_split),
        ),
        decision=evidence.decision,
        selection=evidence.selection,
        estimation=_transcript(evidence.labels, evidence.estimation),
        routing=_routing(evidence.routed) if isinstance(evidence, RoutedEvidence) else None,
        variants=_variants(facts),
        unsmoothed=_unsmoothed(facts),
        parameters=_parameters(facts),
        prediction_set=_prediction_set(facts),
        samples_used=evidence.samples_used,
        subject=facts.subject,
        radius_in_image_units=_image_radius(facts),
        classifier=facts.classifier,
        noise=facts.noise,
        software=facts.software,
        signature=None,
    )


def certification_result(
    facts: Facts, *, warnings: Sequence[ResultWarning], timing: Mapping[str, float]
) -> CertificationResult:
    """Returns the `result` of a job: the facts, and what is about this run.

    Args:
        facts: All that the certificate states.
        warnings: What the reader must know before the radius.
        timing: Name -> seconds.
    """
    request, evidence = facts.request, facts.evidence
    spec, params, outcome = request.classifier, request.params, evidence.outcome
    common: dict[str, Any] = {
        "scope": spec.scope,
        "scope_text": scope_text(facts.classifier),
        **asdict(params),
        "sigma": evidence.sigma,
        "decision": evidence.decision,
        "samples_used": evidence.samples_used,
        "p_a_lower": outcome.p_a_lower,
        "p_b_upper": outcome.p_b_upper,
        "counts": evidence.estimation.per_class,
        "invalid": evidence.estimation.invalid,
        "class_names": spec.class_names,
        "rejection_index": spec.rejection_index,
        "prompt": spec.prompt,
        "adaptation": _adaptation_name(spec),
        "backbone": spec.backbone,
        "adapter": spec.adapter,
        "noise_space": request.noise_space,
        "pixels_sha256": facts.subject.pixels_sha256,
        "input_sha256": facts.subject.input_sha256,
        "radius_in_image_units": _image_radius(facts),
        "routing": _routing_summary(evidence.routed) if isinstance(evidence, RoutedEvidence) else None,
        **further_results(
            _variants(facts) or _unsmoothed(facts),
            _parameters(facts),
            _prediction_set(facts),
            spec.class_names,
            facts.subject.window,
        ),
        "warnings": tuple(warnings),
        "window": facts.subject.window,
        "provenance": Provenance(
            input_shape=facts.subject.input_shape,
            classifier=facts.classifier,
            noise=facts.noise,
            software=dict(facts.software),
        ),
        "timing": dict(timing),
    }
    match outcome:
        case Certificate(class_index=index, radius=radius):
            return CertifiedResult(
                label=spec.class_names[index],
                class_index=index,
                radius=radius,
                target_reached=None if params.target_radius is None else radius >= params.target_radius,
                **common,
            )
        case Abstention(reason=reason):
            return AbstainedResult(reason=reason, **common)


def _claim(facts: Facts) -> StatedCertificate | StatedAbstention:
    outcome, target = facts.evidence.outcome, facts.request.params.target_radius
    match outcome:
        case Certificate(class_index=index, radius=radius):
            return StatedCertificate(
                outcome="certified",
                class_index=index,
                label=facts.request.classifier.class_names[index],
                radius=radius,
                p_a_lower=outcome.p_a_lower,
                p_b_upper=outcome.p_b_upper,
                target_reached=None if target is None else radius >= target,
            )
        case Abstention(reason=reason):
            return StatedAbstention(
                outcome="abstained", reason=reason, p_a_lower=outcome.p_a_lower, p_b_upper=outcome.p_b_upper
            )


def _variants(facts: Facts) -> StatedVariants | None:
    asked, found, request = facts.request.variants, facts.variants, facts.request
    if asked is None or not isinstance(found, VariantsEvidence):
        return None
    return state_variants(asked, found, request.classifier.class_names, request.params.alpha, _shown(facts))


def _unsmoothed(facts: Facts) -> StatedUnsmoothed | None:
    asked, found = facts.request.variants, facts.variants
    if asked is None or not isinstance(found, UnsmoothedEvidence):
        return None
    return state_unsmoothed(asked, found, facts.classifier, _shown(facts))


def _shown(facts: Facts) -> ShownImage:
    return ShownImage(window=facts.subject.window, radius=_image_radius(facts))


def _parameters(facts: Facts) -> StatedParameters | None:
    sigma, found, grey = facts.request.parameter_sigma, facts.parameters, facts.grey
    if sigma is None or found is None or grey is None:
        return None
    names, alpha = facts.request.classifier.class_names, facts.request.params.alpha
    return state_parameters(sigma, _shown(facts), grey.sha256, found, names, alpha)


def _prediction_set(facts: Facts) -> StatedPredictionSet | None:
    asked, found = facts.request.prediction_set, facts.prediction_set
    if asked is None or found is None:
        return None
    return state_prediction_set(asked, found, facts.request.classifier.class_names)


def _image_radius(facts: Facts) -> ImageRadius | NoImageRadius:
    outcome = facts.evidence.outcome
    return radius_in_image_units(outcome.radius if isinstance(outcome, Certificate) else None, facts.scale)


def _adaptation_name(spec: ClassifierSpec) -> AdaptationName:
    match spec.adaptation:
        case ZeroShotAdaptation():
            return "zero_shot"
        case GatedAdaptation():
            return "gated"
        case None:
            return "none"


def _transcript(labels: bytes, counts: LabelCounts) -> StatedSamples:
    """Returns labels and their counts as a document states them."""
    numbers = label_numbers(labels)
    return StatedSamples(
        per_class=counts.per_class,
        invalid=counts.invalid,
        labels=run_lengths(numbers),
        merkle_root=merkle_root(numbers),
    )


def _routing(routed: Routed) -> StatedRouting:
    """Returns an automatic choice of sigma, without the samples that a document states already."""
    sampled = {
        route: _transcript(drawn.labels, drawn.counts)
        for route, drawn in routed.routes.items()
        if route != routed.selection.route
    }
    outcomes = zip((*routed.routing.sigmas, None), routed.bounds, strict=True)
    return StatedRouting(
        settings=routed.routing,
        alpha_split=SelectorShares(p_a=routed.split.selector.p_a, p_b=routed.split.selector.p_b),
        route=routed.selection.route,
        selection=routed.selection.selector,
        estimation=_transcript(routed.selector.labels, routed.selector.counts),
        outcomes=tuple(
            StatedOutcome(sigma=sigma, **asdict(bounds), estimation=sampled.get(route))
            for route, (sigma, bounds) in enumerate(outcomes)
        ),
    )


def _routing_summary(routed: Routed) -> RoutingSummary:
    outcomes = (
        RouteSummary(sigma=sigma, sampled=route in routed.routes, **asdict(bounds))
        for route, (sigma, bounds) in enumerate(zip((*routed.routing.sigmas, None), routed.bounds, strict=True))
    )
    return RoutingSummary(
        route=routed.selection.route, selector_sigma=routed.routing.selector_sigma, outcomes=tuple(outcomes)
    )
