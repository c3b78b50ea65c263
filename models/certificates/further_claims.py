"""The claims that a certificate may make beside its radius: their samples, their checks, and what a result repeats."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from certrad.models.certificates import parameter_checks, set_checks, variant_checks
from certrad.models.certificates.parameters import parameters_result
from certrad.models.certificates.prediction_sets import StatedPredictionSet, prediction_set_result
from certrad.models.certificates.stated_parameters import StatedParameters
from certrad.models.certificates.stated_samples import StatedSamples, StatedVariants
from certrad.models.certificates.statement import Statement
from certrad.models.certificates.unsmoothed import StatedUnsmoothed, unsmoothed_result
from certrad.models.certificates.variants import variants_result
from certrad.models.types.applied_window import AppliedWindow
from certrad.models.types.result import VariantsResult


def further_samples(statement: Statement) -> list[StatedSamples]:
    """Returns the samples of the further claims.

    Args:
        statement: What a document states.
    """
    variants, parameters = statement.variants, statement.parameters
    samples = [] if variants is None else [row.estimation for row in variants.rows]
    if parameters is not None and parameters.estimation is not None:
        samples.append(parameters.estimation)
    return samples


def further_checks(statement: Statement) -> dict[str, Callable[[], str]]:
    """Returns the checks of the further claims by name; each returns what it found, or raises ValueError.

    Args:
        statement: What a document states.
    """
    tests: dict[str, Callable[[], str]] = {}
    if (variants := statement.variants) is not None:
        tests["variant_lists"] = partial(variant_checks.variant_lists, statement, variants)
        tests["variants"] = partial(variant_checks.variants, statement, variants)
    if statement.unsmoothed is not None:
        tests["unsmoothed"] = partial(variant_checks.unsmoothed, statement)
    if (parameters := statement.parameters) is not None:
        tests["parameters"] = partial(parameter_checks.parameters, statement, parameters)
    if (set_claim := statement.prediction_set) is not None:
        tests["prediction_set"] = partial(set_checks.prediction_set, statement, set_claim)
    return tests


def further_results(
    variants: StatedVariants | StatedUnsmoothed | None,
    parameters: StatedParameters | None,
    prediction_set: StatedPredictionSet | None,
    class_names: Sequence[str],
    window: AppliedWindow | None,
) -> dict[str, Any]:
    """Returns what the result of a job says of each further claim, by the name of its field; None where there is none.

    Args:
        variants: Other renderings of the file, under noise or without it.
        parameters: Noise on the window.
        prediction_set: A list of classes with a promised share of misses.
        class_names: The names of the classes, in order.
        window: The window that was applied to the image.
    """
    return {
        "variants": _variants(variants, class_names, window),
        "parameters": None if parameters is None else parameters_result(parameters),
        "prediction_set": None if prediction_set is None else prediction_set_result(prediction_set, class_names),
    }


def _variants(
    stated: StatedVariants | StatedUnsmoothed | None, class_names: Sequence[str], window: AppliedWindow | None
) -> VariantsResult | None:
    match stated:
        case StatedVariants():
            return variants_result(stated, class_names, window)
        case StatedUnsmoothed():
            return unsmoothed_result(stated, class_names, window)
        case None:
            return None


def stated_results(statement: Statement) -> dict[str, object]:
    """Returns what a result must say of the further claims, as plain fields.

    Args:
        statement: What a document states.
    """
    results = further_results(
        statement.variants or statement.unsmoothed,
        statement.parameters,
        statement.prediction_set,
        statement.classifier.class_names,
        statement.subject.window,
    )
    return {name: asdict(result) for name, result in results.items() if result is not None}
