"""What the checkpoints of prompts and of adapters have in common: ids by content, safe file names, one header."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from certrad.models.types.adapter_card import AdapterCard
from certrad.models.types.tuning import PROMPT_NAME

_DIGITS: Final = 16
_DIGEST: Final = re.compile(f"[0-9a-f]{{{_DIGITS}}}")
_LENGTH_BYTES: Final = 8


def checkpoint_id(name: str, content: bytes) -> str:
    """Returns the id of a checkpoint: its name and the first 16 hexadecimal digits of the SHA-256 of its file.

    Args:
        name: The name.
        content: All bytes of the file.
    """
    return f"{name}-{hashlib.sha256(content).hexdigest()[:_DIGITS]}"


def is_checkpoint_id(given: str) -> bool:
    """Returns whether a text is an id of a checkpoint, and so a safe name of a file."""
    name, _, digest = given.rpartition("-")
    return bool(PROMPT_NAME.fullmatch(name) and _DIGEST.fullmatch(digest))


def folder_with(folders: Sequence[Path], checkpoint: str) -> Path | None:
    """Returns the first folder that has the file of a checkpoint; None if none has.

    Args:
        folders: The folders, the preferred one first.
        checkpoint: The id of the checkpoint, which must be safe.
    """
    return next((folder for folder in folders if (folder / f"{checkpoint}.safetensors").exists()), None)


def adapter_header(adapter: AdapterCard | None) -> dict[str, str]:
    """Returns what the header of a prompt says about the adapter of the image tower that it was tuned on.

    Args:
        adapter: The adapter; None for the frozen tower, of which a header says nothing.
    """
    return {} if adapter is None else {"adapter": adapter.id, "adapter_sha256": adapter.sha256}


def header_of(content: bytes, kind: str) -> dict[str, Any]:
    """Returns the header of a safetensors file that one of our checkpoints is.

    Args:
        content: All bytes of the file.
        kind: The name of the metadata entry that holds the header.

    Raises:
        ValueError: The content is not JSON where it must be.
        KeyError: There is no such entry.
        TypeError: The metadata is of another shape.
    """
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    of_file = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
    header: dict[str, Any] = json.loads(of_file["__metadata__"][kind])
    return header
