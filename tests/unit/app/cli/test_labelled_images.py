"""Labelled images are packed without their names, and wrong ones are refused before anything is sent."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from certrad.app.cli.image_archive import ImagesError, is_archive, pack


def write(root: Path, *names: str) -> None:
    """Files whose content is their own name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def packed(source: Path) -> dict[str, str]:
    """The files of the archive and their content."""
    target = io.BytesIO()
    pack(source, target)
    with zipfile.ZipFile(target) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def table(root: Path, content: str) -> Path:
    path = root / "labels.csv"
    path.write_text(content, encoding="utf-8")
    return path


def test_every_folder_is_a_class_and_no_file_keeps_its_name(tmp_path: Path) -> None:
    write(tmp_path, "sick/jane doe.png", "sick/adam.png", "healthy/x.dcm", "readme.txt", "healthy/.hidden", ".git/a")
    assert packed(tmp_path) == {
        "healthy/000001": "healthy/x.dcm",
        "sick/000001": "sick/adam.png",
        "sick/000002": "sick/jane doe.png",
    }


def test_a_csv_names_files_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "a/2.png", "3.png")
    source = table(tmp_path, "label,path,age\nsick,a/2.png,40\nhealthy,a/1.png,50\nsick,3.png,60\n")
    assert packed(source) == {"healthy/000001": "a/1.png", "sick/000001": "a/2.png", "sick/000002": "3.png"}


def test_neither_time_nor_owner_of_a_file_is_sent(tmp_path: Path) -> None:
    write(tmp_path, "a/1", "b/1")
    os.utime(tmp_path / "a" / "1", (0, 0))  # 1970 is before the first year of a zip
    target = io.BytesIO()
    pack(tmp_path, target)
    with zipfile.ZipFile(target) as archive:
        assert {(entry.date_time, entry.external_attr >> 16) for entry in archive.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o600)
        }


def test_a_message_of_the_service_gets_the_names_of_this_machine_back(tmp_path: Path) -> None:
    write(tmp_path, "a/scan.png", "b/scan.png")
    names = pack(tmp_path, io.BytesIO())
    assert names.in_own_names("`a/000001`: truncated") == f"`{tmp_path}/a/scan.png`: truncated"


def test_only_a_zip_is_sent_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, "a/1", "b/1")
    with (tmp_path / "x").open("wb") as target:
        pack(tmp_path, target)
    assert is_archive(tmp_path / "x")
    assert not is_archive(tmp_path)
    assert not is_archive(table(tmp_path, "path,label\n"))


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (("a/1",), "must have at least 2 classes; got 1"),
        ((), "must have at least 2 classes; got 0"),
        (("a/1", "b/.hidden"), "b holds no image"),
        (("a/1", "b/c/1"), "b/c is no file"),
    ],
)
def test_a_folder_that_is_not_one_of_classes_is_refused(tmp_path: Path, files: tuple[str, ...], found: str) -> None:
    write(tmp_path, *files)
    with pytest.raises(ImagesError, match=found):
        packed(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("path,label\n1.png,a\n2.png,b\n", "line 3: there is no file '2.png'"),
        ("path,label\n,a\n", "line 2: there is no file ''"),
        ("path,label\n1.png\n", "line 2: '' cannot be the name of a class"),
        ("path,label\n1.png,../a\n", "line 2: '../a' cannot be the name of a class"),
        ("path,label\n1.png,a\n", "must have at least 2 classes; got 1"),
        ("path,label\n1.png,a\n1.png,b\n", "line 3: '1.png' comes more than once"),
        ("path,label\n1.png,a\n./1.png,a\n", "line 3: './1.png' comes more than once"),
        ("file,class\n1.png,a\n", "columns path and label"),
        ("", "columns path and label"),
    ],
)
def test_a_csv_that_does_not_say_what_is_where_is_refused(tmp_path: Path, content: str, found: str) -> None:
    write(tmp_path, "1.png")
    with pytest.raises(ImagesError, match=found):
        packed(table(tmp_path, content))


def test_what_is_neither_zip_nor_csv_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for name in ("1.png", "binary"):
        with pytest.raises(ImagesError, match="zip"):
            packed(tmp_path / name)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/1", "b/1")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.copyfileobj", refuse)
    with pytest.raises(ImagesError, match="a/1 cannot be read: Permission denied"):
        packed(tmp_path)
