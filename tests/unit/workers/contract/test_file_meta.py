"""The identity of a DICOM file is found in its file meta information, and malformed bytes end in none."""

import random

import pytest

from certrad.workers.contract.file_meta import META_BYTES, Identity, read_identity
from tests.support.fake_pacs import meta_element
from tests.support.images import dicom
from tests.support.stow import DIGITAL_X_RAY, instance

UID = "1.2.840.99.5"
START = b"\0" * 128 + b"DICM"


def test_identity_of_a_file_that_pydicom_wrote() -> None:
    import numpy as np

    content = dicom(np.zeros((4, 4), np.uint8), SOPInstanceUID=UID, SOPClassUID=DIGITAL_X_RAY)
    assert read_identity(content) == Identity(sop_class=DIGITAL_X_RAY, sop_instance=UID)


def test_elements_with_long_lengths_are_stepped_over() -> None:
    content = START + meta_element(1, b"OB", b"\0\1" * 500) + instance(UID)[132:]
    assert read_identity(content) == Identity(sop_class=DIGITAL_X_RAY, sop_instance=UID)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        START,
        b"\0" * 128 + b"DICX" + instance(UID)[132:],
        instance(UID)[:-2],
        instance("1.2/../../etc"),
        instance("CANARY^NAME"),
        instance("1." * 40 + "1"),
        START + b"\x02\0\x01\0OB\0\0\xff\xff\xff\xff",
        START + meta_element(1, b"OB", bytes(META_BYTES)) + instance(UID)[132:],
    ],
)
def test_bytes_without_a_uid_have_no_identity(content: bytes) -> None:
    assert read_identity(content) is None


def test_damaged_bytes_end_in_a_uid_or_in_none() -> None:
    noise = random.Random(1)
    whole = bytearray(instance(UID))
    answers = set()
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[noise.randrange(128, len(damaged))] = noise.randrange(256)
        identity = read_identity(bytes(damaged))
        answers.add(identity is None)
        if identity is not None:
            assert set(identity.sop_instance) <= set("0123456789.")
    assert answers == {True, False}
