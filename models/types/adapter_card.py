"""The card of an adapter: the JSON description of what was trained for the image tower of one backbone."""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from certrad.models.types.tuned_on import TunedOn, joined
from certrad.models.types.tuning import PROMPT_NAME

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def is_adapter_id(given: str, sha256: str) -> bool:
    """Returns whether an id is one of an adapter whose file has this SHA-256.

    Args:
        given: The id: a name, a hyphen and the first 16 hexadecimal digits of the SHA-256.
        sha256: The SHA-256, 64 hexadecimal digits.
    """
    name, _, digits = given.rpartition("-")
    return bool(PROMPT_NAME.fullmatch(name) and _SHA256.fullmatch(sha256)) and digits == sha256[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterCard:
    """An adapter: its training, its backbone and its digests.

    An adapter changes the image tower of one backbone, so that it maps noisy pixels to where the frozen tower maps
    clean ones. It is trained without labels, before any image is certified.

    Attributes:
        id: The name and the first 16 hexadecimal digits of the file's SHA-256, unique in a store.
        name: Name of the adapter.
        backbone: Id of the backbone.
        backbone_sha256: SHA-256 of the weights it was trained with.
        rank: Rank of the changes to the matrices.
        sigma_range: Lowest and highest standard deviation of the noise it was trained for, in pixels of [0, 1].
        sha256: SHA-256 of the safetensors file.
        licence: Licence of the adapter.
        training: Record of the training (images, steps, batch, learning rate, seed, data digest), free of patient data.
        measured: Figures measured on held-out images, each with the number of images.
        trained_on: The images it was trained on, by keyed digests; None if they are not recorded.
    """

    id: str
    name: str
    backbone: str
    backbone_sha256: str
    rank: int
    sigma_range: tuple[float, float]
    sha256: str
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    trained_on: TunedOn | None = None

    def __post_init__(self) -> None:
        if not PROMPT_NAME.fullmatch(self.name):
            raise ValueError(f"an adapter name must match {PROMPT_NAME.pattern}, got {self.name!r}")
        for name in ("backbone_sha256", "sha256"):
            if not _SHA256.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} must be 64 hexadecimal digits, got {getattr(self, name)!r}")
        if not is_adapter_id(self.id, self.sha256) or self.id.rpartition("-")[0] != self.name:
            raise ValueError(f"the id must be the name and the first 16 digits of sha256, got {self.id!r}")
        if self.rank < 1:
            raise ValueError(f"rank must be >= 1, got {self.rank!r}")
        low, high = self.sigma_range
        if not 0 < low <= high < float("inf"):  # also refuses NaN
            raise ValueError(f"sigma_range must be 0 < low <= high, got {self.sigma_range!r}")

    def with_images_of(self, earlier: "AdapterCard | None") -> "AdapterCard":
        """Returns this card with the images that an earlier card of the same adapter records, beside its own.

        Args:
            earlier: The earlier card; None if there is none.
        """
        return self if earlier is None else replace(self, trained_on=joined(self.trained_on, earlier.trained_on))
