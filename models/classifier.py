"""The base classifier: cosine similarity of image features to the text features of one prompt."""

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from models.backbones.base import Backbone


class VisionLanguageClassifier:
    """Classifies pixels by the text feature their image feature is most similar to; the text is encoded only once.

    text_features: (K, D), L2-normalised.
    """

    def __init__(self, backbone: Backbone, text_features: Tensor) -> None:
        if text_features.ndim != 2 or text_features.shape[1] != backbone.embed_dim:
            raise ValueError(
                f"text features of shape (K, {backbone.embed_dim}) are required, got {tuple(text_features.shape)}"
            )
        self.backbone = backbone
        self.text_features = text_features.detach().to(backbone.device, torch.float32)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one input."""
        return (3, self.backbone.image_size, self.backbone.image_size)

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.text_features)

    @property
    def device(self) -> torch.device:
        """Where the classifier computes."""
        return self.backbone.device

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits (B, K), float32, of pixels (B, 3, H, W) in the units of [0, 1], noise included and unclipped."""
        return self.logits_of_features(self.backbone.encode_image(pixels))

    def logits_of_features(self, features: Tensor) -> Tensor:
        """Logits (B, K), float32, of image features (B, D): one pass of noisy images can serve many prompts.

        logits = exp(logit_scale)·⟨v/|v|, u_k⟩; a non-finite feature gives non-finite logits.
        """
        directions = F.normalize(features.to(self.device, torch.float32), dim=-1)
        return self.backbone.logit_scale * directions @ self.text_features.T


def text_features_sha256(text_features: Tensor) -> str:
    """SHA-256 of the float32 bytes, row by row, little-endian: the identity of a prompt as it was encoded."""
    values = text_features.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(values.numpy().astype("<f4").tobytes()).hexdigest()
