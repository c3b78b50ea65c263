"""Any experiment at a reduced size on MedNIST with the demonstration model: minutes on two cores."""

from dataclasses import replace
from typing import Final, overload

from certrad.bench.reproduce.plan.experiment import (
    AnyExperiment,
    AttackedAccuracy,
    AttackedMethod,
    CertificationTime,
    CertifiedAccuracy,
    NearestWords,
    SmoothedMethod,
    TrainingEfficiency,
)
from certrad.bench.reproduce.plan.plan import ADVPT_TABLE_1, TABLE_2
from certrad.models.attacks.autoattack.suite import AutoAttackParams
from certrad.models.types.tuning import TuningParams

BACKBONE: Final = "demo"
DATASET: Final = "mednist"
CERTIFIED_IMAGES: Final = 60
SIGMAS: Final = (0.25, 0.5)
N: Final = 1000
ATTACKED_IMAGES: Final = 120
ADAPTER_STEPS: Final = 200
BANK_SHOTS: Final = 100
"""Training images of each class in the embedding bank; MedNIST has thousands."""

_FIRST_CONTEXTS: Final = {
    "An H&E image patch of {}.": "a medical image of {}.",
    "An H&E noisy image patch of {}.": "a noisy medical image of {}.",
}


def reduced(experiment: AnyExperiment) -> AnyExperiment:
    """The same experiment on other data at a smaller size; rows that need a trained denoiser are left out."""
    if isinstance(experiment, CertifiedAccuracy):
        return _certified(experiment)
    if isinstance(experiment, CertificationTime):
        return _on_mednist(replace(experiment, methods=_smoothed(experiment.methods), images=3, n=N))
    if isinstance(experiment, AttackedAccuracy):
        return _attacked(experiment)
    if isinstance(experiment, NearestWords):
        return _on_mednist(replace(experiment, tuning=_fewer(experiment.tuning)))
    return _on_mednist(
        replace(
            experiment,
            images=ATTACKED_IMAGES // 2,
            tuning=_fewer(experiment.tuning),
            training_images=ATTACKED_IMAGES,
            prompt_epochs=(1, 10, 100),
            encoder_epochs=(1, 3),
        )
    )


def quick_plan() -> tuple[CertifiedAccuracy, AttackedAccuracy]:
    """Returns the experiments of `--quick` without a named table: PromptSmooth's methods certified, AdvPT attacked."""
    # RAP needs the weights of a ResNet-50, which nobody who tries this has.
    attacked = replace(ADVPT_TABLE_1, threats=("clean", "pgd40"))
    return _certified(TABLE_2), _attacked(attacked)


def _certified(experiment: CertifiedAccuracy) -> CertifiedAccuracy:
    sigmas = tuple(sigma for sigma in SIGMAS if sigma in experiment.sigmas)
    methods = _smoothed(experiment.methods)
    found = _on_mednist(replace(experiment, methods=methods, images=CERTIFIED_IMAGES, n=N, sigmas=sigmas))
    # The rows keep the paper's names, under which its values are found.
    worded = [method.start for method in methods if method.start]
    return replace(found, title=f"{found.title}; contexts {', '.join(map(repr, worded))}") if worded else found


def _attacked(experiment: AttackedAccuracy) -> AttackedAccuracy:
    return _on_mednist(
        replace(
            experiment,
            images=ATTACKED_IMAGES,
            trained_on=None,
            training_images=BANK_SHOTS * 6,
            methods=tuple(_attacked_method(method) for method in experiment.methods),
            auto_attack=AutoAttackParams(iterations=20, queries=200, targets=3),
            batch_size=20,
        )
    )


def _smoothed(methods: tuple[SmoothedMethod, ...]) -> tuple[SmoothedMethod, ...]:
    kept = (method for method in methods if method.denoiser is None)
    return tuple(
        replace(
            method,
            start=method.start and _FIRST_CONTEXTS[method.start],
            adapter=method.adapter and replace(method.adapter, steps=ADAPTER_STEPS),
        )
        for method in kept
    )


def _attacked_method(method: AttackedMethod) -> AttackedMethod:
    return method if method.tuning is None else replace(method, tuning=_fewer(method.tuning))


def _fewer(tuning: TuningParams) -> TuningParams:
    return replace(tuning, shots=BANK_SHOTS)


@overload
def _on_mednist(experiment: CertifiedAccuracy) -> CertifiedAccuracy: ...
@overload
def _on_mednist(experiment: AttackedAccuracy) -> AttackedAccuracy: ...
@overload
def _on_mednist(experiment: CertificationTime) -> CertificationTime: ...
@overload
def _on_mednist(experiment: NearestWords) -> NearestWords: ...
@overload
def _on_mednist(experiment: TrainingEfficiency) -> TrainingEfficiency: ...
def _on_mednist(experiment: AnyExperiment) -> AnyExperiment:
    return replace(
        experiment,
        id=f"{experiment.id}-quick",
        title=f"{experiment.title.partition(',')[0]}: reduced, on MedNIST with the demonstration model",
        backbones=(BACKBONE,),
        datasets=(DATASET,),
    )
