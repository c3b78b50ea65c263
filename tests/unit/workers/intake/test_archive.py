"""An archive of labelled images is listed in order, or refused with a code and a name."""

import stat
import struct
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certrad.models.errors import Rejected
from certrad.workers.intake.archive import ArchiveLimits, list_images, match_classes, read_images, shown
from tests.support.archives import zipped

LIMITS = ArchiveLimits(files=50, unpacked_bytes=8 << 20)
SOUND = {"cat/1.png": b"one", "cat/2.png": b"two", "dog/1.png": b"three"}
LISTED = {"cat": ["cat/1.png", "cat/2.png"], "dog": ["dog/1.png"]}


def refused(archive: bytes, limits: ArchiveLimits = LIMITS) -> Rejected:
    with pytest.raises(Rejected) as caught:
        list_images(archive, limits)
    return caught.value


def with_entry(name: str, content: bytes = b"x", **attributes: int) -> bytes:
    """The sound archive with one more entry."""
    info = zipfile.ZipInfo(name)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return zipped([*SOUND.items(), (info, content)])


def read_image(archive: bytes, path: str) -> bytes:
    (content,) = read_images(archive, [path])
    return content


def patched(archive: bytes, offset: int, value: bytes) -> bytes:
    """The archive with other bytes at an offset into the first entry of its directory."""
    at = archive.index(b"PK\x01\x02") + offset
    return archive[:at] + value + archive[at + len(value) :]


def test_the_files_of_every_folder_are_listed_in_sorted_order() -> None:
    assert list_images(zipped(dict(reversed(SOUND.items()))), LIMITS) == LISTED
    assert list(list_images(zipped(dict(reversed(SOUND.items()))), LIMITS)) == ["cat", "dog"]


def test_a_single_common_top_folder_is_passed_over() -> None:
    listed = list_images(zipped({"data/": b"", **{f"data/{path}": content for path, content in SOUND.items()}}), LIMITS)
    assert listed == {folder: [f"data/{path}" for path in paths] for folder, paths in LISTED.items()}


def test_what_operating_systems_add_is_passed_over() -> None:
    added = {"__MACOSX/cat/._1.png": b"", "cat/.DS_Store": b"", ".hidden/1.png": b"", "cat/": b""}
    assert list_images(zipped({**SOUND, **added}), LIMITS) == LISTED


def test_an_image_is_read_whole() -> None:
    content = bytes(range(256)) * 9_000  # of several reads
    assert read_image(zipped({"cat/1.png": content}), "cat/1.png") == content


@pytest.mark.parametrize("archive", [b"", b"PK\x03\x04", b"Dear Sir or Madam", zipped(SOUND)[:-30]])
def test_what_is_no_zip_is_refused(archive: bytes) -> None:
    assert refused(archive).code == "invalid_archive"


@given(st.data())
def test_a_damaged_zip_is_read_or_refused(data: st.DataObject) -> None:
    archive = bytearray(zipped(SOUND))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    code = None
    try:
        for paths in list_images(bytes(archive), LIMITS).values():
            for path in paths:
                read_image(bytes(archive), path)
    except Rejected as refusal:
        code = refusal.code
    assert code in (None, "invalid_archive", "unsafe_archive", "archive_too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/cat/3.png",
        "../cat/3.png",
        "cat/../../3.png",
        "cat/..",
        "./cat/3.png",
        "cat//3.png",
        "cat\\3.png",
        "..\\..\\3.png",
        "C:/cat/3.png",
        "c:3.png",
        "cat/3\n.png",
        "cat/\u202egnp.3",
        f"cat/{'x' * 300}.png",
    ],
)
def test_a_path_that_is_no_plain_one_is_refused_by_its_name(path: str) -> None:
    error = refused(with_entry(path))
    assert error.code == "unsafe_archive"
    assert "".join(character if character.isprintable() else "?" for character in path)[-100:] in error.detail


