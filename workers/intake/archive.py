"""Reads a zip with one folder of images for each class, and matches folders to classes.

All code that touches the bytes of an archive runs in the sandbox. Nothing is ever unpacked to a disk, so a path is only
a name. Paths that would be dangerous elsewhere are refused all the same: such an archive is not what it seems.
"""

import io
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from certrad.models.errors import Rejected
from certrad.models.types.cards import alike_classes, check_classes

PATH_MAX: Final = 255
_SHOWN: Final = 120
_ENCRYPTED: Final = 1 << 0
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SMALL: Final = 1 << 20
_RATIO_MAX: Final = 250
_CHUNK: Final = 1 << 20
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """The limits on an archive.

    Attributes:
        files: Maximum number of files.
        unpacked_bytes: Maximum number of bytes of all files together.
    """

    files: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The classes of an archive.

    Attributes:
        class_names: Their names, in order.
        folders: The folder of each class.
    """

    class_names: tuple[str, ...]
    folders: tuple[str, ...]


def list_images(archive: bytes, limits: ArchiveLimits) -> dict[str, list[str]]:
    """Returns folder -> sorted paths of its files, read from the directory of the archive alone; names are in NFC.

    A single common top folder, `__MACOSX` and names that begin with a dot are passed over; the folder they lie in is
    not, so that one that holds nothing else is an empty class.

    Args:
        archive: The zip.
        limits: What it may unpack to.

    Raises:
        Rejected: `invalid_archive`, `unsafe_archive`, `archive_too_large`, `duplicate_file` or `empty_class`.
    """
    with _opened(archive) as file:
        entries = file.infolist()
    _check_sizes(entries, limits)
    for entry in entries:
        _check_entry(entry)
    paths = [path for entry in entries if (path := _visible(entry.filename))]
    skipped = _common_top(paths)
    folders: dict[str, list[str]] = {}
    for path in paths:
        parts = _parts(path)[skipped:]
        if not _is_folder(path) and len(parts) != 2:
            raise Rejected("invalid_archive", f"every file must lie in the folder of a class, got `{shown(path)}`")
        if parts:
            files = folders.setdefault(_nfc(parts[0]), [])
            if not _is_folder(path):
                files.append(path)
    _check_names(folders)
    for folder, files in folders.items():
        if not files:
            raise Rejected("empty_class", f"every folder must hold an image, but `{shown(folder)}` holds none")
        files.sort()
    return dict(sorted(folders.items()))


def read_images(archive: bytes, paths: Iterable[str]) -> Iterator[bytes]:
    """Yields the bytes of these files, one after the other; never reads more of a file than its header announces.

    The directory, which may be long, is read once.

    Args:
        archive: The zip.
        paths: Paths in it.

    Raises:
        Rejected: `invalid_archive`, the zip is damaged.
    """
    with _opened(archive) as file:
        for path in paths:
            content = bytearray()
            size = file.getinfo(path).file_size
            with file.open(path) as stream:
                while chunk := stream.read(_CHUNK):
                    content += chunk
            if len(content) != size:
                raise Rejected(
                    "invalid_archive", f"a file must have the {size} bytes that the zip declares, got {len(content)}"
                )
            yield bytes(content)


def match_classes(folders: Iterable[str], class_names: Sequence[str] | None, published: Sequence[str]) -> Classes:
    """Returns the folder of each class: by name where the names are the same, else in the sorted order of the folders.

    Names are the same if they differ in case, spaces and punctuation only, as `Chest_CT` and `chest CT` do: taken for
    others, sorted into another order, they would teach the prompt wrong classes without a word. Numbers are in order
    of their value, so that folder 2 comes before folder 10.

    Args:
        folders: The names of the folders.
        class_names: The names of the classes; None makes those of the folders the names of the classes.
        published: What the published data set with these classes calls its folders, class by class; as good as the
            names, and empty where there is no such data set.

    Raises:
        Rejected: `too_few_classes` or `class_mismatch`.
    """
    ordered = sorted(folders)
    if len(ordered) < 2:
        raise Rejected("too_few_classes", f"the archive must have at least 2 folders of images, got {len(ordered)}")
    names = tuple(ordered if class_names is None else class_names)
    try:
        check_classes(names, "{}")
    except ValueError as error:
        raise Rejected("class_mismatch", str(error)) from None
    if class_names is None and (alike := alike_classes(names)):
        raise Rejected(
            "class_mismatch", f"folders must differ in more than case, spaces and underscores, got {alike!r}"
        )
    if len(names) != len(ordered):
        raise Rejected(
            "class_mismatch", f"the archive must have {len(names)} folders, one for each class; got {len(ordered)}"
        )
    in_order = sorted(ordered, key=int) if all(map(str.isdecimal, ordered)) else ordered
    readings = [_places(in_order, known) for known in (names, published) if known]
    for places in readings:
        if None not in places:
            return Classes(class_names=names, folders=tuple(in_order[places.index(k)] for k in range(len(names))))
    for place, (folder, *named) in enumerate(zip(in_order, *readings, strict=True)):
        if set(named) - {None, place}:
            raise Rejected(
                "class_mismatch",
                f"the folder `{shown(folder)}` stands for another class than {names[place]!r}, whose place it takes",
            )
    return Classes(class_names=names, folders=tuple(in_order))


def shown(path: str) -> str:
    """Returns a path as an error names it: its end, if it is long.

    Args:
        path: The path.
    """
    return path if len(path) <= _SHOWN else f"…{path[-_SHOWN:]}"


@contextmanager
def _opened(archive: bytes) -> Iterator[zipfile.ZipFile]:
    """Yields the archive; turns any error of the standard library into Rejected, without its message."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            yield file
    except _BROKEN as error:
        raise Rejected("invalid_archive", f"the zip is damaged: {type(error).__name__}") from error


