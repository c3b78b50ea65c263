"""The header that reports copy from: every file ends in one, or in a refusal without a value of its header."""

import io
import random
import re
from pathlib import Path
from typing import Any

import pydicom
import pytest

from certrad.workers.decoders import bounded_reader
from certrad.workers.reports import source as source_module
from certrad.workers.reports.source import SourceError, read_source
from tests.support.dicom_samples import OUTCOMES, WITHOUT_UIDS, samples
from tests.support.images import sample
from tests.support.sample_reports import ALPHABETS, UIDS, source, source_file

NAMES = {
    "chrArab.dcm": "قباني^لنزار",
    "chrFren.dcm": "Buc^Jérôme",
    "chrFrenMulti.dcm": "Buc^Jérôme",
    "chrGerm.dcm": "Äneas^Rüdiger",
    "chrGreek.dcm": "Διονυσιος",
    "chrH31.dcm": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "chrH32.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "chrHbrw.dcm": "שרון^דבורה",
    "chrI2.dcm": "Hong^Gildong=洪^吉洞=홍^길동",
    "chrJapMulti.dcm": "やまだ^たろう",
    "chrJapMultiExplicitIR6.dcm": "やまだ^たろう",
    "chrKoreanMulti.dcm": "김희중",
    "chrRuss.dcm": "Люкceмбypг",
    "chrX1.dcm": "Wang^XiaoDong=王^小東",
    "chrX2.dcm": "Wang^XiaoDong=王^小东",
}
REFUSALS = re.compile(
    r"the file is not a DICOM file|the transfer syntax of the file is deflated, referenced or unknown"
    r"|\w+UID of the file is missing or malformed|the DICOM object is not an image"
    r"|the DICOM file is truncated or corrupt|the file has too many elements before its pixels"
)
TEXTS = (
    *("PatientName", "PatientID", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription"),
    *("InstitutionName", "OperatorsName", "PatientComments", "ImageComments"),
)


def refusal(data: bytes) -> str | None:
    """The message of the refusal, or None for a header."""
    try:
        read_source(data)
    except SourceError as refused:
        return str(refused)
    return None


def without(keyword: str, **elements: Any) -> bytes:
    """A source file that lacks an element, also one that its meta information repeats."""
    dataset = pydicom.dcmread(io.BytesIO(source_file(**elements)))
    del dataset[keyword]
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_sample_ends_in_a_header_or_a_refusal_from_the_list(name: str) -> None:
    said = refusal(samples()[name].read_bytes())
    assert said is None or REFUSALS.fullmatch(said)


def test_every_image_with_uids_that_is_certified_has_a_header() -> None:
    certified = [name for name, outcome in OUTCOMES.items() if outcome.startswith("ok")]
    assert {name for name in certified if refusal(samples()[name].read_bytes())} == WITHOUT_UIDS


@pytest.mark.parametrize(("name", "patient"), NAMES.items())
def test_names_of_the_charset_files_are_read(name: str, patient: str) -> None:
    path = Path(pydicom.__file__).parent / "data" / "charset_files" / name
    assert str(read_source(path.read_bytes()).PatientName) == patient


@pytest.mark.parametrize(("character_set", "patient"), ALPHABETS.items())
def test_names_in_ten_character_sets_are_read(character_set: str, patient: str) -> None:
    assert str(source(SpecificCharacterSet=character_set, PatientName=patient).PatientName) == patient


def test_header_is_in_utf_8() -> None:
    assert source(SpecificCharacterSet="ISO_IR 100").SpecificCharacterSet == "ISO_IR 192"


def test_a_deflated_file_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(source_module, "read_partial", parse)
    assert refusal(sample("image_dfl.dcm")) == "the transfer syntax of the file is deflated, referenced or unknown"


@pytest.mark.parametrize("keyword", UIDS)
def test_a_file_without_a_uid_is_refused(keyword: str) -> None:
    assert refusal(without(keyword)) == f"{keyword} of the file is missing or malformed"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("uid", ["1.2.a", "1..2", "1.", "../../1", "1.2 3", "1.2." + "3" * 61, "1.2.3\\1.2.4"])
def test_a_malformed_uid_is_refused(uid: str) -> None:
    assert refusal(source_file(StudyInstanceUID=uid)) == "StudyInstanceUID of the file is missing or malformed"


def test_an_object_that_is_no_image_is_refused() -> None:
    assert refusal(sample("rtdose.dcm")) == "the DICOM object is not an image"


def test_an_image_of_an_unknown_class_is_taken() -> None:
    assert source(SOPClassUID="1.2.3.4.5.6").SOPClassUID == "1.2.3.4.5.6"


def test_elements_that_must_be_there_are_empty_where_the_file_lacks_them() -> None:
    bare = source(PatientName=None, PatientID=None, Modality=None)
    absent = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")
    assert {str(bare[keyword].value or "") for keyword in ("PatientName", "PatientID", *absent)} == {""}


@pytest.mark.parametrize("modality", [None, ""])
def test_an_image_without_a_modality_gets_other(modality: str | None) -> None:
    assert source(Modality=modality).Modality == "OT"


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "12/31/1950"),
        ("PatientBirthDate", "19500231"),
        ("StudyTime", "14:04:38"),
        ("StudyTime", "246000"),
        ("PatientSex", "female"),
        ("PatientSex", "X"),
    ],
)
def test_a_value_that_dicom_does_not_allow_is_left_empty(keyword: str, value: str) -> None:
    assert source(**{keyword: value})[keyword].value in ("", None)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("keyword", "value", "read"),
    [
        ("PatientBirthDate", "1950.12.31", "19501231"),
        ("StudyTime", "140438.25", "140438.25"),
        ("PatientID", " 4711 ", "4711"),
        ("TimezoneOffsetFromUTC", "-0330", "-0330"),
    ],
)
def test_values_are_read_in_one_form(keyword: str, value: str, read: str) -> None:
    assert source(**{keyword: value})[keyword].value == read


