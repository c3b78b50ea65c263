"""Adapter checkpoints: the changes in safetensors, a JSON card beside them, both named by content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from certrad.models.adapters.adapter import Adapter, LowRank
from certrad.models.backbones.base import Backbone
from certrad.models.checkpoint_files import checkpoint_id, header_of, is_checkpoint_id
from certrad.models.errors import Rejected
from certrad.models.files import replace_file
from certrad.models.types import AdapterCard
from certrad.models.types.codec import decode_card, encode_card
from certrad.models.types.tuned_on import TunedOn

HEADER: Final = "certrad.adapter.v1"
_DOWN: Final = "down:"
_UP: Final = "up:"
_REPLACED: Final = "replaced:"


def adapter_to_bytes(low_rank: Mapping[str, LowRank], replaced: Mapping[str, Tensor], *, backbone_sha256: str) -> bytes:
    """Returns the changes as a safetensors file; equal changes give equal bytes.

    Args:
        low_rank: Name of a matrix of the image tower -> its change.
        replaced: Name of another parameter of the image tower -> its new value.
        backbone_sha256: SHA-256 of the weights they were trained with.
    """
    tensors = {f"{_REPLACED}{name}": value for name, value in replaced.items()}
    for name, change in low_rank.items():
        tensors |= {f"{_DOWN}{name}": change.down, f"{_UP}{name}": change.up}
    # One metadata entry only: safetensors does not keep the order of several.
    metadata = {HEADER: json.dumps({"backbone_sha256": backbone_sha256}, sort_keys=True)}
    content: bytes = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    return content


def save_adapter(
    directory: Path,
    low_rank: Mapping[str, LowRank],
    replaced: Mapping[str, Tensor],
    *,
    name: str,
    backbone: Backbone,
    sigma_range: tuple[float, float],
    licence: str = "",
    training: dict[str, Any] | None = None,
    measured: dict[str, Any] | None = None,
    trained_on: TunedOn | None = None,
) -> AdapterCard:
    """Writes an adapter atomically as `<id>.safetensors` and, last, `<id>.json`.

    The same changes saved again are the same adapter, and only its card is replaced. The images that the card before
    records stay recorded.

    Args:
        directory: Folder to write to; made if missing.
        low_rank: Name of a matrix of the image tower -> its change; at least one.
        replaced: Name of another parameter of the image tower -> its new value.
        name: First part of the id.
        backbone: The frozen backbone it was trained with.
        sigma_range: Lowest and highest standard deviation of the noise it was trained for.
        licence: Licence of the adapter.
        training: Record of the training.
        measured: Figures measured on other images.
        trained_on: The images it was trained on; None if they are not recorded.

    Returns:
        The card of the adapter.

    Raises:
        ValueError: The name is bad, a value is not finite, or the ranks differ.
    """
    card = replace(
        adapter_of(low_rank, replaced, name=name, backbone=backbone, sigma_range=sigma_range).card,
        licence=licence,
        training=training or {},
        measured=measured or {},
        trained_on=trained_on,
    )
    content = adapter_to_bytes(low_rank, replaced, backbone_sha256=backbone.sha256)
    path = adapter_path(directory, card.id)
    card = card.with_images_of(_stored_card(path.with_suffix(".json")))
    replace_file(path, content)
    write_adapter_card(directory, card)
    return card


def adapter_of(
    low_rank: Mapping[str, LowRank],
    replaced: Mapping[str, Tensor],
    *,
    name: str,
    backbone: Backbone,
    sigma_range: tuple[float, float],
) -> Adapter:
    """Returns trained changes as an adapter, with the card that they have by themselves.

    Args:
        low_rank: Name of a matrix of the image tower -> its change; at least one.
        replaced: Name of another parameter of the image tower -> its new value.
        name: First part of the id.
        backbone: The frozen backbone they were trained with.
        sigma_range: Lowest and highest standard deviation of the noise they were trained for.

    Raises:
        ValueError: The name is bad, a value is not finite, or the ranks differ.
    """
    content = adapter_to_bytes(low_rank, replaced, backbone_sha256=backbone.sha256)
    card = AdapterCard(
        id=checkpoint_id(name, content),
        name=name,
        backbone=backbone.card.id,
        backbone_sha256=backbone.sha256,
        rank=next(iter(low_rank.values())).rank if low_rank else 0,
        sigma_range=sigma_range,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return Adapter(card=card, low_rank=low_rank, replaced=replaced)


def write_adapter_card(directory: Path, card: AdapterCard) -> None:
    """Writes or replaces the card beside an adapter, for example with new measurements."""
    replace_file(adapter_path(directory, card.id).with_suffix(".json"), encode_card(card).encode())


def read_adapter_card(path: Path) -> AdapterCard:
    """Returns the adapter card in a JSON file.

    Raises:
        Rejected: invalid_adapter.
    """
    try:
        return decode_card(AdapterCard, path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Rejected("invalid_adapter", f"{path.name} is not an adapter card: {type(error).__name__}") from error


def load_adapter(directory: Path, card: AdapterCard) -> Adapter:
    """Returns the adapter that a card names.

    Raises:
        Rejected: adapter_not_found; digest_mismatch for a changed file; invalid_adapter for a file that is no adapter
            or contradicts the card.
    """
    try:
        content = adapter_path(directory, card.id).read_bytes()
    except FileNotFoundError:
        raise Rejected("adapter_not_found", f"there is no adapter {card.id!r}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != card.sha256:
        raise Rejected("digest_mismatch", f"adapter {card.id!r} has SHA-256 {sha256}, its card says {card.sha256}")
    return _adapter(content, card)


def _adapter(content: bytes, card: AdapterCard) -> Adapter:
    """Returns the adapter in a safetensors file."""
    try:
        backbone_sha256, tensors = header_of(content, HEADER)["backbone_sha256"], load(content)
        if backbone_sha256 != card.backbone_sha256:
            raise ValueError(f"it was trained with weights of SHA-256 {backbone_sha256}, its card says others")
        of_kind: dict[str, dict[str, Tensor]] = {_DOWN: {}, _UP: {}, _REPLACED: {}}
        for key, tensor in tensors.items():
            kind, colon, name = key.partition(":")
            of_kind[kind + colon][name] = tensor
        downs, ups = of_kind[_DOWN], of_kind[_UP]
        if downs.keys() != ups.keys() or not downs:
            raise ValueError("it needs at least one change of a matrix, each with `down` and `up`")
        return Adapter(
            card=card,
            low_rank={name: LowRank(down=downs[name], up=ups[name]) for name in downs},
            replaced=of_kind[_REPLACED],
        )
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise Rejected("invalid_adapter", f"the file of {card.id!r} is not an adapter of certrad: {reason}") from error


def _stored_card(path: Path) -> AdapterCard | None:
    """Returns the card in a file; None where none is, or none that can be read, so that it can be replaced."""
    try:
        return read_adapter_card(path)
    except Rejected:
        return None


def adapter_path(directory: Path, adapter_id: str) -> Path:
    """Returns the path of the file of an adapter.

    Raises:
        Rejected: adapter_not_found for an id that is no safe file name.
    """
    if not is_checkpoint_id(adapter_id):
        raise Rejected("adapter_not_found", "an adapter id must be a name, a hyphen and 16 hexadecimal digits")
    return directory / f"{adapter_id}.safetensors"