def _check_sizes(entries: Sequence[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if len(entries) > limits.files:
        raise Rejected("archive_too_large", f"the archive must have at most {limits.files} files, got {len(entries)}")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.unpacked_bytes:
        raise Rejected(
            "archive_too_large", f"the archive must unpack to at most {limits.unpacked_bytes} bytes, got {unpacked}"
        )
    for entry in entries:
        if entry.file_size > max(_SMALL, _RATIO_MAX * entry.compress_size):
            raise Rejected(
                "archive_too_large",
                f"`{shown(_printable(entry.filename))}` unpacks to {entry.file_size} bytes from {entry.compress_size}",
            )


def _check_entry(entry: zipfile.ZipInfo) -> None:
    # As it stands in the file, for `filename` is cut at a zero byte; and as Python takes it, for newer versions take it
    # from an extra field, which may say anything.
    for path in (entry.orig_filename, entry.filename):
        _check_path(path)
    name = shown(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        raise Rejected("unsafe_archive", f"`{name}` is a link or a device, not a file")
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        raise Rejected("invalid_archive", f"every file must be stored or deflated, and not encrypted; `{name}` is not")


def _check_path(path: str) -> None:
    name = shown(_printable(path))
    parts = path.removesuffix("/").split("/")
    if len(path) > PATH_MAX or not path.isprintable() or "\\" in path:
        raise Rejected(
            "unsafe_archive", f"every path must be plain and have at most {PATH_MAX} characters; `{name}` is not"
        )
    if parts[0][1:2] == ":" or any(part in ("", ".", "..") for part in parts):
        raise Rejected("unsafe_archive", f"every path must lie below a folder; `{name}` does not")


def _check_names(folders: Mapping[str, Sequence[str]]) -> None:
    """Rejects names that a disk which ignores case, as most do, would take for one."""
    seen: set[str] = set()
    for path in [*folders, *(path for files in folders.values() for path in files)]:
        key = _nfc(_nfc(path).casefold())
        if key in seen:
            raise Rejected(
                "duplicate_file", f"file names must differ by more than case and accents; `{shown(path)}` occurs twice"
            )
        seen.add(key)


def _common_top(paths: Sequence[str]) -> int:
    """Returns 1 when everything lies in one folder that itself has folders, else 0."""
    below = [_parts(path) if _is_folder(path) else _parts(path)[:-1] for path in paths]
    return int(len({parts[0] for parts in below if parts}) == 1 and all(below) and any(len(p) > 1 for p in below))


def _places(folders: Sequence[str], names: Sequence[str]) -> list[int | None]:
    """Returns, for each folder, the index of the class name that it matches, or None."""
    spell = _spelling(names, folders)
    place_of = {spell(name): place for place, name in enumerate(names)}
    return [place_of.get(spell(folder)) for folder in folders]


def _spelling(names: Sequence[str], folders: Sequence[str]) -> Callable[[str], str]:
    """Returns what names are compared by: their letters and digits, or the names themselves where those are too few."""
    if all(len({_letters(name) for name in group} - {""}) == len(group) for group in (names, folders)):
        return _letters
    return _nfc


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


def _visible(path: str) -> str:
    """Returns the path, or that of the folder a hidden file or folder lies in; empty where there is none."""
    parts = _parts(path)
    for place, part in enumerate(parts):
        if part.startswith(".") or part == "__MACOSX":
            return "".join(f"{folder}/" for folder in parts[:place])
    return path


def _is_folder(path: str) -> bool:
    return path.endswith("/")


def _parts(path: str) -> list[str]:
    return path.removesuffix("/").split("/")


def _printable(path: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in path)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