@pytest.mark.parametrize("path", ["../x.png", "cat/\x1b[2J.png", "cat/" + "x" * 300])
def test_the_path_that_python_takes_for_another_is_checked_too(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = zipfile.ZipFile.infolist

    def with_a_path_from_an_extra_field(self: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        entries = read(self)
        entries[0].filename = path
        return entries

    monkeypatch.setattr(zipfile.ZipFile, "infolist", with_a_path_from_an_extra_field)
    rejected = refused(zipped(SOUND))
    assert rejected.code == "unsafe_archive"
    assert rejected.detail.isprintable()


def test_a_path_cut_by_a_zero_byte_is_refused() -> None:
    archive = with_entry("cat/3.png_.exe").replace(b"cat/3.png_.exe", b"cat/3.png\0.exe")
    assert refused(archive).code == "unsafe_archive"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_link_or_device_is_refused_by_its_name(kind: int) -> None:
    error = refused(with_entry("cat/3.png", b"/etc/passwd", external_attr=(kind | 0o777) << 16))
    assert error.code == "unsafe_archive"
    assert "cat/3.png" in error.detail


def test_an_encrypted_entry_is_refused_by_its_name() -> None:
    error = refused(patched(zipped(SOUND), 8, struct.pack("<H", 1)))
    assert error.code == "invalid_archive"
    assert "cat/1.png" in error.detail


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_another_method_of_compression_is_refused(method: int) -> None:
    assert refused(patched(zipped(SOUND), 10, struct.pack("<H", method))).code == "invalid_archive"


@pytest.mark.parametrize(
    "twins",
    [
        ("cat/1.png", "cat/1.png"),
        ("cat/a.png", "cat/A.png"),
        (unicodedata.normalize("NFC", "cat/é.png"), unicodedata.normalize("NFD", "cat/é.png")),
        ("cat/1.png", "Cat/2.png"),
        ("straße/1.png", "STRASSE/2.png"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_or_folders_of_one_name_are_refused(twins: tuple[str, str]) -> None:
    error = refused(zipped([("dog/1.png", b"x"), *((path, b"x") for path in twins)]))
    assert error.code == "duplicate_file"


def test_files_of_different_folders_may_have_one_name() -> None:
    assert list_images(zipped({"cat/1.png": b"x", "dog/1.png": b"x"}), LIMITS) == {
        "cat": ["cat/1.png"],
        "dog": ["dog/1.png"],
    }


@pytest.mark.parametrize("hidden", ["ant/.DS_Store", "ant/.cache/1.png"])
def test_a_folder_of_hidden_files_alone_is_an_empty_class(hidden: str) -> None:
    error = refused(with_entry(hidden))
    assert error.code == "empty_class"
    assert "`ant`" in error.detail


def test_an_empty_class_is_refused_by_its_name() -> None:
    error = refused(zipped({**SOUND, "eel/": b""}))
    assert error.code == "empty_class"
    assert "`eel`" in error.detail


@pytest.mark.parametrize("path", ["readme.txt", "cat/kittens/1.png"])
def test_a_file_that_lies_in_no_class_is_refused_by_its_name(path: str) -> None:
    error = refused(zipped({**SOUND, path: b"x"}))
    assert error.code == "invalid_archive"
    assert path in error.detail


def test_more_files_than_allowed_are_refused() -> None:
    assert list_images(zipped(SOUND), ArchiveLimits(files=3, unpacked_bytes=100)) == LISTED
    assert refused(zipped(SOUND), ArchiveLimits(files=2, unpacked_bytes=100)).code == "archive_too_large"


def test_more_bytes_than_allowed_are_refused() -> None:
    assert list_images(zipped(SOUND), ArchiveLimits(files=3, unpacked_bytes=11)) == LISTED
    assert refused(zipped(SOUND), ArchiveLimits(files=3, unpacked_bytes=10)).code == "archive_too_large"


def test_a_bomb_is_refused_by_its_ratio() -> None:
    error = refused(with_entry("cat/bomb.png", bytes(3 << 20), compress_type=zipfile.ZIP_DEFLATED))
    assert error.code == "archive_too_large"
    assert "cat/bomb.png" in error.detail


@pytest.mark.parametrize("declared", [1, 10_000])
def test_a_file_of_another_size_than_declared_is_refused(declared: int) -> None:
    content = bytes(range(200))
    archive = zipped({"cat/1.png": content})
    lying = patched(archive, 24, struct.pack("<I", declared))
    with pytest.raises(Rejected) as caught:
        read_image(lying, "cat/1.png")
    assert caught.value.code == "invalid_archive"


def test_a_bomb_that_lies_about_its_size_is_never_unpacked_beyond_it() -> None:
    archive = zipped({"cat/1.png": bytes(200 << 20)})
    lying = patched(archive, 24, struct.pack("<I", 1_000))
    tracemalloc.start()
    with pytest.raises(Rejected):
        read_image(lying, "cat/1.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_long_path_is_named_by_its_end() -> None:
    assert shown("cat/" + "x" * 300 + ".png").endswith("xxx.png")
    assert len(shown("x" * 300)) < 130


# -- classes ----------------------------------------------------------------------------------------------------------


def matched(folders: Sequence[str], names: Sequence[str] | None, published: Sequence[str] = ()) -> Mapping[str, str]:
    found = match_classes(folders, names, published)
    assert found.class_names == tuple(names or sorted(folders))
    return dict(zip(found.class_names, found.folders, strict=True))


def test_folders_name_the_classes_when_nobody_else_does() -> None:
    assert matched(["dog", "cat"], None) == {"cat": "cat", "dog": "dog"}


def test_folders_named_like_the_classes_are_matched_by_name() -> None:
    names = ["chest X-ray", "chest CT", "abdomen CT"]
    assert matched(sorted(names), names) == {name: name for name in names}


@pytest.mark.parametrize(
    "spelled", [str.title, str.upper, lambda name: name.replace(" ", "_")], ids=["title", "upper", "underscores"]
)
def test_folders_that_spell_the_classes_otherwise_are_matched_by_name_too(spelled: Callable[[str], str]) -> None:
    names = ["abdomen CT", "breast MRI", "chest X-ray", "chest CT", "hand X-ray", "head CT"]
    assert matched(sorted(map(spelled, names)), names) == {name: spelled(name) for name in names}


def test_names_that_only_punctuation_tells_apart_are_compared_as_they_are() -> None:
    names = ["ER+", "ER-"]
    assert matched(sorted(names), names) == {name: name for name in names}


def test_other_folders_are_matched_in_sorted_order() -> None:
    assert matched(["b", "a", "c"], ["x", "z", "y"]) == {"x": "a", "z": "b", "y": "c"}


@pytest.mark.parametrize("spelled", [str, str.lower])
def test_folders_with_the_names_of_the_published_data_set_are_matched(spelled: Callable[[str], str]) -> None:
    names, published = ["benign", "grade 3", "grade 4", "grade 5"], ["NC", "G3", "G4", "G5"]  # sorted, NC is the last
    folders = list(map(spelled, published))
    assert matched(sorted(folders), names, published) == dict(zip(names, folders, strict=True))


def test_numbers_are_in_order_of_their_value() -> None:
    names = [f"class {letter}" for letter in "abcdefghijkl"]
    assert matched(sorted(map(str, range(12))), names) == {name: str(number) for number, name in enumerate(names)}


def test_a_folder_at_the_place_of_another_published_class_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        match_classes(["G3", "G4", "G5", "normal"], ["benign", "three", "four", "five"], ["NC", "G3", "G4", "G5"])
    assert caught.value.code == "class_mismatch"
    assert "`G3`" in caught.value.detail


def test_names_are_equal_whatever_the_form_of_their_accents() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Ödem") for form in ("NFC", "NFD"))
    assert matched(["Fett", composed], [decomposed, "Fett"]) == {decomposed: composed, "Fett": "Fett"}


@pytest.mark.parametrize("folders", [["cat"], []])
def test_fewer_than_two_classes_are_refused(folders: list[str]) -> None:
    with pytest.raises(Rejected) as caught:
        match_classes(folders, None, ())
    assert caught.value.code == "too_few_classes"


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["a", "b"], ["x", "y", "z"]),
        (["a", "b", "c"], ["x", "y"]),
        (["a", "chest CT", "chest X-ray"], ["a", "chest X-ray", "chest CT and more"]),
        (["a", "chest_ct", "chest_xray"], ["a", "chest X-ray", "chest CT and more"]),
        ([" ", "a"], None),
        (["malignant tumour", "malignant_Tumour"], None),
    ],
    ids=[
        "fewer folders",
        "more folders",
        "another class's name",
        "the same in other letters",
        "blank name",
        "one text",
    ],
)
def test_folders_that_are_not_the_classes_are_refused(folders: list[str], names: list[str] | None) -> None:
    with pytest.raises(Rejected) as caught:
        match_classes(folders, names, ())
    assert caught.value.code == "class_mismatch"
