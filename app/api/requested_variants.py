"""Fills in what a request says about variants."""

from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.certify import CertifyForm
from certrad.models.errors import Rejected
from certrad.models.types import SamplingParams, ZeroShotAdaptation
from certrad.models.types.request import Adaptation
from certrad.models.types.sample_size import fewest_samples
from certrad.models.types.smoothing import N_MAX, TARGET_DECIMALS
from certrad.models.types.variants import VARIANT_RADIUS_MAX, VariantsBase, VariantsRequest
from certrad.models.types.window import WindowPreset
from certrad.workers.contract.variant_fields import read_list


def requested_variants(
    form: CertifyForm,
    adaptation: Adaptation | None,
    presets: tuple[WindowPreset, ...],
    params: SamplingParams,
    n_classes: int,
) -> VariantsRequest | None:
    """Returns the variants that a form asks for, with the number of their samples; None for none.

    Args:
        form: The fields that the client sent.
        adaptation: The adaptation of the prompt.
        presets: The presets of the task.
        params: alpha and the bound.
        n_classes: The number K of classes.

    Raises:
        InvalidRequest: The fields do not go together.
        Rejected: unknown_window.
    """
    if form.variants is None:
        stray = [name for name in ("variant_radius", "variant_n") if getattr(form, name) is not None]
        stray += ["variants_base"] if form.variants_base != "smoothed" else []
        if stray:
            raise InvalidRequest(dict.fromkeys(stray, "is allowed only with `variants`"))
        return None
    sigma, radius = _fixed_sigma(form, adaptation), form.variant_radius or 0.0
    if form.variants_base == "unsmoothed":
        return _unsmoothed(form, presets)
    if radius > VARIANT_RADIUS_MAX * sigma or round(radius, TARGET_DECIMALS) != radius:
        most = f"{VARIANT_RADIUS_MAX:g} sigma, {VARIANT_RADIUS_MAX * sigma:g}"
        raise InvalidRequest({"variant_radius": f"must be at most {most}, with at most {TARGET_DECIMALS} decimals"})
    needed = fewest_samples(params, n_classes, sigma, radius)
    n = needed if form.variant_n is None else form.variant_n
    if n < needed or n > N_MAX:
        reason = f"at least {needed} samples of each variant are needed: fewer show nothing, even if all agree"
        raise InvalidRequest({"variant_n": f"{reason}; got {n}"})
    return _request(form, presets, n=n, radius=radius)


def _unsmoothed(form: CertifyForm, presets: tuple[WindowPreset, ...]) -> VariantsRequest:
    stray = [name for name in ("variant_radius", "variant_n") if getattr(form, name) is not None]
    if stray:
        raise InvalidRequest(dict.fromkeys(stray, "is not allowed with `variants_base=unsmoothed`"))
    return _request(form, presets, n=1, base="unsmoothed")


def _request(
    form: CertifyForm,
    presets: tuple[WindowPreset, ...],
    *,
    n: int,
    radius: float = 0.0,
    base: VariantsBase = "smoothed",
) -> VariantsRequest:
    try:
        lists = tuple(read_list(each, presets) for each in form.variants or ())
        return VariantsRequest(lists=lists, n=n, radius=radius, base=base)
    except KeyError:
        raise Rejected("unknown_window", "`variants` names a window that is no preset of the task") from None
    except ValueError as error:
        raise InvalidRequest({"variants": str(error)}) from None


def _fixed_sigma(form: CertifyForm, adaptation: Adaptation | None) -> float:
    """Returns the sigma of a request with variants.

    Raises:
        InvalidRequest: Another field excludes variants.
    """
    reasons = {
        "`sigma=auto`": form.sigma == "auto",
        "`target_radius`": form.target_radius is not None,
        "`adaptation=zero_shot`": isinstance(adaptation, ZeroShotAdaptation),
        "`noise_space=image`": form.noise_space == "image",
    }
    if form.sigma == "auto" or any(reasons.values()):
        excluded = next(name for name, holds in reasons.items() if holds)
        raise InvalidRequest({"variants": f"must not be sent together with {excluded}"})
    return form.sigma
