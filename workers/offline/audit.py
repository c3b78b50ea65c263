"""`certrad audit --images DIR`: decodes images as intake does, attacks them, and certifies the attacked images."""

import json
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from certrad.models.adapters.store import AdapterStore
from certrad.models.audit.modes import ModeSpec, box_spec, chosen_modes, mode_specs, split_modes
from certrad.models.audit.runner import AuditSettings, audit, images_sha256, load_audit, open_journal
from certrad.models.audit.verdict import SOUND, Verdict, as_markdown
from certrad.models.audit.window_boxes import BoxVerdict, boxes_as_markdown
from certrad.models.backbones.device import chosen_device, chosen_precision
from certrad.models.errors import Rejected
from certrad.models.installed import Cards, installed_cards
from certrad.models.prompts.store import PromptStore
from certrad.models.types import CertifyRequest, FixedSigma, SamplingParams
from certrad.models.types.defaults import default_prompts
from certrad.models.types.pixels import WHITE
from certrad.models.types.window import FileWindow
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.intake.image_folder import distinct_images, low_contrast_note, tell_refused
from certrad.workers.offline.classifiers import of_task
from certrad.workers.offline.progress import progress_bar
from certrad.workers.offline.settings import settings_of
from certrad.workers.offline.window_box_audit import audit_boxes
from certrad.workers.settings import WorkerSettings

NOTES: Final = (
    "contradiction: an image and its attacked version, certified for different classes, one within the other's radius",
    "p-value: P(Bin(images, (1 + targets) alpha) >= contradictions), the chance of so many where every certificate "
    f"holds; a mode below {SOUND} does not keep its claim",
    "attacked as the model sees the images: 3 x S x S integers in 0..255, within 0.95 of the radius",
    "frozen_prompt and planted modes do not claim what is tested here; their figures stand for comparison",
)
BOX_NOTE: Final = (
    "box: centre ±26 grey levels, width x1.28, without noise; true windows are opened on a grid and at random. The "
    "claim is exact: one other answer or one untried rendering refutes it"
)
_UNNOTICED: Final = "not even the planted mode was caught: on these images the audit has no power"


def audit_images(options: Namespace) -> int:
    """Audits and prints.

    Returns:
        The exit code: 0 if nothing contradicts an `input_independent` mode, 1 otherwise, 2 for bad usage.
    """
    service = settings_of(WorkerSettings, options.data_dir)
    store, adapters = PromptStore(own=service.prompts_dir), AdapterStore(own=service.adapters_dir)
    try:
        cards = installed_cards(service.cards_dir, service.prompts_dir, service.adapters_dir)
        specs = _specs(options, store, cards, adapters)
        card = cards.backbones[specs[0].classifier.backbone]
        # An image that counted twice would get the same noise twice; the p-value takes the answers for independent.
        window = FileWindow.of_task(cards.tasks[options.task].windows)
        request = CertifyRequest(classifier=specs[0].classifier, window=window)
        warned: Counter[str] = Counter()
        images, refused = distinct_images(
            options.images,
            options.limit,
            request,
            card,
            service,
            _on_grid,
            on_facts=lambda facts: warned.update(facts.warnings),
        )
        device = chosen_device(service.device)
        settings = AuditSettings(
            modes=tuple(specs),
            images_sha256=images_sha256(images),
            targets=options.targets,
            device=device.type,
            dtype=chosen_precision(service.dtype, device),
            seed=options.seed,
        )
        journal = open_journal(options.journal, settings)
    except (ValueError, OSError, Rejected) as error:
        return fail(str(error), BAD_USAGE)
    processes = (options.processes or min(64, os.cpu_count() or 1)) if settings.device == "cpu" else 1
    radii, box_modes = split_modes(options.modes)
    verdicts, boxes = list[Verdict](), list[BoxVerdict]()
    try:
        with progress_bar() as progress:
            bar = progress.add_task("audit", total=len(images) * ((radii != "") + bool(box_modes)))
            if box_modes:
                of_box = replace(settings, modes=(box_spec(_every_spec(options, store, cards, adapters)),))
                loaded = load_audit(of_box, card, service.backbones_dir, store, adapters)
                boxes = audit_boxes(
                    box_modes,
                    images,
                    loaded,
                    card,
                    options.seed,
                    on_image=lambda: progress.advance(bar),
                )
            if radii != "":
                verdicts = audit(
                    images,
                    settings,
                    card,
                    service.backbones_dir,
                    store,
                    adapters,
                    journal=journal,
                    processes=processes,
                    on_image=lambda: progress.advance(bar),
                )
    except Rejected as rejected:
        return fail(str(rejected), FAILURE)
    tell_refused(refused)
    _show(verdicts, boxes, warned["low_contrast"], len(images), settings, as_json=options.json)
    return FAILURE if any([*(verdict.broken for verdict in verdicts), *(verdict.broken for verdict in boxes)]) else DONE


def _specs(options: Namespace, store: PromptStore, cards: Cards, adapters: AdapterStore) -> list[ModeSpec]:
    """Returns the modes of a radius that the options name, else that of boxes, with the named prompt or the task's own.

    Raises:
        ValueError: A mode is unknown.
        Rejected: The prompt cannot be used.
    """
    specs, (radii, _) = _every_spec(options, store, cards, adapters), split_modes(options.modes)
    return [box_spec(specs)] if radii == "" else chosen_modes(specs, radii)


def _every_spec(options: Namespace, store: PromptStore, cards: Cards, adapters: AdapterStore) -> list[ModeSpec]:
    task = cards.tasks[options.task]
    named = {name: getattr(options, name) for name in ("backbone", "prompt", "adapter")}
    choice = of_task(task, store, cards.prompts, adapters, **named)
    usable = (None, None if choice.adapter is None else choice.adapter.sha256)
    own = [
        card
        for card in default_prompts(task, cards.prompts)
        if card.backbone == choice.backbone and card.adapter_sha256 in usable
    ]
    prompts = own if options.prompt is None or choice.prompt is None else [choice.prompt]
    sigma, params = FixedSigma(options.sigma), SamplingParams(n=options.n)
    return mode_specs(task, choice.backbone, prompts, sigma, params, choice.adapter_id)


def _on_grid(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(pixels.astype(np.float64) * WHITE).astype(np.uint8)


def _show(
    verdicts: Sequence[Verdict],
    boxes: Sequence[BoxVerdict],
    flat: int,
    images: int,
    settings: AuditSettings,
    *,
    as_json: bool,
) -> None:
    if as_json:
        document = {
            "sound": not any([*(verdict.broken for verdict in verdicts), *(verdict.broken for verdict in boxes)]),
            "low_contrast": flat,
            "verdicts": [asdict(verdict) for verdict in verdicts],
            **({"window_boxes": [asdict(verdict) for verdict in boxes]} if boxes else {}),
            "settings": asdict(settings),
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    if boxes:
        sys.stdout.write(boxes_as_markdown(boxes) + BOX_NOTE + "\n")
    if boxes and not verdicts:
        return
    notes = "".join(f"{note}\n" for note in NOTES)
    sys.stdout.write(as_markdown(verdicts) + low_contrast_note(flat, images) + notes)
    if any(verdict.planted and verdict.p_value >= SOUND for verdict in verdicts):
        sys.stdout.write(f"{_UNNOTICED}\n")
