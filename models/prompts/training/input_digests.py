"""The identity of each image that something is tuned on: the digest that a certificate of the image would name."""

import hashlib

from torch import Tensor


def input_digests(images: Tensor) -> list[str]:
    """Returns the SHA-256 of the float32 model input of each image, as `input_sha256` of a certificate names it.

    Args:
        images: (N, 3, S, S) float32 in [0, 1], as they were decoded: before augmentation and noise.
    """
    return [hashlib.sha256(image.contiguous().numpy().astype("<f4").tobytes()).hexdigest() for image in images]
