"""Certified accuracy of every method of an experiment, and what a certificate costs in seconds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from certrad.bench.reproduce.plan.experiment import CertificationTime, CertifiedAccuracy, Denoiser, SmoothedMethod
from certrad.bench.reproduce.plan.plan import STARTS
from certrad.bench.reproduce.plan.published_values import column_of_radius
from certrad.bench.reproduce.run.adapters import trained_adapter
from certrad.bench.reproduce.run.denoisers import trained_denoisers
from certrad.bench.reproduce.run.learned import prompt_of_images
from certrad.bench.reproduce.run.materials import Materials, joined_sha256, test_images
from certrad.bench.reproduce.run.measured import Measured
from certrad.bench.reproduce.run.noisy_pass import NoisyImage, NoisyPass, ReadyMethod, made_of
from certrad.bench.reproduce.run.result import BEST_SIGMA, SIGMA, Cell, Place, missing_cells, share_cell
from certrad.bench.reproduce.run.units import Kept, Workforce
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.backbones.base import Backbone
from certrad.models.datasets.split import Split
from certrad.models.defences.diffusion import load_diffusion
from certrad.models.errors import Rejected
from certrad.models.smoothing import decide
from certrad.models.types import Certificate, LabelCounts, Scope, SmoothingParams

BOUND: Final = "cohen"
"""The bound of the papers: p_B = 1 - p_A."""
CLEAN: Final = "clean"
NOISY: Final = "noisy samples"
TRAINING: Final = "training"
CERTIFICATE: Final = "certificate"


def certified_accuracy(experiment: CertifiedAccuracy, materials: Materials) -> list[Cell]:
    """The cells of every pair of backbone and data set; of what is missing, cells that say so."""
    kept = Kept(materials.out / experiment.id, _header(experiment, materials))
    order = [method.name for method in experiment.methods]
    cells = []
    for backbone_id in experiment.backbones:
        for dataset in experiment.datasets:
            of_pair: list[Cell] = []
            for encoder in dict.fromkeys(_encoder(method) for method in experiment.methods):
                methods = tuple(method for method in experiment.methods if _encoder(method) == encoder)
                of_pair += _of_pass(experiment, materials, backbone_id, dataset, methods, kept)
            cells += sorted(of_pair, key=lambda cell: order.index(cell.place.row))
    return cells


def _encoder(method: SmoothedMethod) -> tuple[Denoiser | None, AdapterParams | None]:
    """What makes the features of a method: methods with the same share a pass of noisy images."""
    return method.denoiser, method.adapter


def _of_pass(
    experiment: CertifiedAccuracy,
    materials: Materials,
    backbone_id: str,
    dataset: str,
    methods: tuple[SmoothedMethod, ...],
    kept: Kept,
) -> list[Cell]:
    """The cells of the methods that share a pass of noisy images."""
    try:
        backbone, test = materials.pair(backbone_id, dataset)
        of = _ready(experiment, materials, backbone, dataset, methods)
    except Rejected as rejected:
        places = [
            Place(backbone_id, dataset, method.name, column_of_radius(radius))
            for method in methods
            for radius in experiment.radii
        ]
        scopes = {method.name: method.scope for method in methods}
        missing = missing_cells(places, rejected, condition=BEST_SIGMA)
        return [replace(cell, scope=scopes[cell.place.row]) for cell in missing]
    images = test_images(test, methods[0].images or experiment.images, experiment.seed)
    source = (f"{backbone_id} {backbone.sha256[:16]}", dataset, methods[0].denoiser or "none", made_of(of, test)[:16])
    units = [
        ((*source, index, sigma), NoisyImage(index=index, sigma=sigma))
        for index in images
        for sigma in experiment.sigmas
    ]
    values = Workforce(of, materials.processes).compute(units, kept, f"{experiment.id}: {backbone_id}, {dataset}")
    cells = []
    for method in methods:
        measured = [
            _measured(values[at :: len(experiment.sigmas)], method.name, sigma, experiment)
            for at, sigma in enumerate(experiment.sigmas)
        ]
        place = Place(backbone_id, dataset, method.name, CLEAN)
        cells += _cells(place, measured, experiment.radii, method.scope)
    return cells


def _measured(
    values: Sequence[Mapping[str, Any]], method: str, sigma: float, experiment: CertifiedAccuracy
) -> Measured:
    params = SmoothingParams(sigma=sigma, n0=experiment.n0, n=experiment.n, bound=BOUND)
    found = [(value["methods"][method], value["label"]) for value in values]
    radii = []
    for counts, label in found:
        outcome = decide(_counts(counts["selection"]), _counts(counts["estimation"]), params)
        right = isinstance(outcome, Certificate) and outcome.class_index == label
        radii.append(outcome.radius if isinstance(outcome, Certificate) and right else None)
    return Measured(
        sigma=sigma,
        clean=tuple(counts["clean"] == label for counts, label in found),
        noisy=tuple(counts["estimation"][label] / experiment.n for counts, label in found),
        radii=tuple(radii),
        digest=joined_sha256([value["pixels_sha256"] for value in values]),
    )


def best_sigma(measured: Sequence[Measured], radius: float) -> Measured:
    """The papers' rule: the sigma that certifies most test images at a radius, the first of equals."""
    return max(measured, key=lambda of_sigma: sum(of_sigma.hits(radius)))


