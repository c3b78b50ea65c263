"""The audit of every mode on MedNIST test images: attacks within 0.95 of the radius, and certificates that contradict.

    python -m certrad.bench audit --data mednist.zip --journal audit.jsonl --out audit.json

The images are chosen before anything is known of them: a random sample of the test split, as many of each class. Each
is attacked on its own grid, 0..255 in each of three channels; a picture of that kind reaches the model unchanged. A run
that was stopped goes on where the journal ends.
"""

import argparse
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from certrad.bench.common.classifier import tuned_on
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, equal_sample, read_split
from certrad.bench.common.options import add_dtype
from certrad.models.adapters.store import AdapterStore
from certrad.models.audit.modes import box_spec, chosen_modes, mode_specs, split_modes
from certrad.models.audit.runner import AuditSettings, audit, images_sha256, load_audit, open_journal
from certrad.models.audit.verdict import Verdict, as_markdown
from certrad.models.audit.window_boxes import BoxVerdict, boxes_as_markdown
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.prompts.store import PromptStore
from certrad.models.shipped import SHIPPED_ADAPTERS, SHIPPED_PROMPTS, shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.types import FixedSigma, SamplingParams
from certrad.workers.offline.window_box_audit import audit_boxes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--journal", type=Path, required=True, help="scratch file, one JSON line an image")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument("--images", type=int, default=102, help="rounded up to as many of each class")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.25], help="of all modes but auto")
    parser.add_argument("--modes", help="names, separated by commas, for example gated/auto; default: all")
    parser.add_argument("--targets", type=int, default=1, help="classes each image is attacked towards")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="each computes in one thread")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images and of all noise")
    add_dtype(parser)
    parser.add_argument("--json", action="store_true", help="print the result, not the table")


def run(arguments: argparse.Namespace) -> None:
    """Audit what the journal lacks, then write and print the verdicts."""
    machine = this_machine()
    task = shipped_tasks()[TASK]
    cards = shipped_prompts()
    prompts = [cards[name] for name in (task.default_prompt, task.default_bank) if name is not None]
    split = read_split(arguments.data, "test")
    chosen = equal_sample(split.labels, len(task.class_names), arguments.images, arguments.seed)
    images = [np.repeat(split.pixels[index][None], 3, axis=0) for index in chosen]
    specs = [
        spec
        for sigma in arguments.sigmas
        for spec in mode_specs(
            task,
            task.default_backbone,
            prompts,
            FixedSigma(sigma),
            SamplingParams(n=arguments.n),
            tuned_on(prompts) or task.default_adapter,
        )
    ]
    radii, box_modes = split_modes(arguments.modes)
    settings = AuditSettings(
        modes=(box_spec(specs),) if radii == "" else tuple(chosen_modes(specs, radii)),
        images_sha256=images_sha256(images),
        targets=arguments.targets,
        seed=arguments.seed,
        dtype=dtype_name(chosen_dtype(arguments.dtype, torch.device("cpu"))),
    )
    files = (
        shipped_backbones()[task.default_backbone],
        Path("backbones"),
        PromptStore(own=SHIPPED_PROMPTS),
        AdapterStore(own=SHIPPED_ADAPTERS),
    )
    verdicts, boxes = list[Verdict](), list[BoxVerdict]()
    with tqdm(total=len(images) * ((radii != "") + bool(box_modes)), unit="image") as progress:
        if box_modes:
            loaded = load_audit(replace(settings, modes=(box_spec(specs),)), *files)
            boxes = audit_boxes(
                box_modes,
                images,
                loaded,
                files[0],
                arguments.seed,
                on_image=progress.update,
            )
        if radii != "":
            verdicts = audit(
                images,
                settings,
                *files,
                processes=arguments.processes,
                journal=open_journal(arguments.journal, settings),
                on_image=progress.update,
            )
    document = {
        "settings": asdict(settings),
        "data_sha256": file_sha256(arguments.data),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "window_boxes": [asdict(verdict) for verdict in boxes],
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    table = (boxes_as_markdown(boxes) if boxes else "") + (as_markdown(verdicts) if verdicts else "")
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(json.dumps(document, indent=2) if arguments.json else table)
