"""`certrad attack FILE|DIR`: decodes images as intake does, and attacks them without and with knowledge of the prompt.

Attacked images are rounded to 8-bit images inside the ball, and the printed classes are those of the rounded images.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import torch
from PIL import Image
from rich.progress import Progress, TaskID
from torch import Tensor

from certrad.models.adapters.store import AdapterStore
from certrad.models.attacks.autoattack.suite import AutoAttackParams, auto_attack
from certrad.models.attacks.base import Attack, Classify, RobustAccuracy, accuracy, attacked, classes, grid
from certrad.models.attacks.pgd import ADAPTIVE_PGD_40, PGD_10, PGD_40, adaptive_pgd, embedding_pgd
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_device
from certrad.models.classifier import TextHead
from certrad.models.errors import Rejected
from certrad.models.evaluation.attack_report import AttackReport, Kind
from certrad.models.installed import installed_cards
from certrad.models.prompts.checkpoint import require_backbone
from certrad.models.prompts.store import PromptStore
from certrad.models.types import AdapterCard, BackboneCard, CertifyRequest, ClassifierSpec, PromptCard, TaskCard
from certrad.models.types.pixels import WHITE
from certrad.models.types.window import FileWindow
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.intake.image_folder import low_contrast_note, tell_refused
from certrad.workers.offline.classifiers import load_encoder, of_task
from certrad.workers.offline.progress import progress_bar
from certrad.workers.offline.settings import settings_of
from certrad.workers.offline.taken_images import Source, TakenImages, sources_of, taken_images
from certrad.workers.settings import WorkerSettings

EPSILONS: Final = {"pgd10": PGD_10.epsilon, "pgd40": PGD_40.epsilon, "autoattack": AutoAttackParams().epsilon}
"""The attacks by name, with the epsilon each was published with."""

_BATCH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttackRequest:
    """The attack to run, with every default filled in; a `prompt` of None is the template."""

    task: TaskCard
    backbone: BackboneCard
    spec: ClassifierSpec
    prompt: PromptCard | None
    adapter: AdapterCard | None
    attack: str
    epsilon: float
    auto_attack: AutoAttackParams
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Model:
    """The backbone in float32, and the classifiers with the template and with the prompt, without noise."""

    backbone: Backbone
    template: Classify
    prompt: Classify


def attack_images(options: Namespace) -> int:
    """Attacks the images and prints the report.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    service = settings_of(WorkerSettings, options.data_dir)
    store = PromptStore(own=service.prompts_dir)
    try:
        request = _request(options, store, service)
        taken = _decode(options, request, service)
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(service.threads)
        model = _load(request, store, service)
    except (ValueError, OSError, Rejected) as error:
        return fail(str(error), BAD_USAGE)
    try:
        report, attacked_images = _attack(taken.sources, taken.images, request, model)
        if options.out is not None:
            _write(attacked_images, options.out)
    except OSError as error:
        return fail(f"the attacked images were not written: {error.strerror}", FAILURE)
    tell_refused(taken.refused)
    if options.json:
        sys.stdout.write(json.dumps({"task": request.task.id, **report.as_json(), "low_contrast": taken.flat}) + "\n")
    else:
        sys.stdout.write(report.as_text() + low_contrast_note(taken.flat, len(taken.sources)))
    return DONE


def _request(options: Namespace, store: PromptStore, service: WorkerSettings) -> AttackRequest:
    """Returns the options with every default filled in.

    Raises:
        ValueError: A value is out of range.
        Rejected: The prompt or backbone cannot be used.
    """
    cards, adapters = (
        installed_cards(service.cards_dir, service.prompts_dir, service.adapters_dir),
        AdapterStore(own=service.adapters_dir),
    )
    task = cards.tasks[options.task]
    # An adaptation to the image itself is left out: what is attacked is the classifier before it sees the image.
    named = {name: getattr(options, name) for name in ("backbone", "prompt", "adapter")}
    choice = of_task(task, store, cards.prompts, adapters, **named)
    epsilon = EPSILONS[options.attack] if options.epsilon is None else options.epsilon
    fewer = {name: getattr(options, name) for name in ("iterations", "queries") if getattr(options, name) is not None}
    return AttackRequest(
        task=task,
        backbone=cards.backbones[choice.backbone],
        spec=ClassifierSpec(
            backbone=choice.backbone,
            prompt=choice.prompt_id,
            class_names=choice.answers(task.class_names),
            adaptation=None if choice.rejection is None else choice.adaptation,
            template=choice.template(task.template),
            adapter=choice.adapter_id,
        ),
        prompt=choice.prompt,
        adapter=choice.adapter,
        attack=options.attack,
        epsilon=epsilon,
        auto_attack=AutoAttackParams(epsilon=epsilon, **fewer),
        seed=options.seed,
    )


def _decode(options: Namespace, request: AttackRequest, service: WorkerSettings) -> TakenImages:
    """Returns the images that the options name.

    Raises:
        ValueError: None is an image.
        Rejected: The folders are not those of the classes.
    """
    asked = CertifyRequest(classifier=request.spec, window=FileWindow.of_task(request.task.windows))
    sources = sources_of(options.paths, request.task, options.limit)
    return taken_images(sources, asked, request.backbone, service)