def _cells(at: Place, measured: Sequence[Measured], radii: Sequence[float], scope: Scope) -> list[Cell]:
    """The papers' cells, for each radius at its best sigma, and those of every sigma. at: any cell of the row."""
    cells = []
    for radius in radii:
        best = best_sigma(measured, radius)
        clean = 100 * sum(best.hits(0)) / len(best.radii)
        cells.append(
            share_cell(
                at._replace(column=column_of_radius(radius)),
                best.hits(radius),
                condition=BEST_SIGMA,
                detail=f"σ = {best.sigma:g}, clean {clean:.1f}",
                digest=best.digest,
                scope=scope,
            )
        )
    for of_sigma in measured:
        condition, noisy = f"{SIGMA}{of_sigma.sigma:g}", 100 * sum(of_sigma.noisy) / len(of_sigma.noisy)
        noisy_cell = Cell(
            place=at._replace(column=NOISY), condition=condition, value=noisy, digest=of_sigma.digest, scope=scope
        )
        clean_cell, *certified = (
            share_cell(at._replace(column=name), hits, condition=condition, digest=of_sigma.digest, scope=scope)
            for name, hits in [
                (CLEAN, of_sigma.clean),
                *((column_of_radius(radius), of_sigma.hits(radius)) for radius in sorted({0.0, *radii})),
            ]
        )
        cells += [clean_cell, noisy_cell, *certified]
    return cells


def certification_time(experiment: CertificationTime, materials: Materials) -> list[Cell]:
    """Seconds of training and of a certificate, of one image after the other in this process."""
    header = {**_header(experiment, materials), "processes": 1}
    kept = Kept(materials.out / experiment.id, header)
    cells = []
    for backbone_id in experiment.backbones:
        for dataset in experiment.datasets:
            for method in experiment.methods:
                cells += _times(experiment, materials, backbone_id, dataset, method, kept)
    return cells


def _times(
    experiment: CertificationTime,
    materials: Materials,
    backbone_id: str,
    dataset: str,
    method: SmoothedMethod,
    kept: Kept,
) -> list[Cell]:
    places = {column: Place(backbone_id, dataset, method.name, column) for column in (TRAINING, CERTIFICATE)}
    try:
        backbone, test = materials.pair(backbone_id, dataset)
        of = _ready(experiment, materials, backbone, dataset, (method,))
    except Rejected as rejected:
        return missing_cells(places.values(), rejected)
    images = test_images(test, experiment.images, experiment.seed)
    source = (backbone.sha256[:16], dataset, method.name, made_of(of, test)[:16])
    units = [((*source, index), NoisyImage(index=index, sigma=experiment.sigma)) for index in images]
    values = Workforce(TimedPass(of), 1).compute(units, kept, f"{experiment.id}: {method.name}")
    # The first of a process pays for what is loaded and compiled on first use.
    seconds = [value["seconds"] for value in values if not value["first"]] or [values[0]["seconds"]]
    mean = sum(seconds) / len(seconds)
    cells = [Cell(place=places[CERTIFICATE], value=mean, detail=f"{len(seconds)} images")]
    trained = _training_seconds(experiment, materials, backbone, dataset, method)
    return cells + ([] if trained is None else [Cell(place=places[TRAINING], value=trained)])


