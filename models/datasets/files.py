"""Access to the files of a data set, in a folder or in the zip that it is distributed in."""

import csv
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from certrad.models.errors import Rejected
from certrad.models.types import DatasetCard

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".dcm"})


@dataclass(frozen=True, slots=True, eq=False)
class Files:
    """The files of one data set by their paths under its folder, or inside its zip, with `/` between the parts.

    Listings are sorted by name, in whatever order the file system returns them.

    Attributes:
        card: the card of the data set.
        root: its folder or zip.
    """

    card: DatasetCard
    root: Path
    _bundle: zipfile.ZipFile | None = field(default=None)

    @classmethod
    def of(cls, card: DatasetCard, directory: Path) -> "Files":
        """Returns the files of a data set.

        Args:
            card: the card of the data set.
            directory: its own folder or zip, or the folder that holds it under the name in the card.

        Raises:
            Rejected: dataset_unavailable where there is neither.
        """
        root = directory / card.folder if (directory / card.folder).exists() else directory
        if root.is_dir():
            return cls(card, root)
        if zipfile.is_zipfile(root):
            return cls(card, root, zipfile.ZipFile(root))
        raise Rejected(
            "dataset_unavailable", f"{card.id}: there is no folder or zip at {root}; get it from {card.source}"
        )

    def part(self, name: str) -> str:
        """Returns the path that the card gives for a split or another part.

        Raises:
            Rejected: dataset_unavailable for a split that is not published.
        """
        if name not in self.card.paths:
            raise self.unpublished(name, [split for split in ("train", "val", "test") if split in self.card.paths])
        return self.card.paths[name]

    def unpublished(self, split: str, published: Iterable[str]) -> Rejected:
        """Returns the refusal for a split that the data set is published without."""
        return Rejected(
            "dataset_unavailable",
            f"{self.card.id}: the split must be a published one ({', '.join(published)}); got {split}",
        )

    def missing(self, name: str) -> Rejected:
        """Returns the refusal for a file or folder that does not exist."""
        return Rejected(
            "dataset_unavailable", f"{self.card.id}: there is no {self.root / name}; get it from {self.card.source}"
        )

    def malformed(self, what: str) -> Rejected:
        """Returns the refusal for contents that are not as published."""
        return Rejected("invalid_dataset", f"{self.card.id}: {what}")

    def has(self, name: str) -> bool:
        """Returns whether there is such a file or folder; in a zip, such a file."""
        return (self.root / name).exists() if self._bundle is None else name in self._bundle.NameToInfo

    def path(self, name: str) -> Path:
        """Returns a file or folder on disk.

        Raises:
            Rejected: dataset_unavailable where there is none.
        """
        if not self.has(name):
            raise self.missing(name)
        return self.root / name

    def image(self, name: str) -> bytes:
        """Returns the bytes of an image.

        Raises:
            Rejected: dataset_unavailable where there is none; the message omits the name, which may identify a patient.
        """
        if (content := self._content(name)) is None:
            raise Rejected("dataset_unavailable", f"{self.card.id}: an image of the split is missing from {self.root}")
        return content

    def folders(self, name: str) -> list[str]:
        """Returns the names of the folders in a folder on disk, without hidden ones."""
        names = sorted(entry.name for entry in self.path(name).iterdir() if entry.is_dir())
        return [folder for folder in names if not folder.startswith(".")]

    def images(self, name: str) -> list[str]:
        """Returns the paths of the images directly in a folder, without hidden files and files without an image suffix.

        Raises:
            Rejected: dataset_unavailable where there is no such folder, or no image in it.
        """
        images = sorted(file for file in self._names(name) if not file.startswith(".") and _is_image(file))
        if not images:
            raise self.missing(f"{name}/*.jpg or another image")
        return [str(PurePosixPath(name, image)) for image in images]

    def lines(self, name: str) -> list[str]:
        """Returns the lines of a text file that are not empty, without the white space around them."""
        text = self._text(name)
        return [stripped for line in text.splitlines() if (stripped := line.strip())]

    def json(self, name: str) -> Any:  # noqa: ANN401  # whatever the file holds
        """Returns the contents of a JSON file.

        Raises:
            Rejected: dataset_unavailable where there is no such file; invalid_dataset where it is not JSON.
        """
        try:
            return json.loads(self._text(name))
        except ValueError:
            raise self.malformed(f"{name} is not JSON") from None

    def rows(self, name: str, columns: Iterable[str]) -> Iterator[Mapping[str, str]]:
        """Yields the rows of a CSV file with a header.

        Raises:
            Rejected: dataset_unavailable where there is no such file; invalid_dataset where one of the columns is
                missing.
        """
        table = csv.DictReader(self._text(name).splitlines())
        if absent := set(columns) - set(table.fieldnames or ()):
            raise self.malformed(f"{name} has no column {', '.join(sorted(absent))}")
        yield from table

    def _content(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes() if self._bundle is None else self._bundle.read(name)
        except (FileNotFoundError, IsADirectoryError, KeyError):
            return None

    def _text(self, name: str) -> str:
        if (content := self._content(name)) is None:
            raise self.missing(name)
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise self.malformed(f"{name} is not UTF-8 text") from None

    def _names(self, name: str) -> Iterable[str]:
        """Returns the names directly in a folder; none if there is no such folder."""
        if self._bundle is not None:
            below = (member.removeprefix(f"{name}/") for member in self._bundle.namelist() if member.startswith(name))
            return [member for member in below if "/" not in member]
        folder = self.path(name)
        return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
