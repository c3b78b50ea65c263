"""Downloads the weights of a backbone when the operator asks for it, and pins their digest."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.hf_api import ModelInfo

from certrad.models.backbones.base import EMBEDDED_ID, load_backbone, weights_directory
from certrad.models.backbones.weights import (
    CONFIG_FILES,
    PIN_FILE,
    TOKENIZER_FILES,
    WEIGHT_FILES,
    file_sha256,
    find_weights,
    pinned,
    read_pin,
    write_json,
)
from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard


def fetch(card: BackboneCard, directory: Path, *, endpoint: str | None = None) -> BackboneCard:
    """Downloads a backbone into `directory/<id>/`, and pins its digest.

    Configuration and weights come from one revision of the hub repository; safetensors goes before pickle. The files
    appear together, once they are complete, have the hub's digest and load strictly; after a failed call the next one
    downloads what is missing. Files that exist already with the pinned digest are not downloaded again. Once pinned, a
    backbone never changes: another revision needs its directory removed first. A backbone that is published as an
    archive, or whose files only the operator has, is not downloaded: its files are loaded once and pinned.

    Args:
        card: The card of the backbone.
        directory: The folder of all backbones.
        endpoint: The address of the hub; None for that of the environment variable `HF_ENDPOINT`, or the public one.

    Returns:
        The card with the digest of the weights.

    Raises:
        Rejected: backbone_unavailable, digest_mismatch, invalid_weights.
    """
    target = weights_directory(card, directory)
    known = pinned(card, target)
    if card.id == EMBEDDED_ID or _is_installed(known, target):
        return known
    if card.hub is None or card.format == "medclip":
        return _pin_unpacked(known, target)
    partial, weights, info = _download(known, card.hub, directory, HfApi(endpoint=endpoint))
    try:
        fetched = _pin(known, partial, weights, info)
        load_backbone(fetched, partial)
    except Rejected:
        shutil.rmtree(partial)  # complete but wrong: nothing to go on with
        raise
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    for outdated in directory.glob(f".{card.id}-*.partial"):
        shutil.rmtree(outdated)
    return fetched


def _pin_unpacked(card: BackboneCard, target: Path) -> BackboneCard:
    """Pins the weights that the operator put into place, once they load strictly.

    Returns:
        The card with the digest.

    Raises:
        Rejected: backbone_unavailable, digest_mismatch, invalid_weights.
    """
    try:
        sha256 = load_backbone(card, target).sha256
    except Rejected as rejected:
        if rejected.code != "backbone_unavailable":
            raise
        what = "its files" if card.hub is None else f"the unpacked files of {card.hub}"
        detail = f"{rejected.detail}: put {what} into {target}. {card.notes}".rstrip()
        raise Rejected("backbone_unavailable", detail) from rejected
    weights = find_weights(card, target).name
    write_json(target / PIN_FILE, {"hub": card.hub, "sha256": sha256, "weights": weights})
    return replace(card, weights=weights, sha256=sha256)


def _download(card: BackboneCard, repository: str, directory: Path, hub: HfApi) -> tuple[Path, str, ModelInfo]:
    """Downloads configuration and weights of the pinned or else newest revision into a directory of that revision.

    Returns:
        The directory, the name of the weights file, and the hub's description of the repository.

    Raises:
        Rejected: backbone_unavailable, digest_mismatch.
    """
    try:
        revision = read_pin(weights_directory(card, directory)).get("revision")
        info = hub.model_info(repository, revision=revision, files_metadata=True)
        weights = _choose_weights(card, info)
        partial = directory / f".{card.id}-{info.sha}.partial"
        on_hub = {file.rfilename for file in info.siblings or ()}
        beside = [name for name in TOKENIZER_FILES.get(card.format, ()) if name in on_hub]
        for name in (CONFIG_FILES[card.format], *beside, weights):
            hub.hf_hub_download(repository, name, revision=info.sha, local_dir=partial)
    except Rejected:
        raise
    except Exception as error:  # the library's HTTP client, and with it its errors, changes between versions
        raise Rejected("backbone_unavailable", f"{repository} cannot be fetched: {type(error).__name__}") from error
    return partial, weights, info


def _is_installed(card: BackboneCard, target: Path) -> bool:
    config, weights = target / CONFIG_FILES[card.format], target / card.weights
    return card.sha256 is not None and config.is_file() and weights.is_file() and file_sha256(weights) == card.sha256


def _choose_weights(card: BackboneCard, info: ModelInfo) -> str:
    on_hub = {file.rfilename for file in info.siblings or ()}
    for name in (card.weights, *WEIGHT_FILES[card.format]):
        if name in on_hub:
            return name
    raise Rejected("backbone_unavailable", f"{card.hub} has none of {', '.join(WEIGHT_FILES[card.format])}")


def _pin(card: BackboneCard, directory: Path, weights: str, info: ModelInfo) -> BackboneCard:
    sha256 = file_sha256(directory / weights)
    on_hub = [file.lfs.sha256 for file in info.siblings or () if file.rfilename == weights and file.lfs]
    for expected in (card.sha256, *on_hub):
        if expected not in (None, sha256):
            raise Rejected("digest_mismatch", f"{weights} of {card.hub} must have SHA-256 {expected}; got {sha256}")
    write_json(directory / PIN_FILE, {"hub": card.hub, "revision": info.sha, "sha256": sha256, "weights": weights})
    return replace(card, weights=weights, sha256=sha256)
