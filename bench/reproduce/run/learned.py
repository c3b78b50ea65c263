"""Prompts and denoisers that the methods need, learned once, kept in the folder of results, resumed after a kill."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from certrad.bench.reproduce.run.materials import READ_TOGETHER, Materials, inputs, listing_sha256
from certrad.models.attacks.pgd import PgdParams
from certrad.models.backbones.base import Backbone
from certrad.models.datasets.split import Split
from certrad.models.files import replace_file
from certrad.models.prompts.checkpoint import load_prompt, read_prompt_card, save_prompt
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.training.embedding_bank import (
    embedding_bank_features,
    embedding_bank_from_bytes,
    embedding_bank_rows,
    embedding_bank_sha256,
    embedding_bank_to_bytes,
)
from certrad.models.prompts.training.image_choice import choose_images
from certrad.models.prompts.training.trainer import train_epochs
from certrad.models.prompts.training.trainer_state import TrainerState
from certrad.models.prompts.training.tuning import TuningSet, attack_params, trainer_params, tune_epochs
from certrad.models.types import PromptCard
from certrad.models.types.tuning import TuningParams


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedPrompt:
    """A tuned prompt, and the seconds that its images, its bank and its epochs took."""

    context: ContextVectors
    card: PromptCard

    @property
    def seconds(self) -> float:
        """Training time on the machine it was trained on; the embedding bank is part of it."""
        return float(self.card.tuning["seconds"])


def prompt_of_images(
    materials: Materials, backbone: Backbone, dataset: str, split: Split, params: TuningParams
) -> LearnedPrompt:
    """The prompt learned from labelled images, as PromptSmooth and CoOp do. split: the training images."""
    name = _name(backbone, dataset, split, params, "images")
    if (known := _known(materials, name)) is not None:
        return known
    started = time.perf_counter()
    chosen = choose_images(split.labels.tolist(), split.class_names, params).training
    images = inputs(split, chosen, backbone.card)
    data = TuningSet(
        images=images,
        labels=torch.from_numpy(split.labels[list(chosen)]),
        validation_images=images[:0],
        validation_labels=torch.empty(0, dtype=torch.int64),
    )
    progress = _Progress(materials.out / "prompts" / f"{name}.part", started)
    states = tune_epochs(backbone, data, split.class_names, params, resume=progress.state)
    return _trained(materials, backbone, split, params, name, progress, states, data.sha256)


def prompt_of_embeddings(
    materials: Materials, backbone: Backbone, dataset: str, split: Split, params: TuningParams
) -> LearnedPrompt:
    """The prompt learned from an embedding bank by AdvPT's recipe: adversarial for `advpt`, clean for `coop`."""
    name = _name(backbone, dataset, split, params, "embeddings")
    if (known := _known(materials, name)) is not None:
        return known
    attack = attack_params(params) if params.method == "advpt" else None
    chosen = choose_images(split.labels.tolist(), split.class_names, params).training
    bank, seconds = embeddings(materials, backbone, split, chosen, attack)
    progress = _Progress(materials.out / "prompts" / f"{name}.part", time.perf_counter() - seconds)
    labels = torch.from_numpy(split.labels[list(chosen)])
    states = train_epochs(
        backbone,
        embedding_bank_features(bank),
        labels,
        split.class_names,
        trainer_params(params),
        resume=progress.state,
    )
    digest = hashlib.sha256(embedding_bank_to_bytes(bank)).hexdigest()
    return _trained(materials, backbone, split, params, name, progress, states, digest)