def test_an_offset_that_is_none_is_left_out() -> None:
    assert "TimezoneOffsetFromUTC" not in source(TimezoneOffsetFromUTC="Z")


def test_a_removed_identity_has_a_method() -> None:
    assert source(PatientIdentityRemoved="YES").DeidentificationMethod == "Not stated in the source image"


def test_neither_pixels_nor_private_elements_are_read() -> None:
    kept = source(ImageComments="seen on Monday", InstitutionName="St Elsewhere")
    assert {element.keyword for element in kept} & {"PixelData", "Rows", "ImageComments", "InstitutionName"} == set()


@pytest.mark.filterwarnings("ignore")  # of the writer of the file
def test_no_message_has_a_value_of_the_header(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    file = source_file(PatientBirthDate="CANARY", StudyTime="CANARY", PatientName="CANARY=" * 5, SeriesNumber=None)
    caplog.clear()
    recwarn.clear()
    read_source(file)
    assert "CANARY" not in caplog.text
    assert list(recwarn) == []


def test_several_methods_of_deidentification_are_kept_apart() -> None:
    assert list(source(DeidentificationMethod=["one", "two"]).DeidentificationMethod) == ["one", "two"]


def test_a_header_of_too_many_elements_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_reader, "READS_MAX", 30)
    assert refusal(source_file()) == "the file has too many elements before its pixels"


def test_a_header_of_nested_sequences_is_refused() -> None:
    file = source_file()
    start = 144 + int.from_bytes(file[140:144], "little")  # behind the meta information
    opening = bytes.fromhex("08001511 5351 0000 ffffffff  feff00e0 ffffffff")  # a sequence and its first item
    assert refusal(file[:start] + opening * 500) == "the DICOM file is truncated or corrupt"


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_ends_in_a_header_or_a_refusal(seed: int) -> None:
    rng, data = random.Random(seed), bytearray(sample("CT_small.dcm")[:4000])
    for _ in range(20):
        data[rng.randrange(len(data))] = rng.randrange(256)
    said = refusal(bytes(data))
    assert said is None or REFUSALS.fullmatch(said)


def test_no_refusal_has_a_value_of_the_header() -> None:
    canaries = {keyword: f"CANARY{number}" for number, keyword in enumerate(TEXTS)}
    files = [without(keyword, **canaries) for keyword in UIDS]
    damaged = source_file(**canaries)
    files += [damaged[:length] for length in range(132, len(damaged), 97)]
    assert [said for said in map(refusal, files) if said and "CANARY" in said] == []
