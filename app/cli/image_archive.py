"""Packs labelled images of this machine for POST /prompts: one folder for each class, files named by numbers.

A file's name may reveal the patient, so the archive never has it.
"""

import csv
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

_COLUMNS: Final = ("path", "label")
_FORBIDDEN: Final = frozenset("/\\\0")


class ImagesError(Exception):
    """The images cannot be packed; the message says which item is at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The packed files by their paths in the archive; empty if the archive is the user's own."""

    files: Mapping[str, Path] = field(default_factory=dict)

    def in_own_names(self, text: str) -> str:
        """Returns a message of the service, with the archive's paths replaced by those on this machine."""
        for name, path in self.files.items():
            text = text.replace(f"`{name}`", f"`{path}`")
        return text


def pack(source: Path, target: BinaryIO) -> Packed:
    """Writes the archive of labelled images.

    Images keep the order of their names in a folder, or of their rows in a CSV.

    Args:
        source: A folder of folders, or a CSV with the columns path and label; its paths are relative to it.
        target: Where to write the archive.

    Returns:
        The files in the archive.

    Raises:
        ImagesError: The images cannot be packed.
    """
    classes = _of_folder(source) if source.is_dir() else _of_csv(source)
    if len(classes) < 2:
        raise ImagesError(f"{source} must have at least 2 classes; got {len(classes)}")
    files = {}
    with zipfile.ZipFile(target, "w") as archive:
        for label, paths in sorted(classes.items()):
            for number, path in enumerate(paths, 1):
                name = f"{label}/{number:06}"
                files[name] = path
                _add(archive, name, path)
    return Packed(files=files)


def is_archive(source: Path) -> bool:
    """Returns whether the images are in a zip already, which the client sends unchanged."""
    return source.is_file() and zipfile.is_zipfile(source)


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Adds a file by its bytes alone, without time or owner; uncompressed, because images are compressed already.

    Raises:
        ImagesError: The file cannot be read.
    """
    try:
        with path.open("rb") as image, archive.open(zipfile.ZipInfo(name), "w") as entry:
            shutil.copyfileobj(image, entry)
    except OSError as error:
        raise ImagesError(f"{path} cannot be read: {error.strerror}") from error


def _of_folder(folder: Path) -> dict[str, list[Path]]:
    """Returns the files of every subfolder, by its name, without names that begin with a dot.

    Raises:
        ImagesError: A subfolder is empty, or has a folder of its own.
    """
    classes = {}
    for directory in _visible(folder):
        if directory.is_dir():
            files = list(_visible(directory))
            nested = [path for path in files if not path.is_file()]
            if nested or not files:
                what = f"{nested[0]} is no file" if nested else f"{directory} holds no image"
                raise ImagesError(f"a folder of a class holds images and nothing else: {what}")
            classes[directory.name] = files
    return classes


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _of_csv(table: Path) -> dict[str, list[Path]]:
    """Returns the files of every label; an error names the row by its line in the file.

    Raises:
        ImagesError: The table cannot be read, or a file is missing or comes twice.
    """
    classes: dict[str, list[Path]] = {}
    seen: set[Path] = set()
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            if not set(_COLUMNS) <= set(rows.fieldnames or ()):
                raise ImagesError(f"{table} must be a zip, or a CSV with the columns path and label")
            for row in rows:
                path, label = _row(table, rows.line_num, row)
                if path.resolve() in seen:  # it could be tuned on and measured on, or have two labels
                    raise ImagesError(f"{table}, line {rows.line_num}: {row['path']!r} comes more than once")
                seen.add(path.resolve())
                classes.setdefault(label, []).append(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImagesError(f"{table} is neither a zip nor a CSV in UTF-8") from error
    return classes


def _row(table: Path, line: int, row: Mapping[str, str | None]) -> tuple[Path, str]:
    named, label = row["path"] or "", (row["label"] or "").strip()
    path = table.parent / named
    if not named or not path.is_file():
        raise ImagesError(f"{table}, line {line}: there is no file {named!r} in {table.parent}")
    if not label or label.startswith(".") or _FORBIDDEN & set(label):
        raise ImagesError(f"{table}, line {line}: {label!r} cannot be the name of a class")
    return path, label
