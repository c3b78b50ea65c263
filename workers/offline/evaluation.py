"""`certrad evaluate --task NAME --data DIR`: certified accuracy on a split of a data set, offline."""

import hashlib
import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import chosen_device, chosen_precision
from certrad.models.backbones.weights import write_json
from certrad.models.datasets.cards import published_labels
from certrad.models.datasets.sample import balanced_sample
from certrad.models.datasets.split import Split, load_split
from certrad.models.errors import Rejected
from certrad.models.evaluation.certified import COLUMNS, Evaluation, Row, summary
from certrad.models.evaluation.journal import Journal
from certrad.models.evaluation.noised_image import RENDERED, NoisedImage
from certrad.models.images.model_input import fitted, is_flat
from certrad.models.installed import installed_cards
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import require_backbone
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.store import PromptStore
from certrad.models.smoothing.device import default_batch_size
from certrad.models.types import (
    AdapterCard,
    BackboneCard,
    ClassifierSpec,
    DatasetCard,
    PromptCard,
    SmoothingParams,
)
from certrad.models.types.defaults import choose_classifier, default_prompts
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.window import FileWindow
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.intake.archive import match_classes
from certrad.workers.intake.file_decoding import decode_as_uploaded, decode_published
from certrad.workers.intake.image_folder import low_contrast_note
from certrad.workers.offline import classifiers
from certrad.workers.offline.accuracy_table import accuracy_table
from certrad.workers.offline.evaluation_data import data_of
from certrad.workers.offline.progress import progress_bar
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import WorkerSettings

