"""`certrad prompts bank`: tunes a bank of prompts and its gate on a few labelled images of a site."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_device
from certrad.models.errors import Rejected
from certrad.models.images.input_digests import input_digests
from certrad.models.installed import installed_cards
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import save_prompt
from certrad.models.prompts.store import PromptStore
from certrad.models.prompts.training.acquisition import RANGES
from certrad.models.prompts.training.bank import BankParams, bank_accuracy, tune_bank
from certrad.models.prompts.training.image_choice import VALIDATION_PER_CLASS, choose_images
from certrad.models.prompts.training.noise import unit_noise
from certrad.models.prompts.training.rejection import OTHERS_MIN, RejectionParams, tune_rejection
from certrad.models.prompts.training.tuning import TuningSet
from certrad.models.types import TEMPLATE_PROMPT, BackboneCard, CertifyRequest, ClassifierSpec, FixedSigma, PromptCard
from certrad.models.types.noise_space import ImageMap
from certrad.models.types.tuned_on import EpochDigests, TunedOn
from certrad.models.types.tuning import TuningParams
from certrad.models.types.window import FileWindow
from certrad.workers.intake.decode import decode_limited
from certrad.workers.intake.image_folder import files_of_classes
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.offline.classifiers import load_encoder, of_task
from certrad.workers.offline.progress import progress_bar
from certrad.workers.settings import WorkerSettings


def tune_bank_prompt(options: Namespace, settings: WorkerSettings) -> PromptCard:
    """Tunes a bank and stores it.

    The seed chooses the shots of each class to learn from; up to 50 others of each class are measured.

    Returns:
        The card, which holds the images by digest only.

    Raises:
        ValueError: A parameter is out of range, or a card of the operator cannot be used.
        Rejected: The backbone has no weights, the folders are not those of the classes, a class has fewer images than
            shots, or an image cannot be read; that image is named by its place in its folder.
    """
    torch.set_num_threads(settings.threads)
    cards = installed_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir)
    task = cards.tasks[options.task]
    params = BankParams(
        template=options.template or task.template,
        shots=options.shots,
        copies=options.copies,
        seed=options.seed,
        acquisition=RANGES[options.acquisition],
    )
    stores = PromptStore(own=settings.prompts_dir), AdapterStore(own=settings.adapters_dir)
    # The bank is new: no prompt has a say in which backbone and adapter it is tuned on.
    choice = of_task(task, stores[0], cards.prompts, stores[1], prompt=TEMPLATE_PROMPT, adapter=options.adapter)
    card = cards.backbones[choice.backbone]
    files = files_of_classes(options.images, task)
    _require_others(files, options)
    device = chosen_device(settings.device)
    backbone = load_encoder(card, choice.adapter, settings, device=device)
    spec = ClassifierSpec(
        backbone=card.id, prompt=TEMPLATE_PROMPT, class_names=task.class_names, template=task.template
    )
    request = CertifyRequest(
        classifier=spec,
        window=FileWindow.of_task(task.windows),
        sigma=FixedSigma(max(params.sigmas)),  # the largest image is the smallest one that every noise level allows
        noise_space=options.noise_space,
    )
    data = _decode(files, request, card, params, settings)
    with progress_bar("stages") as progress:
        bar = progress.add_task("tuning", total=params.stages)
        bank = tune_bank(
            backbone,
            data.images,
            data.labels,
            task.class_names,
            params,
            noise=unit_noise(data.image_map, backbone.image_size),
            on_stage=lambda name: progress.update(bar, advance=1, description=name),
        )
        rejection, tuned_on = None, data.images
        facts: dict[str, object] = {}
        if options.rejection is not None:
            extra = RejectionParams(false_rejections=options.rejection, seed=params.seed)
            others = data.validation_images[0::2], data.validation_images[1::2]
            bank, rejection = tune_rejection(
                backbone,
                bank,
                bank.text_features(backbone, task.class_names),
                (data.images, data.labels),
                others,
                extra,
                params,
                on_stage=lambda name: progress.update(bar, description=name),
            )
            tuned_on, facts = torch.cat([data.images, others[0]]), {"rejection": asdict(extra)}
    epoch = EpochSecrets(settings.secrets_dir).current()
    return save_prompt(
        settings.prompts_dir,
        bank,
        name=options.name,
        method="bank",
        backbone=backbone,
        class_names=task.class_names,
        task=task.id,
        tuning={
            **asdict(params),
            **facts,
            "training_images": len(data.images),
            "data_sha256": data.sha256,
            "gate_sha256": bank.gate.sha256,
            **({} if data.image_map is None else {"noise_space": "image", "images": asdict(data.image_map)}),
        },
        measured=_measure(backbone, bank, data, task.class_names, params),
        tuned_on=TunedOn(keyed=(EpochDigests.of(epoch.secret, input_digests(tuned_on)),)),
        rejection=rejection,
    )


def _require_others(files: Sequence[Sequence[Path]], options: Namespace) -> None:
    """Checks, before anything is decoded, that an extra class has images beside the shots.

    Raises:
        Rejected: too_few_images.
    """
    left = sum(min(max(0, len(of_class) - options.shots), VALIDATION_PER_CLASS) for of_class in files)
    if options.rejection is not None and left < 2 * OTHERS_MIN:
        raise Rejected("too_few_images", f"`--rejection` needs {2 * OTHERS_MIN} images beside the shots, got {left}")


def _decode(
    files: Sequence[Sequence[Path]],
    request: CertifyRequest,
    card: BackboneCard,
    params: BankParams,
    settings: WorkerSettings,
) -> TuningSet:
    """Returns the shots and the images to measure as model inputs; it opens no other file.

    Args:
        files: The files of each class, in the order of their names.
        request: The classifier and the window.
        card: Its backbone.
        params: The parameters of the bank.
        settings: The limits of decoding.

    Raises:
        Rejected: An image cannot be read.
    """
    places = [(label, place) for label, of_class in enumerate(files) for place in range(len(of_class))]
    choice = replace(TuningParams.published("few_shot"), shots=params.shots, seed=params.seed)
    labels = [label for label, _ in places]
    class_names = request.classifier.class_names
    chosen = choose_images(labels, class_names, choice)

    maps: list[ImageMap] = []

    def model_input(index: int) -> Tensor:
        label, place = places[index]
        try:
            decoded, facts = decode_limited(files[label][place].read_bytes(), request, card, settings)
            if facts.noisy is not None:
                maps.append(facts.noisy.map)
                _check_one_shape(maps[0], maps[-1])
        except Rejected as rejected:  # the name of a file may be a patient's
            where = f"image {place + 1} of class {class_names[label]!r}, by name"
            raise Rejected(rejected.code, f"{where}: {rejected.detail}") from None
        return torch.from_numpy(decoded.pixels.copy())

    with progress_bar() as progress:
        indices = [*chosen.training, *chosen.validation]
        inputs = [model_input(index) for index in progress.track(indices, description="decoding")]
    shots = len(chosen.training)
    images, truth = torch.stack(inputs), torch.tensor([labels[index] for index in indices])
    return TuningSet(
        images=images[:shots],
        labels=truth[:shots],
        validation_images=images[shots:],
        validation_labels=truth[shots:],
        image_map=maps[0] if maps else None,
    )


def _check_one_shape(first: ImageMap, found: ImageMap) -> None:
    if found != first:
        sizes = " and ".join(f"{each.of_rows} x {each.of_columns} x {each.channels}" for each in (found, first))
        raise Rejected("image_sizes_differ", f"`--noise-space image` needs images of one shape, got {sizes}")


def _measure(
    backbone: Backbone, bank: Bank, data: TuningSet, class_names: Sequence[str], params: BankParams
) -> dict[str, object]:
    """Returns the accuracy for one noisy copy of each validation image at every sigma of the gate."""
    # The threshold of an extra class was set on every other image.
    first, step = (0, 1) if bank.rejection is None else (1, 2)
    images, labels = data.validation_images[first::step], data.validation_labels[first::step]
    if not len(images):
        return {}
    noise = unit_noise(data.image_map, backbone.image_size)
    measured = partial(bank_accuracy, backbone, bank, images, labels, class_names, seed=params.seed, noise=noise)
    accuracy = [{"sigma": sigma, "accuracy": measured(sigma=sigma)} for sigma in params.sigmas]
    return {"validation": {"images": len(images), "noisy_accuracy": accuracy, "seed": params.seed}}
