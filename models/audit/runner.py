"""An audit of many images: several processes, and a journal from which an interrupted run resumes.

Images are audited as the model sees them, on the grid of its input: (3, S, S) integers in 0..255. An image of that size
reaches the model unchanged, so every attacked image could be sent to the service.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.store import AdapterStore
from certrad.models.attacks.smooth_adv import SmoothAdv
from certrad.models.audit.contradictions import Audit, Finding
from certrad.models.audit.modes import ModeSpec, build_modes
from certrad.models.audit.verdict import Verdict, summarise
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.backbones.device import loading_dtype
from certrad.models.backbones.openvino_tower import in_precision
from certrad.models.evaluation.journal import Journal
from certrad.models.prompts.checkpoint import require_backbone
from certrad.models.prompts.store import PromptStore
from certrad.models.smoothing.device import default_batch_size, noise_law
from certrad.models.types import TEMPLATE_PROMPT, BackboneCard
from certrad.models.types.defaults import require_adapter

Images = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Everything that decides the findings: modes, attack, device, the digest of the images, the seed of all noise.

    Attributes:
        modes: the modes to audit.
        images_sha256: digest of the images, see `images_sha256`.
        attack: settings of the attack.
        targets: see `Audit`.
        device: `cpu` or `cuda`.
        dtype: name of the dtype of the image encoder.
        seed: random seed of all noise.
    """

    modes: tuple[ModeSpec, ...]
    images_sha256: str
    attack: SmoothAdv = field(default_factory=SmoothAdv)
    targets: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0


def images_sha256(images: Images) -> str:
    """Returns the SHA-256 over shape and pixels of all images, in their order."""
    hasher = hashlib.sha256()
    for pixels in images:
        hasher.update(f"{pixels.shape}".encode() + pixels.tobytes())
    return hasher.hexdigest()


def load_audit(
    settings: AuditSettings, card: BackboneCard, backbones: Path, prompts: PromptStore, adapters: AdapterStore
) -> Audit:
    """Returns the audit of these settings, with backbone and prompts loaded.

    Args:
        settings: the settings.
        card: the backbone that all modes name.
        backbones: folder of the files of the backbones.
        prompts: the prompt checkpoints.
        adapters: the adapters of image encoders.

    Raises:
        Rejected: for unknown or damaged files, a prompt of another backbone, or a template that cannot be adapted.
    """
    backbone = load_backbone(
        card, weights_directory(card, backbones), device=settings.device, dtype=loading_dtype(settings.dtype)
    )
    (adapter_id,) = {spec.classifier.adapter for spec in settings.modes}  # one encoder serves all modes
    adapter = None if adapter_id is None else adapters.card(adapter_id)
    if adapter is not None:
        backbone = adapted(backbone, adapters.load(adapter))
    backbone = in_precision(backbone, settings.dtype)
    learned = {}
    for prompt_id in {spec.classifier.prompt for spec in settings.modes} - {TEMPLATE_PROMPT}:
        prompt = prompts.card(prompt_id)
        require_backbone(prompt, backbone)
        require_adapter(prompt, None if adapter is None else adapter.sha256)
        learned[prompt_id] = prompts.load(prompt)
    return Audit(
        modes=build_modes(settings.modes, backbone, learned),
        encode=backbone.encode_image,
        secret=hashlib.sha256(f"certrad audit {settings.seed}".encode()).digest(),
        attack=settings.attack,
        targets=settings.targets,
        device=backbone.device,
        law=noise_law(backbone.device),
        batch_size=default_batch_size(backbone.device),
    )


def open_journal(path: Path | None, settings: AuditSettings) -> Journal:
    """Returns the journal of the findings of earlier runs with these settings.

    Raises:
        ValueError: if the file belongs to other settings.
    """
    return Journal(path, json.dumps(asdict(settings), sort_keys=True))


def audit(
    images: Images,
    settings: AuditSettings,
    card: BackboneCard,
    backbones: Path,
    prompts: PromptStore,
    adapters: AdapterStore,
    *,
    journal: Journal,
    processes: int,
    on_image: Callable[[], None] = lambda: None,
) -> list[Verdict]:
    """Returns the verdict on each mode; findings in the journal, see `open_journal`, are not computed again.

    Args:
        images: (3, S, S) on the grid 0..255.
        settings: the settings.
        card: the backbone that all modes name.
        backbones: folder of the files of the backbones.
        prompts: the prompt checkpoints.
        adapters: the adapters of image encoders.
        journal: the findings so far; new ones are appended.
        processes: number of processes; each loads the models and computes in one thread.
        on_image: called for every finished image, including those in the journal.

    Raises:
        Rejected: as `load_audit` does.
    """
    by_index = dict(map(_from_line, journal.lines))
    for _ in by_index:
        on_image()
    missing = [index for index in range(len(images)) if index not in by_index]
    start = partial(_start, settings, card, backbones, prompts, adapters)
    for index, findings in _compute_findings(images, missing, start, min(processes, len(missing))):
        journal.append(_to_line(index, findings))
        by_index[index] = findings
        on_image()
    return [
        summarise(spec, [by_index[index][place] for index in range(len(images))], settings.targets)
        for place, spec in enumerate(settings.modes)
    ]


def _compute_findings(
    images: Images, missing: Sequence[int], start: Callable[[], None], processes: int
) -> Iterator[tuple[int, list[Finding]]]:
    """Yields the findings of the missing images as they are completed."""
    if not missing:
        return
    start()  # here first: an error names the file that cannot be loaded; in a pool it would be a broken pool
    if processes == 1:
        yield from ((index, _findings(images[index])) for index in missing)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=start) as pool:
        running = {pool.submit(_findings, images[index]): index for index in missing}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_audit: Audit
"""The audit of this process, loaded once by `_start`."""


def _start(
    settings: AuditSettings, card: BackboneCard, backbones: Path, prompts: PromptStore, adapters: AdapterStore
) -> None:
    global _audit  # what the initializer of a process pool is for
    torch.set_num_threads(1)
    _audit = load_audit(settings, card, backbones, prompts, adapters)


def _findings(pixels: NDArray[np.uint8]) -> list[Finding]:
    return _audit.findings(pixels)


def _to_line(index: int, findings: Sequence[Finding]) -> str:
    return json.dumps({"image": index, "findings": [asdict(finding) for finding in findings]})


def _from_line(line: str) -> tuple[int, list[Finding]]:
    document = json.loads(line)
    return document["image"], [Finding.from_json(finding) for finding in document["findings"]]