_FROZEN: Final = (
    "frozen_prompt: the prompt was tuned on each image itself; the radius holds for the classifier with that prompt"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationRequest:
    """The evaluation to run, with every default filled in.

    Attributes:
        chosen: Indices into the split.
        folders: The split's names for the classes of the classifier.
    """

    data: DatasetCard
    split: Split
    chosen: Sequence[int]
    backbone: BackboneCard
    prompt: PromptCard | None
    adapter: AdapterCard | None
    spec: ClassifierSpec
    params: SmoothingParams
    folders: Sequence[str]
    noise_space: NoiseSpace


def evaluate_data(options: Namespace) -> int:
    """Evaluates, appends to the table, and prints.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    service = settings_of(WorkerSettings, options.data_dir)
    store = PromptStore(own=service.prompts_dir)
    try:
        request = _request(options, store, service)
        backbone, prompt = _load(request, store, service)
        settings = _settings(request, backbone, options, service)
        journal = _journal(options.out, settings)
        done = [Row.from_line(line) for line in journal.lines]
    except (ValueError, OSError, Rejected) as error:
        return fail(str(error), BAD_USAGE)
    evaluation = Evaluation(
        backbone=backbone,
        spec=request.spec,
        classes=[request.split.class_names.index(folder) for folder in request.folders],
        prompt=prompt,
        params=request.params,
        seed=options.seed,
        batch_size=settings["batch_size"],
    )
    present = {row.index for row in done}
    flat: list[int] = []
    missing = [index for index in request.chosen if index not in present]
    try:
        with progress_bar() as progress:
            bar = progress.add_task("evaluate", total=len(request.chosen), completed=len(done))
            for row in evaluation.certified(_inputs(request, missing, flat), time.perf_counter):
                journal.append(row.to_line())
                done.append(row)
                progress.advance(bar)
    except (OSError, Rejected) as error:
        return fail(str(error), FAILURE)
    _show(summary(done), settings, request, as_json=options.json)
    # It is about the images of this run, and the JSON about the whole table.
    (sys.stderr if options.json else sys.stdout).write(low_contrast_note(len(flat), len(missing)))
    if options.plot is not None:
        # It needs matplotlib, which only the extra `bench` installs.
        from certrad.workers.offline.plot import Curve, curve_label, draw

        draw([Curve(name=curve_label(request.data.id, settings, len(done)), rows=done)], options.plot)
    return DONE


def _request(options: Namespace, store: PromptStore, service: WorkerSettings) -> EvaluationRequest:
    """Returns the options with every default filled in.

    Raises:
        ValueError: The options do not go together.
        Rejected: The data set, prompt or backbone cannot be used.
    """
    cards = installed_cards(service.cards_dir, service.prompts_dir, service.adapters_dir)
    data, task = data_of(options.task, cards)
    params = SmoothingParams(sigma=options.sigma, alpha=options.alpha, n0=options.n0, n=options.n)
    prompt, adapters = classifiers.named_prompt(options.prompt, store), AdapterStore(own=service.adapters_dir)
    window = FileWindow.of_task(task.windows if task else ())
    own = partial(decode_as_uploaded, max_pixels=service.max_pixels, window=window)
    published = partial(decode_published, window=window)
    split = load_split(data, options.data, options.split, decode=own if data.layout == "folders" else published)
    class_names = tuple(dict.fromkeys(split.class_names))  # two classes of ImageNet share a name, twice
    folders = class_names
    of_folders = prompt if isinstance(prompt, PromptCard) else task
    if of_folders is not None and data.layout == "folders":  # matched as those of a tuning
        labels = published_labels(prompt.task) if isinstance(prompt, PromptCard) else ()
        match = match_classes(class_names, of_folders.class_names, labels)
        class_names, folders = match.class_names, match.folders
    choice = choose_classifier(
        class_names=class_names,
        candidates=default_prompts(task, cards.prompts) if task else [],
        default_backbone=task.default_backbone if task else data.default_backbone,
        backbone=options.backbone,
        prompt=prompt,
        adaptation=options.adaptation,
        adapter=classifiers.named_adapter(options.adapter, adapters),
        adapters=classifiers.stored_adapters(adapters),
        default_adapter=task.default_adapter if task else None,
    )
    if choice.rejection is not None:
        choice.rejection.require(params.sigma)
        if options.noise_space != DEFAULT_NOISE_SPACE:
            raise ValueError("`--noise-space image` does not go with a bank that has an extra class")
    return EvaluationRequest(
        data=data,
        split=split,
        chosen=balanced_sample(split.labels, len(split.class_names), min(options.images, len(split)), options.seed),
        backbone=cards.backbones[choice.backbone],
        prompt=choice.prompt,
        adapter=choice.adapter,
        spec=ClassifierSpec(
            backbone=choice.backbone,
            prompt=choice.prompt_id,
            class_names=choice.answers(class_names),
            template=choice.template(classifiers.hand_written(options.template, split.template, choice)),
            adaptation=choice.adaptation,
            adapter=choice.adapter_id,
        ),
        params=params,
        folders=folders,
        noise_space=options.noise_space,
    )


def _load(
    request: EvaluationRequest, store: PromptStore, service: WorkerSettings
) -> tuple[Backbone, ContextVectors | Bank | None]:
    torch.set_num_threads(service.threads)
    device = chosen_device(service.device)
    dtype = chosen_precision(service.dtype, device)
    backbone = classifiers.load_encoder(request.backbone, request.adapter, service, device=device, dtype=dtype)
    if request.prompt is None:
        return backbone, None
    require_backbone(request.prompt, backbone)
    return backbone, store.load(request.prompt)


def _settings(
    request: EvaluationRequest, backbone: Backbone, options: Namespace, service: WorkerSettings
) -> dict[str, Any]:
    """Returns everything that decides the rows, as JSON."""
    images = [(request.split.items[index].name, request.split.label(index)) for index in request.chosen]
    document = {
        "data": request.data.id,
        "split": options.split,
        "split_rule": request.split.rule,
        "images_of_split": len(request.split),
        "images": len(images),
        "images_sha256": hashlib.sha256(json.dumps(images).encode()).hexdigest(),
        "classifier": asdict(request.spec),
        "scope": request.spec.scope,
        "params": asdict(request.params),
        "backbone_sha256": backbone.sha256,
        "adapter_sha256": None if request.adapter is None else request.adapter.sha256,
        "dtype": backbone.precision,
        "device": backbone.device.type,
        "batch_size": service.block_size or default_batch_size(backbone.device),
        "seed": options.seed,
        **({} if request.noise_space == DEFAULT_NOISE_SPACE else {"noise_space": request.noise_space}),
    }
    restored: dict[str, Any] = json.loads(json.dumps(document))
    return restored


def _journal(out: Path | None, settings: dict[str, Any]) -> Journal:
    """Returns the table, from which an interrupted run resumes; the JSON file beside it holds the settings of its rows.

    Raises:
        ValueError: The table belongs to other settings.
    """
    if out is not None:
        beside = out.with_suffix(".json")
        if out.exists() and not beside.exists():
            raise ValueError(f"{out} exists without {beside.name}, which says what its rows are; choose another file")
        if beside.exists() and json.loads(beside.read_text(encoding="utf-8")) != settings:
            raise ValueError(f"{beside} says that {out} belongs to other settings; choose another file or delete both")
        write_json(beside, settings)
    return Journal(out, "\t".join(COLUMNS))


def _inputs(
    request: EvaluationRequest, indices: Sequence[int], flat: list[int]
) -> Iterator[tuple[int, int, NoisedImage]]:
    """Yields index, label and what noise is added to; the indices of images of nearly one grey go into `flat`.

    Raises:
        Rejected: An image cannot be read; the message has its index, because a name may be a patient's.
    """
    size, fit = request.backbone.image_size, request.backbone.fit
    for index in indices:
        try:
            image = request.split.image(index)
            seen = fitted(image, size, fit)
        except Rejected as rejected:
            raise Rejected(rejected.code, f"image {index} of the split, by name: {rejected.detail}") from None
        if is_flat(seen, (image.shape[0], image.shape[1]), fit):
            flat.append(index)
        yield index, request.split.label(index), NoisedImage.of(seen, image, fit, request.noise_space)


def _show(found: dict[str, Any], settings: dict[str, Any], request: EvaluationRequest, *, as_json: bool) -> None:
    if as_json:
        shares = {
            **found,
            **{name: asdict(found[name]) for name in ("abstained", "rejected")},
            "certified_accuracy": {radius: asdict(share) for radius, share in found["certified_accuracy"].items()},
        }
        sys.stdout.write(json.dumps({"settings": settings, **shares}) + "\n")
        return
    table = accuracy_table(found, with_extra_class=request.spec.rejection_index is not None)
    seen = f"{found['images']} of {len(request.split)} images, n = {request.params.n}, σ = {request.params.sigma:g}"
    notes = [f"{seen}, {found['seconds_per_image']} s an image; intervals: exact, 95%"]
    if request.split.rule == "seeded":
        notes.append("the split was drawn with a fixed seed: there is no published one, or its file is not there")
    notes += [RENDERED] if request.noise_space == "image" else []
    if settings["scope"] == "frozen_prompt":
        notes.append(_FROZEN)
    sys.stdout.write("\n".join([*table, *notes]) + "\n")
