"""What a loader makes of the files of a data set: which images are of a split, and what they show."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from certrad.models.datasets.files import Files

SplitRule = Literal["published", "seeded"]


@dataclass(frozen=True, slots=True)
class Item:
    """One image: where it lies in its data set, unique there, and the index of its class."""

    name: str
    label: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listing:
    """The images of one split.

    class_names: None where the task of the data set names them.
    read: the bytes of the file, or the grey levels (height, width) or (height, width, 3), of an image by its name.
    rule: `seeded` where no split was published, or its file is not there, and one was drawn with a fixed seed.
    """

    items: Sequence[Item]
    read: Callable[[str], bytes | NDArray[np.uint8]]
    class_names: tuple[str, ...] | None = None
    rule: SplitRule = "published"


def unique(items: Iterable[Item], files: Files) -> tuple[Item, ...]:
    """Each image once, sorted by name. Raises Rejected where one has two labels, without its name."""
    labels: dict[str, int] = {}
    for item in items:
        if labels.setdefault(item.name, item.label) != item.label:
            raise files.malformed(f"an image has two labels, {labels[item.name]} and {item.label}")
    return tuple(Item(name, labels[name]) for name in sorted(labels))


def label_of(raw: str, files: Files) -> int:
    """The class index of what the files call a class. Raises Rejected for what the card does not name."""
    try:
        return files.card.raw_labels.index(raw)
    except ValueError:
        expected = ", ".join(files.card.raw_labels)
        raise files.malformed(f"a class of {expected} is expected, got {raw!r}") from None
