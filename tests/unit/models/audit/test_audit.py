"""The audit attacks in the ball and on the grid, its modes share work but no results, and its p-value is exact."""

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from certrad.models.attacks.smooth_adv import SmoothAdv, attack, nearest_on_grid, squared_budget, squared_length
from certrad.models.audit.contradictions import AttackedVersion, Audit, Claim, Finding
from certrad.models.audit.modes import Mode
from certrad.models.audit.verdict import p_value, summarise
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, Stream, certify, estimate, select
from certrad.models.smoothing.encoded import EncodedSampler, EncodingClassifier
from certrad.models.smoothing.plan import RoutedPlan
from certrad.models.smoothing.routing import estimate_routes, select_route
from certrad.models.types import AutoSigma, SamplingParams, SmoothingParams
from certrad.models.types.routing import RouteSelection
from tests.support.tiny_clip import tiny_backbone
from tests.support.toy_service import SHAPE, SIGMA, Prompt, ToyService, toy_mode

PARAMS = SamplingParams(n0=50, n=300)
QUICK = SmoothAdv(steps=3, draws=8)


@pytest.fixture(scope="module")
def service() -> ToyService:
    return ToyService()


@pytest.fixture(scope="module")
def pixels(service: ToyService) -> NDArray[np.uint8]:
    return service.images(1)[0]


def audit_of(service: ToyService, *modes: Mode, encode: Callable[[Tensor], Tensor] | None = None) -> Audit:
    return Audit(modes=modes, encode=encode or service.encode, secret=bytes(16), attack=QUICK)


def finding(clean: Claim, attacked: Claim | None, squared_distance: int = 100) -> Finding:
    versions = () if attacked is None else (AttackedVersion(claim=attacked, squared_distance=squared_distance),)
    return Finding(clean=clean, attacked=versions)


def says(class_index: int | None, radius: float) -> Claim:
    return Claim(class_index=class_index, radius=radius)


# -- the attack ------------------------------------------------------------------------------------------------------


