"""Prompt checkpoints: context vectors or a bank in safetensors, a JSON card beside them, both named by content."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load, save

from certrad.models.backbones.base import Backbone
from certrad.models.checkpoint_files import adapter_header, checkpoint_id, header_of, is_checkpoint_id
from certrad.models.errors import Rejected
from certrad.models.files import replace_file
from certrad.models.prompts.bank import HEADER as BANK_HEADER
from certrad.models.prompts.bank import Bank, bank_from_bytes, bank_to_bytes
from certrad.models.prompts.context import ContextVectors
from certrad.models.types import AdapterCard, PromptCard
from certrad.models.types.cards import PromptMethod
from certrad.models.types.codec import decode_card, encode_card
from certrad.models.types.rejection import RejectionCard
from certrad.models.types.tuned_on import TunedOn
from certrad.models.types.tuning import check_prompt_name

TENSOR: Final = "context"
HEADER: Final = "certrad.context.v1"


def context_to_bytes(context: ContextVectors, adapter: AdapterCard | None = None) -> bytes:
    """Returns the context as a safetensors file; equal contexts give equal bytes.

    Args:
        context: The context vectors.
        adapter: The adapter of the image tower that they were tuned on; None for the frozen tower.
    """
    header = {"position": context.position, "split": context.split, "tail": context.tail, **adapter_header(adapter)}
    # One metadata entry only: safetensors does not keep the order of several.
    metadata = {HEADER: json.dumps(header, sort_keys=True)}
    return save({TENSOR: context.vectors.detach().cpu().contiguous()}, metadata=metadata)


def context_from_bytes(content: bytes) -> ContextVectors:
    """Returns the context in a safetensors file.

    Raises:
        Rejected: invalid_checkpoint where there is none.
    """
    try:
        header = header_of(content, HEADER)
        vectors = load(content)[TENSOR]
        return ContextVectors(
            vectors=vectors, position=header["position"], split=header["split"], tail=tuple(header["tail"])
        )
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Rejected(
            "invalid_checkpoint", f"the content is not a prompt checkpoint of certrad: {type(error).__name__}"
        ) from error


def prompt_to_bytes(prompt: ContextVectors | Bank, adapter: AdapterCard | None = None) -> bytes:
    """Returns a prompt as it is stored; equal prompts for the same adapter give equal bytes.

    Args:
        prompt: The context vectors or the bank.
        adapter: The adapter of the image tower that it was tuned on; None for the frozen tower.
    """
    return bank_to_bytes(prompt, adapter) if isinstance(prompt, Bank) else context_to_bytes(prompt, adapter)


def prompt_id(name: str, prompt: ContextVectors | Bank, adapter: AdapterCard | None = None) -> str:
    """Returns the id under which `save_prompt` stores a prompt.

    Args:
        name: First part of the id.
        prompt: The context vectors or the bank.
        adapter: The adapter of the image tower that it was tuned on; None for the frozen tower.
    """
    return checkpoint_id(name, prompt_to_bytes(prompt, adapter))


def save_prompt(
    directory: Path,
    prompt: ContextVectors | Bank,
    *,
    name: str,
    method: PromptMethod,
    backbone: Backbone,
    class_names: tuple[str, ...],
    task: str | None = None,
    licence: str = "",
    tuning: dict[str, Any] | None = None,
    measured: dict[str, Any] | None = None,
    tuned_on: TunedOn | None = None,
    rejection: RejectionCard | None = None,
) -> PromptCard:
    """Writes a prompt atomically as `<id>.safetensors` and `<id>.json`.

    The id is `name` and the first 16 hex digits of the file's SHA-256: the same vectors saved again are the same
    prompt, and only its card is replaced. The images that the card before records stay recorded: without them, one of
    these images could be certified under a prompt that was tuned on it.

    Args:
        directory: folder to write to; made if missing.
        prompt: the context vectors or the bank.
        name: first part of the id.
        method: how the prompt was learned; `bank` for a bank only.
        backbone: the backbone it was tuned with, with the adapter of its image tower if it has one.
        class_names: the classes it was tuned for.
        task: id of their task, or None.
        licence: licence of the prompt.
        tuning: hyper-parameters and digests of the data.
        measured: figures measured on other images.
        tuned_on: the images it was tuned on; None if they are not recorded.
        rejection: what the card says about the extra class of a bank; None where it has none.

    Returns:
        The card of the prompt.

    Raises:
        ValueError: for a bad name, or if a bank is saved with another method or another prompt with `bank`.
    """
    check_prompt_name(name)
    if isinstance(prompt, Bank) != (method == "bank"):
        raise ValueError(f"the method must be 'bank' for a bank and only for a bank, got {method!r}")
    content = prompt_to_bytes(prompt, backbone.adapter)
    card = PromptCard(
        id=checkpoint_id(name, content),
        name=name,
        method=method,
        backbone=backbone.card.id,
        backbone_sha256=backbone.sha256,
        class_names=class_names,
        task=task,
        n_ctx=prompt.n_ctx,
        class_specific=prompt.class_specific,
        position=prompt.position,
        sha256=hashlib.sha256(content).hexdigest(),
        licence=licence,
        tuning=tuning or {},
        measured=measured or {},
        tuned_on=tuned_on,
        rejection=rejection,
        adapter=None if backbone.adapter is None else backbone.adapter.id,
        adapter_sha256=None if backbone.adapter is None else backbone.adapter.sha256,
    )
    _check_rejection(prompt, card)
    card = card.with_images_of(_stored_card(prompt_path(directory, card.id).with_suffix(".json")))
    replace_file(prompt_path(directory, card.id), content)
    write_card(directory, card)
    return card


def write_card(directory: Path, card: PromptCard) -> None:
    """Writes or replaces the card beside a prompt, for example with new measurements."""
    replace_file(prompt_path(directory, card.id).with_suffix(".json"), encode_card(card).encode())


def read_prompt_card(path: Path) -> PromptCard:
    """Returns the prompt card in a JSON file.

    Raises:
        Rejected: invalid_checkpoint.
    """
    try:
        return decode_card(PromptCard, path.read_bytes())
    except (OSError, ValueError) as error:
        raise Rejected("invalid_checkpoint", f"{path.name} is not a prompt card: {type(error).__name__}") from error


def _stored_card(path: Path) -> PromptCard | None:
    """Returns the card in a file; None where none is, or none that can be read, so that it can be replaced."""
    try:
        return read_prompt_card(path)
    except Rejected:
        return None


def load_prompt_or_bank(directory: Path, card: PromptCard) -> ContextVectors | Bank:
    """Returns the context vectors that a card names, or the bank.

    Raises:
        Rejected: prompt_not_found, digest_mismatch, or invalid_checkpoint when card and vectors differ in shape.
    """
    try:
        content = prompt_path(directory, card.id).read_bytes()
    except FileNotFoundError:
        raise Rejected("prompt_not_found", f"there is no prompt {card.id!r}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != card.sha256:
        raise Rejected("digest_mismatch", f"prompt {card.id!r} has SHA-256 {sha256}, its card says {card.sha256}")
    prompt = bank_from_bytes(content) if card.method == "bank" else context_from_bytes(content)
    of_file = (prompt.n_ctx, prompt.class_specific, prompt.position)
    of_card = (card.n_ctx, card.class_specific, card.position)
    if of_file != of_card:
        raise Rejected(
            "invalid_checkpoint", f"the card says (n_ctx, class_specific, position) = {of_card}, the file {of_file}"
        )
    _check_adapter(content, card)
    _check_rejection(prompt, card)
    return prompt


def _check_rejection(prompt: ContextVectors | Bank, card: PromptCard) -> None:
    """Checks that a card and a checkpoint have the same extra class, or none."""
    extra = prompt.rejection if isinstance(prompt, Bank) else None
    of_file = None if extra is None else extra.sha256
    of_card = None if card.rejection is None else card.rejection.sha256
    if of_file != of_card:
        raise Rejected("invalid_checkpoint", f"the card names the extra class {of_card}, the file has {of_file}")


def _check_adapter(content: bytes, card: PromptCard) -> None:
    """Checks that a card names the adapter that the checkpoint names.

    A checkpoint of a release that did not write it names none, and its card decides.

    Raises:
        Rejected: invalid_checkpoint.
    """
    header = header_of(content, BANK_HEADER if card.method == "bank" else HEADER)
    of_file = {name: header[name] for name in ("adapter", "adapter_sha256") if name in header}
    of_card = {"adapter": card.adapter, "adapter_sha256": card.adapter_sha256}
    if of_file and of_file != of_card:
        raise Rejected(
            "invalid_checkpoint",
            f"the card of {card.id!r} says that it was tuned with the adapter {card.adapter!r}, the file "
            f"{of_file.get('adapter')!r}",
        )


def load_prompt(directory: Path, card: PromptCard) -> ContextVectors:
    """Returns the context vectors that a card names, where a bank cannot be used.

    Raises:
        Rejected: prompt_mismatch for a bank; otherwise as `load_prompt_or_bank`.
    """
    prompt = load_prompt_or_bank(directory, card)
    if isinstance(prompt, Bank):
        raise Rejected("prompt_mismatch", f"prompt {card.id!r} is a bank, which only `adaptation=gated` can use")
    return prompt


def member_digests(bank: Bank) -> tuple[str, ...]:
    """Returns the SHA-256 of each member of a bank as a checkpoint of its own."""
    return tuple(hashlib.sha256(context_to_bytes(member)).hexdigest() for member in bank.members)


def require_backbone(card: PromptCard, backbone: Backbone) -> None:
    """Checks that the prompt was tuned with exactly these weights.

    Raises:
        Rejected: prompt_mismatch if it was not.
    """
    if card.backbone_sha256 != backbone.sha256:
        raise Rejected("prompt_mismatch", f"prompt {card.id!r} was tuned with other weights than {backbone.card.id!r}")


def prompt_path(directory: Path, prompt_id: str) -> Path:
    """Returns the path of the vectors of a prompt.

    Raises:
        Rejected: prompt_not_found for an id that is no safe file name.
    """
    if not is_checkpoint_id(prompt_id):
        raise Rejected("prompt_not_found", "a prompt id must be a name, a hyphen and 16 hexadecimal digits")
    return directory / f"{prompt_id}.safetensors"
