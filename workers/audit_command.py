"""`certrad audit --images DIR`: images decoded as intake decodes uploads, attacked, and asked about again."""

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.attacks.smooth_adv import WHITE
from models.audit import SOUND, ModeSpec, Verdict
from models.backbones.precision import chosen_dtype, dtype_name
from models.errors import Rejected
from models.types import CertifyRequest, SmoothingParams
from workers.audit import AuditSettings, Folders, as_markdown, audit, images_sha256, open_journal
from workers.audit_modes import mode_specs
from workers.contract.cards import shipped_backbones, shipped_tasks
from workers.intake import decode_limited
from workers.settings import WorkerSettings

_FAILURE: Final = 1
_BAD_USAGE: Final = 2

_Value = TypeVar("_Value")

NOTES: Final = (
    "contradiction: an image and its attacked version, certified for different classes, one within the other's radius",
    "p-value: P(Bin(images, 2 alpha) >= contradictions), the chance of so many where every certificate holds; a mode "
    f"below {SOUND} does not keep its claim",
    "attacked as the model sees the images: 3 x S x S integers in 0..255, within 0.95 of the radius",
    "frozen_prompt and planted modes do not claim what is tested here; their figures stand for comparison",
)
_UNNOTICED: Final = "not even the planted mode was caught: on these images the audit has no power"


def run(options: Namespace) -> int:
    """Audits and prints; 0 when nothing contradicts an `input_independent` mode, 1 otherwise, 2 for bad usage."""
    service = WorkerSettings()
    folders = Folders(backbones=service.backbones_dir, prompts=service.prompts_dir)
    try:
        specs = _specs(options, folders)
        images, refused = _decoded(options.images, options.limit, specs[0], service)
        device = _device(service.device)
        settings = AuditSettings(
            modes=tuple(specs),
            images_sha256=images_sha256(images),
            device=device,
            dtype=dtype_name(chosen_dtype(service.dtype, torch.device(device))),
            seed=options.seed,
        )
        journal = open_journal(options.journal, settings)
    except (ValueError, OSError, Rejected) as error:
        return _fail(str(error), _BAD_USAGE)
    processes = options.processes if settings.device == "cpu" else 1
    try:
        with _progress() as progress:
            bar = progress.add_task("audit", total=len(images))
            verdicts = audit(
                images,
                settings,
                folders,
                journal=journal,
                processes=processes,
                on_image=lambda: progress.advance(bar),
            )
    except Rejected as rejected:
        return _fail(str(rejected), _FAILURE)
    _show(verdicts, refused, settings, as_json=options.json)
    return _FAILURE if any(verdict.broken for verdict in verdicts) else 0


def _specs(options: Namespace, folders: Folders) -> list[ModeSpec]:
    """The modes asked for, on the backbone and with the prompt named, else the task's. Raises ValueError, Rejected."""
    task = _named("--task", options.task, shipped_tasks())
    backbone = _named("--backbone", options.backbone or task.default_backbone, shipped_backbones()).id
    own = (task.default_prompt, task.default_bank) if backbone == task.default_backbone else ()
    prompts = [folders.prompt_card(name) for name in ((options.prompt,) if options.prompt else own) if name is not None]
    for card in prompts:
        if (card.backbone, card.class_names) != (backbone, task.class_names):
            raise ValueError(f"prompt {card.id!r} is not of backbone {backbone!r} and the classes of task {task.id!r}")
    specs = mode_specs(task, backbone, prompts, SmoothingParams(sigma=options.sigma, n=options.n))
    by_name = {spec.name: spec for spec in specs}
    return [_named("--modes", name, by_name) for name in options.modes.split(",")] if options.modes else specs


def _device(wish: str) -> str:
    if wish != "auto":
        return wish
    return "cuda" if torch.cuda.is_available() else "cpu"


def _named(option: str, name: str, known: Mapping[str, _Value]) -> _Value:
    if name not in known:
        raise ValueError(f"{option} is expected of {', '.join(known)}, got {name!r}")
    return known[name]


def _decoded(
    directory: Path, limit: int | None, spec: ModeSpec, service: WorkerSettings
) -> tuple[list[NDArray[np.uint8]], Counter[str]]:
    """The model inputs of the first images of a folder, by name, rounded to the grid; and why files were left out.

    Raises ValueError where no file is an image.
    """
    request = CertifyRequest(classifier=spec.classifier, params=spec.params)
    images: list[NDArray[np.uint8]] = []
    refused: Counter[str] = Counter()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        if len(images) == limit:
            break
        try:
            decoded, _ = decode_limited(path.read_bytes(), request, service)
        except Rejected as rejected:
            refused[rejected.code] += 1
        else:
            images.append(np.rint(decoded.pixels.astype(np.float64) * WHITE).astype(np.uint8))
    if not images:
        raise ValueError(f"no image in {directory} could be read: {dict(refused)}")
    return images, refused


def _show(verdicts: Sequence[Verdict], refused: Counter[str], settings: AuditSettings, *, as_json: bool) -> None:
    """The result on standard output; what was left out on standard error, by reason, for a name may be a patient's."""
    for code, files in sorted(refused.items()):
        sys.stderr.write(f"certrad: {files} {'file' if files == 1 else 'files'} left out: {code}\n")
    if as_json:
        sound = not any(verdict.broken for verdict in verdicts)
        document = {"sound": sound, "verdicts": [asdict(verdict) for verdict in verdicts], "settings": asdict(settings)}
        sys.stdout.write(json.dumps(document) + "\n")
        return
    sys.stdout.write(as_markdown(verdicts) + "".join(f"{note}\n" for note in NOTES))
    if any(verdict.planted and verdict.p_value >= SOUND for verdict in verdicts):
        sys.stdout.write(f"{_UNNOTICED}\n")


def _progress() -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"certrad: {message}\n")
    return code