def toy_attack(
    service: ToyService, pixels: NDArray[np.uint8], radius: float, params: SmoothAdv = QUICK
) -> NDArray[np.uint8]:
    return attack(
        pixels,
        lambda noisy: service.prompt.logits_of_features(service.encode(noisy)),
        target=0,
        sigma=SIGMA,
        radius=radius,
        params=params,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize("radius", [0.0095, 0.1, 0.5837, 20.0])
def test_attack_ends_on_the_grid_within_the_radius(
    service: ToyService, pixels: NDArray[np.uint8], radius: float
) -> None:
    attacked = toy_attack(service, pixels, radius)
    squared = squared_length(attacked.astype(np.int64) - pixels)
    assert attacked.dtype == np.uint8
    assert Fraction(squared, 255**2) <= Fraction(repr(radius)) ** 2
    if radius < 1:  # beyond, pixels end at black and white
        assert squared > 0.9 * squared_budget(radius)


def test_attack_makes_its_target_more_probable(service: ToyService, pixels: NDArray[np.uint8]) -> None:
    noise = torch.randn((500, *SHAPE), generator=torch.Generator().manual_seed(5)) * SIGMA

    def probability(image: NDArray[np.uint8]) -> float:
        noisy = torch.from_numpy(image / np.float32(255)) + noise
        return float(service.prompt.logits_of_features(service.encode(noisy)).softmax(dim=1)[:, 0].mean())

    assert probability(toy_attack(service, pixels, 0.2, SmoothAdv())) > probability(pixels) + 0.3


def test_no_image_of_the_grid_as_near_lies_further_in_the_direction() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        pixels = generator.integers(0, 4, (1, 1, 3)).astype(np.uint8)
        delta = generator.normal(size=(1, 1, 3))
        steps = nearest_on_grid(pixels, delta, int(generator.integers(1, 30))).astype(np.int64) - pixels
        for other in itertools.product(range(-5, 6), repeat=3):
            moved = np.array(other).reshape(1, 1, 3)
            if squared_length(moved) <= squared_length(steps) and (pixels + moved).min() >= 0:
                assert (moved * delta).sum() <= (steps * delta).sum() + 1e-9


def test_ball_smaller_than_a_grey_level_holds_no_other_image(pixels: NDArray[np.uint8]) -> None:
    delta = np.arange(256.0).reshape(SHAPE)
    assert np.array_equal(nearest_on_grid(pixels, delta, squared_budget(0.0039)), pixels)
    assert not np.array_equal(nearest_on_grid(np.full_like(pixels, 9), delta, squared_budget(0.00393)), pixels)


# -- one image -------------------------------------------------------------------------------------------------------


def test_attack_climbs_the_classifier_before_adaptation(service: ToyService, pixels: NDArray[np.uint8]) -> None:
    adapted: list[Prompt] = []

    def adapt(sampler: EncodedSampler) -> Prompt:
        adapted.append(service.adapt(sampler))
        return adapted[-1]

    unadapted = Prompt(service.prompt.texts)
    (found,) = audit_of(service, toy_mode("tuned", unadapted, PARAMS, adapt)).findings(pixels)
    assert found.attacked
    assert len(unadapted.attacked_with) == QUICK.steps
    assert [prompt.attacked_with for prompt in adapted] == [[], []]  # tuned once on each version


def test_attacked_image_lies_within_the_radius_of_what_was_certified(
    service: ToyService, pixels: NDArray[np.uint8]
) -> None:
    (found,) = audit_of(service, toy_mode("fixed", service.prompt, PARAMS)).findings(pixels)
    (version,) = found.attacked
    assert 0.8 * found.clean.radius < version.squared_distance**0.5 / 255 <= 0.95 * found.clean.radius


def test_each_mode_is_found_out_alone_as_beside_the_others(service: ToyService, pixels: NDArray[np.uint8]) -> None:
    modes = [
        toy_mode("fixed", service.prompt, PARAMS),
        toy_mode("target", service.prompt, replace(PARAMS, target_radius=0.1)),
        toy_mode("bank", service.bank, PARAMS),
        toy_mode("tuned", service.prompt, PARAMS, service.adapt),
        service.automatic(PARAMS),
    ]
    together = audit_of(service, *modes).findings(pixels)
    assert together == [audit_of(service, mode).findings(pixels)[0] for mode in modes]
    assert len(set(map(str, together))) == len(modes)


def test_versions_are_sampled_once_for_all_modes_each_with_own_noise(
    service: ToyService, pixels: NDArray[np.uint8]
) -> None:
    drawn: list[Tensor] = []

    def encode(noisy: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            drawn.append(noisy)
        return service.encode(noisy)

    modes = [toy_mode(name, service.prompt, PARAMS) for name in ("one", "another")]
    audit = audit_of(service, *modes, encode=encode)
    first, second = audit.findings(pixels)
    assert first == second
    selected, estimated = -(-100 // audit.batch_size), -(-PARAMS.n // audit.batch_size)
    assert len(drawn) == selected + estimated + -(-PARAMS.n0 // audit.batch_size) + estimated
    of_attacked = drawn[selected + estimated] - drawn[0]
    assert float(of_attacked.std()) == pytest.approx(2**0.5 * SIGMA, rel=0.05)  # a difference of independent noises


def test_shared_features_give_the_estimation_of_the_pixels(tmp_path: Path) -> None:
    backbone = tiny_backbone(tmp_path)
    image = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
    params, noise = SmoothingParams(sigma=0.5, n0=50, n=100), Noise(bytes(32))
    pixels = NoisySampler(image=image, sigma=0.5, noise=noise, batch_size=64, device=backbone.device)
    sampler = EncodedSampler(pixels=pixels, encode=backbone.encode_image)
    # The classes are two noisy copies, so that the others are now nearer to this one, now to that.
    classifier = VisionLanguageClassifier(backbone, F.normalize(sampler.first(Stream.PREDICT, 2), dim=1))
    expected = certify(image, classifier, params, key=noise.key, batch_size=64)
    shared = sampler.classifier(classifier)
    selection = select(sampler, shared, params)
    assert selection == expected.selection
    assert estimate(sampler, shared, params, selection, MemoryBlocks()) == expected.estimation
    assert min(expected.estimation.counts.per_class) > 10


def test_each_image_is_attacked_towards_the_most_probable_classes_first(
    service: ToyService, pixels: NDArray[np.uint8]
) -> None:
    mode = toy_mode("fixed", service.prompt, PARAMS)
    (one,) = audit_of(service, mode).findings(pixels)
    for targets in (2, 9):  # of three classes there are two others
        (found,) = replace(audit_of(service, mode), targets=targets).findings(pixels)
        assert len(found.attacked) == 2
        assert found.attacked[:1] == one.attacked
        assert found.attacked[0] != found.attacked[1]
        assert Finding.from_json(json.loads(json.dumps(asdict(found)))) == found


def test_any_attacked_version_may_contradict_and_counts_in_the_p_value(service: ToyService) -> None:
    spec = toy_mode("fixed", service.prompt, PARAMS).spec
    agrees, differs = (AttackedVersion(claim=says(label, 0.3), squared_distance=100) for label in (0, 1))
    found = [Finding(clean=says(0, 0.5), attacked=versions) for versions in ((agrees, differs), (agrees, agrees))]
    verdict = summarise(spec, found, targets=9)
    assert (verdict.targets, verdict.attacked, verdict.contradictions) == (2, 2, 1)
    assert verdict.p_value == p_value(1, 2, spec.params.alpha, attacks=2)


def test_automatic_sigma_is_attacked_through_its_own_classifier(service: ToyService) -> None:
    mode, chosen = service.automatic(PARAMS), set()
    for pixels in service.images(6):
        prompts = {sigma: Prompt(head.texts) for sigma, head in mode.unadapted.items() if isinstance(head, Prompt)}
        (found,) = audit_of(service, replace(mode, unadapted=prompts)).findings(pixels)
        for version in found.attacked:
            brighter = int(pixels[..., 8:].sum() < pixels[..., :8].sum())
            assert [sigma for sigma, prompt in prompts.items() if prompt.attacked_with] == [
                mode.spec.sigma.sigmas[brighter]
            ]
            assert version.squared_distance**0.5 / 255 <= 0.95 * found.clean.radius
            chosen.add(brighter)
    assert chosen == {0, 1}


def test_automatic_sigma_is_asked_as_the_service_does(service: ToyService, pixels: NDArray[np.uint8]) -> None:
    mode, samplers = service.automatic(PARAMS), []

    chosen = RoutedPlan.select

    def recorded(plan: RoutedPlan, sampler: NoisySampler, *others: Any) -> RouteSelection:
        samplers.append(sampler)
        return chosen(plan, sampler, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoutedPlan, "select", recorded)
        (found,) = audit_of(service, mode).findings(pixels)
    assert isinstance(mode.spec.sigma, AutoSigma)
    classifiers = {
        sigma: EncodingClassifier(head, SHAPE, torch.device("cpu"), service.encode)
        for sigma, head in mode.unadapted.items()
    }
    routing = mode.spec.sigma.routing
    for sampler, claim in zip(samplers, (found.clean, found.attacked[0].claim), strict=True):
        selection = select_route(sampler, classifiers.__getitem__, mode.params, routing)
        routed = estimate_routes(
            sampler, classifiers.__getitem__, mode.params, routing, selection, lambda _: MemoryBlocks()
        )
        assert Claim.of(routed.outcome) == claim
    assert samplers[0].noise.key != samplers[1].noise.key


# -- the verdict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clean", "attacked", "squared", "contradiction"),
    [
        (says(0, 0.1), says(1, 0.05), 100, True),
        (says(0, 0.01), says(1, 0.1), 100, True),  # the attacked image's own radius reaches back
        (says(0, 0.1), says(0, 0.1), 100, False),
        (says(0, 0.1), says(None, 0.0), 100, False),
        (says(None, 0.0), None, 0, False),
        (says(0, 1.0), says(1, 0.2), 255**2, False),  # at the radius, which is not covered
        (says(0, 1.0), says(1, 0.2), 255**2 - 1, True),
    ],
)
def test_contradiction_needs_two_classes_strictly_within_a_radius(
    clean: Claim, attacked: Claim | None, squared: int, contradiction: bool
) -> None:
    assert finding(clean, attacked, squared).contradiction is contradiction


@pytest.mark.parametrize(("contradictions", "images", "attacks"), [(0, 5, 1), (1, 5, 1), (3, 7, 2), (7, 7, 1)])
def test_p_value_is_the_binomial_tail(contradictions: int, images: int, attacks: int) -> None:
    p = Fraction(1 + attacks, 100)
    tail = sum(comb(images, k) * p**k * (1 - p) ** (images - k) for k in range(contradictions, images + 1))
    assert p_value(contradictions, images, 0.01, attacks) == pytest.approx(float(tail), rel=1e-12)


def test_images_that_were_not_certified_count_in_the_p_value(service: ToyService) -> None:
    spec = toy_mode("fixed", service.prompt, PARAMS).spec
    contradicted, silent = finding(says(0, 0.5), says(1, 0.3)), Finding(clean=says(None, 0.0))
    verdict = summarise(spec, [contradicted, silent, silent], targets=1)
    assert (verdict.images, verdict.certified, verdict.attacked, verdict.contradictions) == (3, 1, 1, 1)
    assert verdict.p_value == pytest.approx(1 - (1 - 0.002) ** 3)
    assert verdict.mean_radius == 0.5


@pytest.mark.parametrize(("contradictions", "broken"), [(0, False), (1, False), (2, True)])
def test_input_independent_mode_is_broken_below_one_in_a_thousand(
    service: ToyService, contradictions: int, broken: bool
) -> None:
    found = [finding(says(0, 0.5), says(1, 0.3))] * contradictions + [Finding(clean=says(0, 0.5))] * (
        6 - contradictions
    )
    assert summarise(toy_mode("fixed", service.prompt, PARAMS).spec, found, targets=1).broken is broken
    assert not summarise(toy_mode("tuned", service.prompt, PARAMS, service.adapt).spec, found, targets=1).broken
