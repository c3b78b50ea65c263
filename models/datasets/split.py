"""A split of a data set: class names, labels, and images that are read on access."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from certrad.models.datasets import coop, folders, medical
from certrad.models.datasets.cards import names_and_template
from certrad.models.datasets.files import Files
from certrad.models.datasets.listing import Item, Listing, SplitRule
from certrad.models.datasets.pixels import Decoder, Pixels, decode_with_pillow, scale_to_unit
from certrad.models.datasets.sample import SplitName
from certrad.models.images.model_input import fitted
from certrad.models.types import BackboneCard, DatasetCard
from certrad.models.types.cards import DatasetLayout

LAYOUTS: Final[dict[DatasetLayout, Callable[[Files, SplitName], Listing]]] = {
    "folders": folders.list_own_folders,
    "split_folders": folders.list_split_folders,
    "class_folders": coop.list_class_folders,
    "flowers": coop.list_flowers,
    "pets": coop.list_pets,
    "sun397": coop.list_sun397,
    "ucf101": coop.list_ucf101,
    "imagenet": folders.list_imagenet,
    "imagenet_subset": folders.list_imagenet_subset,
    "imagenet_ordinals": folders.list_imagenet_ordinals,
    "pannuke": medical.list_pannuke,
    "sicapv2": medical.list_sicapv2,
    "skincancer": medical.list_skincancer,
    "rsna": medical.list_rsna,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """The images of one split, sorted by name.

    Attributes:
        class_names: in the order of the labels; two may be equal, as two of CLIP's names for ImageNet are.
        template: hand-written, with one `{}`; None for the operator's own images.
        items: the images with their labels.
        rule: `seeded` where the split was not published but drawn with a fixed seed.
    """

    class_names: tuple[str, ...]
    template: str | None
    items: tuple[Item, ...]
    rule: SplitRule
    _read: Callable[[str], bytes | NDArray[np.uint8]]
    _decode: Decoder

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class index of every image, (N,)."""
        return np.array([item.label for item in self.items], dtype=np.int64)

    def label(self, index: int) -> int:
        """Returns the class index of one image."""
        return self.items[index].label

    def image(self, index: int) -> Pixels:
        """Returns the pixels of one image, float64 (height, width, 1 or 3) in [0, 1], read from its file.

        Raises:
            Rejected: dataset_unavailable where its file is missing, or what the decoder refuses.
        """
        content = self._read(self.items[index].name)
        return self._decode(content) if isinstance(content, bytes) else scale_to_unit(content)


def load_split(card: DatasetCard, directory: Path, split: SplitName, *, decode: Decoder = decode_with_pillow) -> Split:
    """Returns a split, with its images listed but not read.

    Args:
        card: the card of the data set.
        directory: its own folder or zip, or the folder that holds it under the name in the card.
        split: `train`, `val` or `test`.
        decode: turns the bytes of a file into pixels; the default reads no DICOM.

    Raises:
        Rejected: dataset_unavailable for a part that is missing or was never published, or invalid_dataset.
    """
    files = Files.of(card, directory)
    listing = LAYOUTS[card.layout](files, split)
    names, template = names_and_template(card)
    if names is not None and listing.class_names not in (None, names):
        raise files.malformed(f"the classes of its files differ from those of the task {card.task!r}")
    if not listing.items:
        raise files.malformed(f"the {split} split holds no image")
    return Split(
        class_names=names or listing.class_names or (),
        template=template,
        items=tuple(listing.items),
        rule=listing.rule,
        _read=listing.read,
        _decode=decode,
    )


def model_inputs(split: Split, indices: Sequence[int], card: BackboneCard) -> Tensor:
    """Returns some images of a split, float32 (N, 3, S, S) in [0, 1], resized to the model input as the service does.

    Raises:
        Rejected: as `Split.image` does, or image_too_small.
    """
    inputs = [fitted(split.image(index), card.image_size, card.fit).pixels for index in indices]
    return torch.stack([torch.from_numpy(pixels.copy()) for pixels in inputs])
