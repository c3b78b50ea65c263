"""The certificate document: every fact a claim rests on, as canonical JSON that hashes the same everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from certrad.models.certificates.facts import SCHEMA, Facts
from certrad.models.certificates.labels import label_numbers, merkle_root, run_lengths
from certrad.models.certificates.text import formula, limits, scope_text
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
from certrad.models.types.routing import Routed


def document(facts: Facts) -> dict[str, Any]:
    """The certificate document, free of patient data and of time, so that one claim has one digest; not signed yet."""
    request, evidence = facts.request, facts.evidence
    return {
        "schema": SCHEMA,
        "claim": _claim(facts),
        "scope": request.classifier.scope,
        "scope_text": scope_text(request.classifier),
        "limits": limits(evidence.selection_samples, evidence.estimation_samples),
        "params": {
            **asdict(request.params),
            "sigma": facts.sigma,
            "eta": ETA,
            "alpha_split": asdict(facts.alpha_split),
            "formula": formula(evidence.decision.rule, facts.alpha_split),
        },
        "decision": asdict(evidence.decision),
        "selection": asdict(evidence.selection),
        "estimation": transcript(evidence.labels, evidence.estimation),
        **({} if evidence.routed is None else {"routing": routing_block(evidence.routed)}),
        "samples_used": evidence.samples_used,
        "subject": asdict(facts.subject),
        "radius_in_image_units": _radius_in_image_units(facts),
        "classifier": asdict(facts.classifier),
        "noise": asdict(facts.noise),
        "software": dict(facts.software),
        "signature": None,
    }


def result(facts: Facts, *, warnings: Sequence[str], timing: Mapping[str, float]) -> dict[str, Any]:
    """The body of a job's `result`: the facts with JSON numbers, and what is about this run: warnings and timing."""
    spec, evidence = facts.request.classifier, facts.evidence
    return {
        **_claim(facts),
        "scope": spec.scope,
        "scope_text": scope_text(spec),
        **asdict(facts.request.params),
        "sigma": facts.sigma,
        "decision": asdict(evidence.decision),
        "samples_used": evidence.samples_used,
        "counts": evidence.estimation.per_class,
        "invalid": evidence.estimation.invalid,
        "class_names": spec.class_names,
        "prompt": spec.prompt,
        "adaptation": _adaptation_name(spec),
        "backbone": spec.backbone,
        "pixels_sha256": facts.subject.pixels_sha256,
        "input_sha256": facts.subject.input_sha256,
        "radius_in_image_units": _radius_in_image_units(facts),
        "routing": None if evidence.routed is None else routing_summary(evidence.routed),
        "warnings": warnings,
        "provenance": {
            "input_shape": facts.subject.input_shape,
            "classifier": asdict(facts.classifier),
            "noise": asdict(facts.noise),
            "software": dict(facts.software),
        },
        "timing": dict(timing),
    }


def _claim(facts: Facts) -> dict[str, Any]:
    outcome, target = facts.evidence.outcome, facts.request.params.target_radius
    bounds = {"p_a_lower": outcome.p_a_lower, "p_b_upper": outcome.p_b_upper}
    match outcome:
        case Certificate(class_index=index, radius=radius):
            label = facts.request.classifier.class_names[index]
            reached = {} if target is None else {"target_reached": radius >= target}
            return {"outcome": "certified", "class_index": index, "label": label, "radius": radius, **bounds, **reached}
        case Abstention(reason=reason):
            return {"outcome": "abstained", "reason": reason, **bounds}


def _radius_in_image_units(facts: Facts) -> dict[str, Any]:
    outcome = facts.evidence.outcome
    return asdict(radius_in_image_units(outcome.radius if isinstance(outcome, Certificate) else None, facts.scale))


def _adaptation_name(spec: ClassifierSpec) -> str:
    match spec.adaptation:
        case ZeroShotAdaptation():
            return "zero_shot"
        case GatedAdaptation():
            return "gated"
        case None:
            return "none"


def transcript(labels: bytes, counts: LabelCounts) -> dict[str, Any]:
    """Labels and their counts as a document states them."""
    numbers = label_numbers(labels)
    return {**asdict(counts), "labels": run_lengths(numbers), "merkle_root": merkle_root(numbers)}


def routing_block(routed: Routed) -> dict[str, Any]:
    """All about an automatic choice of sigma that a document does not state already about the selected route."""
    outcomes = [
        {"sigma": sigma, **asdict(bounds), "estimation": None}
        for sigma, bounds in zip((*routed.routing.sigmas, None), routed.bounds, strict=True)
    ]
    for route, drawn in routed.routes.items():
        if route != routed.selection.route:
            outcomes[route]["estimation"] = transcript(drawn.labels, drawn.counts)
    return {
        "settings": asdict(routed.routing),
        "alpha_split": {"p_a": routed.split.selector.p_a, "p_b": routed.split.selector.p_b},
        "route": routed.selection.route,
        "selection": asdict(routed.selection.selector),
        "estimation": transcript(routed.selector.labels, routed.selector.counts),
        "outcomes": outcomes,
    }


def routing_summary(routed: Routed) -> dict[str, Any]:
    """Which route was selected and what each outcome of the selector limits the radius to, without the samples."""
    outcomes = [
        {"sigma": sigma, "sampled": route in routed.routes, **asdict(bounds)}
        for route, (sigma, bounds) in enumerate(zip((*routed.routing.sigmas, None), routed.bounds, strict=True))
    ]
    return {"route": routed.selection.route, "selector_sigma": routed.routing.selector_sigma, "outcomes": outcomes}