def _load(request: AttackRequest, store: PromptStore, service: WorkerSettings) -> _Model:
    device = chosen_device(service.device)
    backbone = load_encoder(request.backbone, request.adapter, service, device=device)
    template = TextHead.of_template(backbone, request.task.class_names, request.task.template)
    head = template
    if request.prompt is not None:
        require_backbone(request.prompt, backbone)
        learned = store.load(request.prompt)
        head = TextHead.of_prompt(backbone, request.spec.class_names, learned)
    return _Model(backbone=backbone, template=_plainly(backbone, template), prompt=_plainly(backbone, head))


def _plainly(backbone: Backbone, head: TextHead) -> Classify:
    classifier = head.classifier(
        backbone, sigma=0.0 if head.rejection is None else head.rejection.sigmas[0]
    )  # a single prompt is the same for every sigma, a gate that of its smallest one
    return lambda pixels, _: classifier.logits(pixels)


def _attacks(request: AttackRequest, model: _Model) -> dict[Kind, tuple[str, Attack]]:
    """Returns the attack that does not know the prompt and the one that does, each with its name.

    AutoAttack on the template is both if the target is the template; attacks with the same name run once.
    """
    n_classes, n_answers = len(request.task.class_names), len(request.spec.class_names)
    if request.attack == "autoattack":
        name = request.auto_attack.name(n_classes)
        if request.prompt is None:
            on_template = (f"{name} on the template", auto_attack(model.template, n_classes, request.auto_attack))
            return {"non_adaptive": on_template, "adaptive": on_template}
        return {
            "non_adaptive": (f"{name} on the template", auto_attack(model.template, n_classes, request.auto_attack)),
            "adaptive": (
                f"{request.auto_attack.name(n_answers)} on the prompt",
                auto_attack(model.prompt, n_answers, request.auto_attack),
            ),
        }
    published = PGD_10 if request.attack == "pgd10" else PGD_40
    blind = replace(published, epsilon=request.epsilon)
    knowing = replace(ADAPTIVE_PGD_40, epsilon=request.epsilon, steps=published.steps)
    return {
        "non_adaptive": (f"PGD-{blind.steps} on image features", embedding_pgd(model.backbone, blind)),
        "adaptive": (f"PGD-{knowing.steps} on the prompt", adaptive_pgd(model.prompt, knowing)),
    }


def _attack(
    sources: Sequence[Source], images: Tensor, request: AttackRequest, model: _Model
) -> tuple[AttackReport, dict[Kind, Tensor]]:
    """Returns the report, and the attacked images (N, 3, S, S) of each attack."""
    generator = torch.Generator().manual_seed(request.seed)
    predictions: dict[Kind, Tensor] = {"clean": classes(model.prompt, images, generator, batch_size=_BATCH)}
    given = [source.label for source in sources if source.label is not None]
    labels = torch.tensor(given) if given else predictions["clean"]
    attacks = _attacks(request, model)
    made: dict[str, Tensor] = {}
    with progress_bar() as progress:
        for name, attack in dict(attacks.values()).items():
            adversarial = attacked(
                attack,
                images,
                labels,
                epsilon=request.epsilon,
                generator=generator,
                batch_size=_BATCH,
                on_batch=partial(_advance, progress, progress.add_task(name, total=len(images))),
            )
            made[name] = grid(images, adversarial, request.epsilon)
    attacked_images = {kind: made[name] for kind, (name, _) in attacks.items()}
    for kind, ended_in in attacked_images.items():
        predictions[kind] = classes(model.prompt, ended_in / WHITE, generator, batch_size=_BATCH)
    shares = {kind: accuracy(predicted, labels) for kind, predicted in predictions.items()}
    report = AttackReport(
        class_names=request.spec.class_names,
        backbone=request.spec.backbone,
        prompt=request.spec.prompt,
        adapter=request.spec.adapter,
        seed=request.seed,
        files=[str(source.path) for source in sources],
        labelled=bool(given),
        labels=labels,
        classes=predictions,
        accuracy=RobustAccuracy(
            clean=shares["clean"],
            non_adaptive=shares["non_adaptive"],
            adaptive=shares["adaptive"],
            epsilon=request.epsilon,
            non_adaptive_attack=attacks["non_adaptive"][0],
            adaptive_attack=attacks["adaptive"][0],
        ),
    )
    return report, attacked_images


def _advance(progress: Progress, bar: TaskID, done: int) -> None:
    progress.update(bar, completed=done)


def _write(attacked_images: dict[Kind, Tensor], directory: Path) -> None:
    """Writes `<kind>/<number>.png`, numbered as the report's rows: a file's own name may be a patient's."""
    for kind, images in attacked_images.items():
        (directory / kind).mkdir(exist_ok=True)
        for number, pixels in enumerate(images, start=1):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(directory / kind / f"{number:05d}.png")
