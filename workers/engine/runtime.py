"""The state that an engine keeps between jobs: device, secrets, resident backbones and their text features."""

import hashlib
import json
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

import torch
from redis import Redis

from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import chosen_device, chosen_precision, loading_dtype
from certrad.models.backbones.openvino_tower import encoder_software, in_precision
from certrad.models.backbones.probe import Probe, batch_that_fits, is_faster_in_channels_last, probe_of
from certrad.models.backbones.processor import processor_name
from certrad.models.backbones.weights import find_weights, pinned
from certrad.models.errors import Rejected
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.store import PromptStore
from certrad.models.smoothing.device import default_batch_size, noise_path
from certrad.models.types import AdapterCard, BackboneCard, PromptCard
from certrad.workers.contract.catalogue import Catalogue, WorkerCard
from certrad.workers.engine.adapter_store import fetch as fetch_adapter
from certrad.workers.engine.code_digest import code_sha256
from certrad.workers.engine.prompt_store import fetch
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.settings import WorkerSettings

_RESIDENT: Final = 2
_Resident = tuple[BackboneCard, str, tuple[str, str] | None]
"""A backbone, its precision, and id and SHA-256 of the adapter that is merged into it; None for the frozen tower."""
_PACKAGES: Final = ("certrad", "numpy", "open_clip_torch", "scipy", "torch", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What was measured on this device with a backbone.

    Attributes:
        batch_size: Samples of a batch that fit.
        channels_last: Whether the image tower is faster in that memory format.
    """

    batch_size: int
    channels_last: bool


@dataclass(frozen=True, slots=True)
class Runtime:
    """The state of one engine process; built once, shared by its jobs."""

    settings: WorkerSettings
    redis: Redis
    catalogue: Catalogue
    device: torch.device
    dtype: str
    epochs: EpochSecrets
    software: dict[str, str]
    name: str = ""
    probe: Probe | None = None
    _resident: OrderedDict[_Resident, Backbone] = field(default_factory=OrderedDict)
    _measured: dict[tuple[str, str], _Measured] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """Returns the samples of one batch: the operator's choice, or the default of the device."""
        return self.settings.block_size or default_batch_size(self.device)

    def batch_size_of(self, backbone: Backbone) -> int:
        """Returns the samples of one batch of a new job: the operator's choice, or what fits into the free memory.

        Args:
            backbone: The backbone of the job.
        """
        fitting = self._measured_of(backbone).batch_size
        return self.settings.block_size or fitting

    def block_size_of(self, batch_size: int) -> int:
        """Returns the samples of one block: the operator's choice, or a batch where that does not divide it.

        Args:
            batch_size: Samples of one batch.
        """
        chosen = self.settings.commit_size
        return batch_size if chosen is None or batch_size % chosen else chosen

    @property
    def arithmetic(self) -> dict[str, str]:
        """Returns the software that decides about the last bit of a label, and on a GPU what draws the noise."""
        path = {} if self.device.type == "cpu" else {"noise_path": noise_path(self.device)}
        return self.software | path

    @property
    def kind(self) -> str:
        """Returns a digest of the kind of device, the processor and the software."""
        properties = [self.device.type, processor_name(self.device), self.arithmetic]
        return hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()[:16]

    def backbone(
        self, backbone_id: str, dtype: str, adapter: AdapterCard | None = None, *, channels_last: bool | None = None
    ) -> Backbone:
        """Returns the backbone, resident on the device; the least recently used one makes room.

        Args:
            backbone_id: The id of its card.
            dtype: The name of the precision.
            adapter: The card of the adapter that is merged into its image tower, as `adapter_card` returned it to the
                job; None for the frozen tower.
            channels_last: The memory format of its image tower that is fixed for the job; None for the one that was
                measured to be faster on this device.

        Raises:
            Rejected: unknown_backbone, backbone_unavailable, invalid_weights, digest_mismatch, adapter_not_found,
                adapter_mismatch, invalid_adapter, dtype_unavailable.
        """
        card = self.backbone_card(backbone_id)
        key = (card, dtype, None if adapter is None else (adapter.id, adapter.sha256))
        if key not in self._resident:
            while len(self._resident) >= _RESIDENT:
                self._resident.popitem(last=False)
            self._resident[key] = self._load(card, dtype, adapter)
        self._resident.move_to_end(key)
        resident = self._resident[key]
        wanted = self._measured_of(resident).channels_last if channels_last is None else channels_last
        if resident.channels_last != wanted:
            resident = self._resident[key] = resident.in_memory_format(channels_last=wanted)
        return resident

    def _measured_of(self, backbone: Backbone) -> _Measured:
        """Returns what was measured with a backbone of these weights and this precision, once in this process."""
        key = backbone.sha256, backbone.precision
        if key not in self._measured:
            most = default_batch_size(self.device)
            if self.probe is None:
                self._measured[key] = _Measured(batch_size=most, channels_last=False)
            else:
                size = batch_that_fits(backbone, most, self.probe)
                faster = is_faster_in_channels_last(backbone, size, self.probe)
                self._measured[key] = _Measured(batch_size=size, channels_last=faster)
        return self._measured[key]

    def _load(self, card: BackboneCard, dtype: str, adapter: AdapterCard | None) -> Backbone:
        """Returns a backbone from its files, with the adapter merged into its image tower."""
        store = AdapterStore(own=self.settings.adapters_dir)
        if adapter is not None:  # before the weights, which take longer
            fetch_adapter(self.redis, store, adapter)
        directory = weights_directory(card, self.settings.backbones_dir)
        frozen = load_backbone(card, directory, device=self.device, dtype=loading_dtype(dtype))
        return in_precision(frozen if adapter is None else adapted(frozen, store.load(adapter)), dtype)

    def adapter_card(self, adapter_id: str) -> AdapterCard:
        """Returns the card of an adapter, withdrawn or not, with the images that any card of it records.

        Raises:
            Rejected: adapter_not_found.
        """
        if (card := self.catalogue.adapters.with_withdrawn(adapter_id)) is None:
            raise Rejected("adapter_not_found", "the adapter is not published")
        return card

    def backbone_card(self, backbone_id: str) -> BackboneCard:
        """Returns the card of a backbone.

        Raises:
            Rejected: unknown_backbone.
        """
        backbones = self.catalogue.backbones()
        if backbone_id not in backbones:
            raise Rejected(
                "unknown_backbone", f"the backbone must be one of {', '.join(sorted(backbones))}; got {backbone_id!r}"
            )
        return backbones[backbone_id]

    def prompt(self, prompt_id: str) -> tuple[PromptCard, ContextVectors | Bank]:
        """Returns the card and the vectors of a prompt from the package, the local store or Redis, withdrawn or not.

        Raises:
            Rejected: unknown_prompt, invalid_checkpoint, prompt_not_found, digest_mismatch.
        """
        card = self.catalogue.prompt(prompt_id)
        if card is None:
            raise Rejected("unknown_prompt", "the prompt is not published")
        store = PromptStore(own=self.settings.prompts_dir)
        fetch(self.redis, store, card)
        return card, store.load(card)

    def card(self, name: str, selftest_seconds: float | None = None) -> WorkerCard:
        """Returns the card that this engine publishes.

        Args:
            name: Name of the RQ worker.
            selftest_seconds: Seconds of the self-test that it passed.
        """
        present = [card.id for card in self.catalogue.backbones().values() if self._has_weights(card)]
        return WorkerCard(
            name=name,
            device=str(self.device),
            dtype=self.dtype,
            backbones=tuple(sorted(present)),
            adapters=AdapterStore(own=self.settings.adapters_dir).stored(),
            seen_at=time.time(),
            selftest_seconds=selftest_seconds,
            kind=self.kind,
            batch_size=self.batch_size,
        )

    def _has_weights(self, card: BackboneCard) -> bool:
        directory = weights_directory(card, self.settings.backbones_dir)
        try:
            find_weights(pinned(card, directory), directory)
        except Rejected:
            return False
        return True


def build(settings: WorkerSettings, redis: Redis, *, name: str = "") -> Runtime:
    """Returns the runtime of a new engine process.

    Args:
        settings: The settings of the worker.
        redis: The job store.
        name: The name of its RQ worker.
    """
    device = chosen_device(settings.device)
    dtype = chosen_precision(settings.dtype, device)
    torch.set_num_threads(settings.threads)
    return Runtime(
        settings=settings,
        redis=redis,
        catalogue=Catalogue(redis),
        device=device,
        dtype=dtype,
        epochs=EpochSecrets(settings.secrets_dir),
        software=_software(dtype),
        name=name,
        probe=probe_of(device),
    )


def _software(dtype: str) -> dict[str, str]:
    return {**{name: version(name) for name in _PACKAGES}, **encoder_software(dtype), "code_sha256": code_sha256()}