@dataclass(frozen=True)
class TimedPass:
    """A pass whose units are timed: adaptation, noise, encoder, decision."""

    of: NoisyPass

    def __call__(self) -> "TimedWorker":
        """Loads what a process needs."""
        return TimedWorker(self.of)


class TimedWorker:
    """Times the units of a pass."""

    def __init__(self, of: NoisyPass) -> None:
        self._worker, self._first = of(), True

    def __call__(self, unit: NoisyImage) -> dict[str, Any]:
        """Seconds of one certificate, and whether it is the first of this process."""
        started = time.perf_counter()
        self._worker(unit)
        first, self._first = self._first, False
        return {"seconds": time.perf_counter() - started, "first": first}


def _training_seconds(
    experiment: CertificationTime, materials: Materials, backbone: Backbone, dataset: str, method: SmoothedMethod
) -> float | None:
    """Seconds of the training that a method needs at this sigma; None where it needs none."""
    if method.denoiser == "dncnn":
        train = materials.split(dataset, "train")
        ((_, card),) = trained_denoisers(materials, backbone.card, dataset, train, (experiment.sigma,), experiment.seed)
        return float(card.training["seconds"])
    if method.tuning is None:
        return None
    tuning = replace(method.tuning, seed=experiment.seed)
    return prompt_of_images(materials, backbone, dataset, materials.split(dataset, "train"), tuning).seconds


def _ready(
    experiment: CertifiedAccuracy | CertificationTime,
    materials: Materials,
    backbone: Backbone,
    dataset: str,
    methods: Sequence[SmoothedMethod],
) -> NoisyPass:
    """The pass of some methods, their prompts and denoisers trained; raises Rejected where something is missing."""
    sigmas = (experiment.sigma,) if isinstance(experiment, CertificationTime) else experiment.sigmas
    denoiser: Denoiser | None = methods[0].denoiser
    if denoiser == "diffusion":
        load_diffusion(materials.weights("diffusion"), "cpu")
    train: Split | None = None
    params = methods[0].adapter
    if denoiser == "dncnn" or params is not None or any(method.tuning for method in methods):
        train = materials.split(dataset, "train")
    denoisers: tuple[tuple[float, str], ...] = ()
    if denoiser == "dncnn" and train is not None:
        cards = trained_denoisers(materials, backbone.card, dataset, train, sigmas, experiment.seed)
        denoisers = tuple((sigma, card.id) for sigma, card in cards)
    adapter = None
    if params is not None and train is not None:
        adapter = trained_adapter(materials, backbone, dataset, train, replace(params, seed=experiment.seed)).id
    template = materials.split(dataset, "test").template
    return NoisyPass(
        materials=materials,
        backbone=backbone.card.id,
        dataset=dataset,
        methods=tuple(
            _ready_method(method, experiment.seed, materials, backbone, dataset, train, template or "{}")
            for method in methods
        ),
        n0=experiment.n0,
        n=experiment.n,
        seed=experiment.seed,
        denoiser=denoiser,
        denoisers=denoisers,
        adapter=adapter,
    )


def _ready_method(
    method: SmoothedMethod,
    seed: int,
    materials: Materials,
    backbone: Backbone,
    dataset: str,
    train: Split | None,
    template: str,
) -> ReadyMethod:
    context = None
    if method.tuning is not None and train is not None:
        tuning = replace(method.tuning, seed=seed)
        context = prompt_of_images(materials, backbone, dataset, train, tuning).context
    start = template if method.adaptation is None else STARTS.get(dataset, template)
    return ReadyMethod(name=method.name, context=context, template=method.start or start, adaptation=method.adaptation)


def _counts(counts: Sequence[int]) -> LabelCounts:
    return LabelCounts(per_class=tuple(counts[:-1]), invalid=counts[-1])


def _header(experiment: CertifiedAccuracy | CertificationTime, materials: Materials) -> dict[str, Any]:
    return {"experiment": asdict(experiment), "device": materials.device, "dtype": materials.dtype}