def embeddings(
    materials: Materials, backbone: Backbone, split: Split, chosen: Sequence[int], attack: PgdParams | None
) -> tuple[Tensor, float]:
    """Image features (N, D) of the chosen images, clean or attacked, and the seconds they took; read back if kept."""
    folder = materials.out / "banks"
    folder.mkdir(parents=True, exist_ok=True)
    parts, seconds = [], 0.0
    for start in range(0, len(chosen), READ_TOGETHER):
        started = time.perf_counter()
        images = inputs(split, chosen[start : start + READ_TOGETHER], backbone.card)
        # `embedding_bank_rows` knows a row by its place in the images it is given, here a part of the data set.
        own = attack and replace(attack, seed=attack.seed + start)
        name = embedding_bank_sha256(backbone.sha256, images, own)
        path, timed = folder / f"{name}.safetensors", folder / f"{name}.seconds"
        if not path.exists():
            rows = _rows(backbone, images, own)
            replace_file(timed, repr(time.perf_counter() - started).encode(), private=False)
            replace_file(path, embedding_bank_to_bytes(rows), private=False)
        parts.append(embedding_bank_from_bytes(path.read_bytes()))
        seconds += float(timed.read_text())
    return torch.cat(parts), seconds


def _rows(backbone: Backbone, images: Tensor, attack: PgdParams | None) -> Tensor:
    if attack is None:
        with torch.no_grad():
            return backbone.encode_image(images).float().cpu()
    return embedding_bank_rows(backbone, images, attack, 0, batch_size=len(images))


class _Progress:
    """The last state of a training on disk, with its losses and the seconds before it.

    started: when this run of it began, by the clock of `time.perf_counter`.
    """

    def __init__(self, path: Path, started: float) -> None:
        self._path, self._facts = path, path.with_suffix(".json")
        self.state: TrainerState | None = None
        self.losses: list[float] = []
        self._started = started
        if path.exists():
            self.state = TrainerState.from_bytes(path.read_bytes())
            facts = json.loads(self._facts.read_text(encoding="utf-8"))
            self.losses = facts["losses"][: self.state.epoch]
            self._started -= facts["seconds"]

    @property
    def seconds(self) -> float:
        """Returns the seconds of all runs of this training together."""
        return time.perf_counter() - self._started

    def keep(self, state: TrainerState) -> None:
        """Keeps a finished epoch; the facts first, so that they are never behind the state."""
        if self.state is not None and state.epoch <= self.state.epoch:
            return
        self.losses.append(state.loss)
        self.state = state
        replace_file(self._facts, json.dumps({"losses": self.losses, "seconds": self.seconds}).encode(), private=False)
        replace_file(self._path, state.to_bytes(), private=False)

    def remove(self) -> None:
        """Deletes the state of a finished training, which is not resumed."""
        self._path.unlink(missing_ok=True)
        self._facts.unlink(missing_ok=True)


def _trained(
    materials: Materials,
    backbone: Backbone,
    split: Split,
    params: TuningParams,
    name: str,
    progress: _Progress,
    states: Iterator[TrainerState],
    data_sha256: str,
) -> LearnedPrompt:
    for state in states:
        progress.keep(state)
    if progress.state is None:
        raise ValueError("a training without an epoch leaves no prompt")
    context = ContextVectors(vectors=progress.state.vectors, position=params.position)
    facts = {
        **asdict(params),
        "data_sha256": data_sha256,
        "losses": [round(loss, 6) for loss in progress.losses],
        "seconds": round(progress.seconds, 3),
    }
    card = save_prompt(
        materials.out / "prompts",
        context,
        name=name,
        method=params.method,
        backbone=backbone,
        class_names=split.class_names,
        tuning=facts,
    )
    progress.remove()
    return LearnedPrompt(context=context, card=card)


def _name(backbone: Backbone, dataset: str, split: Split, params: TuningParams, source: str) -> str:
    said = json.dumps([backbone.sha256, dataset, listing_sha256(split), asdict(params), source], sort_keys=True)
    return f"{dataset}-{params.method}-{hashlib.sha256(said.encode()).hexdigest()[:12]}".replace("_", "-")


def _known(materials: Materials, name: str) -> LearnedPrompt | None:
    folder = materials.out / "prompts"
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob(f"{name}-*.json")):
        card = read_prompt_card(path)
        return LearnedPrompt(context=load_prompt(folder, card), card=card)
    return None
