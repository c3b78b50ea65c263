"""The identity of model inputs that something is trained on: of each by itself, and of all together."""

import hashlib

from torch import Tensor


def input_digests(images: Tensor) -> list[str]:
    """Returns the SHA-256 of the float32 model input of each image, as `input_sha256` of a certificate names it.

    Args:
        images: (N, 3, S, S) float32 in [0, 1], as they were decoded: before augmentation and noise.
    """
    return [hashlib.sha256(_float32_bytes(image)).hexdigest() for image in images]


def pool_sha256(pool: Tensor) -> str:
    """Returns the SHA-256 over shape and float32 pixels of a pool (N, 3, H, W): the identity of that pool."""
    hasher = hashlib.sha256(f"{tuple(pool.shape)}".encode())
    for image in pool:
        hasher.update(_float32_bytes(image))
    return hasher.hexdigest()


def _float32_bytes(image: Tensor) -> bytes:
    content: bytes = image.contiguous().numpy().astype("<f4").tobytes()
    return content
