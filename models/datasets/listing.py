"""The images of one split with their labels, as a loader lists them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from certrad.models.datasets.files import Files

SplitRule = Literal["published", "seeded"]


@dataclass(frozen=True, slots=True)
class Item:
    """One image: its path in its data set, unique there, and the index of its class."""

    name: str
    label: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listing:
    """The images of one split.

    Attributes:
        items: the images with their labels.
        read: returns the bytes of an image file by name, or its grey levels (height, width) or (height, width, 3).
        class_names: None where the task of the data set names them.
        rule: `seeded` where no split was published, or its file is missing, so that one was drawn with a fixed seed.
    """

    items: Sequence[Item]
    read: Callable[[str], bytes | NDArray[np.uint8]]
    class_names: tuple[str, ...] | None = None
    rule: SplitRule = "published"


def unique(items: Iterable[Item], files: Files) -> tuple[Item, ...]:
    """Returns each image once, sorted by name.

    Raises:
        Rejected: invalid_dataset where one image has two labels; the message omits its name.
    """
    labels: dict[str, int] = {}
    for item in items:
        if labels.setdefault(item.name, item.label) != item.label:
            raise files.malformed(f"an image has two labels, {labels[item.name]} and {item.label}")
    return tuple(Item(name, labels[name]) for name in sorted(labels))


def label_of(raw: str, files: Files) -> int:
    """Returns the class index of the name that the files use for a class.

    Raises:
        Rejected: invalid_dataset for a name that the card does not list.
    """
    try:
        return files.card.raw_labels.index(raw)
    except ValueError:
        expected = ", ".join(files.card.raw_labels)
        raise files.malformed(f"the class must be one of {expected}; got {raw!r}") from None
