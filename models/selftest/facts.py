"""What the references of the self-test say besides tensors; it is read without torch, for intake."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from certrad.models.types.codec import decode_card

REFERENCES: Final = Path(__file__).parent / "references.safetensors"
PHANTOM: Final = Path(__file__).parent / "phantom.dcm"
"""A drawn CT slice that shows nobody, made by this project."""

METADATA: Final = "certrad.selftest.v1"
"""The entry of the metadata of the safetensors file that holds these facts as JSON."""


class ReferencesError(Exception):
    """The stored references cannot be read: the package is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Words of the generator of a noise law, in hexadecimal.

    Attributes:
        kind: The generator: `4x32`, Philox4x32-10 of `philox-boxmuller-f64`; `4x64`, Philox4x64-10 of
            `philox-ziggurat-f64`; `aes128`, AES-128 in counter mode of `aes128ctr-boxmuller-f64`.
        key: Two words of the key of Philox, least significant first; the 16 bytes of that of AES.
        counter: Four words of the counter of Philox; the 16 bytes of the counter block of AES.
        words: The words it gives: four of Philox, two of AES.
    """

    kind: str
    key: tuple[str, ...]
    counter: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFacts:
    """What the references say besides tensors.

    Attributes:
        words: Known answers of every generator.
        noise_key: Key of the stored normals, in hexadecimal.
        stream: Their stream.
        indices: Their sample indices.
        aes_normals_sha256: SHA-256 of the normals of the law `aes128ctr-boxmuller-f64`, whose bits no machine changes.
        sigma: Standard deviation of the noise, of the grid check and of the counts.
        task: The task of the counts.
        prompt: The id of the prompt.
        counts: Label counts of the shipped image; the last one is of logits that are not finite.
        phantom_sha256: Digest of the shipped DICOM file.
        pixels_sha256: Digest of its decoded pixels.
        input_sha256: Digest of its model input.
        software: The versions that made the references.
    """

    words: tuple[Words, ...]
    noise_key: str
    stream: int
    indices: tuple[int, ...]
    aes_normals_sha256: str
    sigma: float
    task: str
    prompt: str
    counts: tuple[int, ...]
    phantom_sha256: str
    pixels_sha256: str
    input_sha256: str
    software: tuple[str, ...]


def read_facts(content: bytes) -> ReferenceFacts:
    """Returns the facts in a file of references.

    Args:
        content: The file.

    Raises:
        ReferencesError: The file is damaged.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        return decode_card(ReferenceFacts, json.loads(content[8 : 8 + length])["__metadata__"][METADATA])
    except (ValueError, KeyError, TypeError) as error:
        raise ReferencesError(f"the references of the self-test cannot be read: {type(error).__name__}") from error


def references_sha256() -> str:
    """Returns the SHA-256 of the file of references, for a report."""
    return hashlib.sha256(REFERENCES.read_bytes()).hexdigest()
