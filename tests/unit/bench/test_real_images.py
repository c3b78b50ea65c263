"""Real files that show a class of the task are certified as that class by what answers when a request names nothing.

The files are those of pydicom and pydicom-data that show a class, by eye and by header, upright and undamaged:

- 693_J2KR (equals 693_UNCR): CT, axial, window 40/100; a brain at the level of the ventricles.
- J2K_pixelrep_mismatch: CT, BodyPartExamined HEAD; the base of the skull.
- RG1_J2KR (equals RG1_UNCR), RG1_J2KI (equals RG1_UNCI, compressed with loss): CR, CHEST, view PA.

Left out, with the reason: 693_J2KI and 693_UNCI, whose brain was reduced to one grey level when it was compressed;
explicit_VR-UN, an abdomen whose rows run from back to front, so that it is seen upside down; eCT_Supplemental, a colour
map of the perfusion of a brain; bad_sequence and CT_small, vertebrae; the head CT files 17106, 17136, 17166 and 17196,
crops of 16 x 16 pixels. No file shows a hand X-ray, a breast MRI or a chest CT.
"""

from collections.abc import Callable

import numpy as np
import pytest

from certrad.bench.common.classifier import default_classifier, shipped_classifier
from certrad.bench.common.mednist import TASK
from certrad.bench.common.real_images import REAL_IMAGES
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.prompts.bank import bank_from_bytes
from certrad.models.prompts.checkpoint import member_digests
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.smoothing import certify
from certrad.models.types import Certificate, SmoothingParams
from certrad.models.types.rejection import UNLIKE

EXPECTED = {
    "693_J2KR.dcm": "head CT",
    "J2K_pixelrep_mismatch.dcm": "head CT",
    "RG1_J2KR.dcm": "chest X-ray",
    "RG1_J2KI.dcm": "chest X-ray",
}
KEY = bytes(range(32))
EXTRA = "mednist-bank-unlike-4f38ade64cc2d962"


@pytest.fixture(scope="module")
def classifier() -> Callable[[float], VisionLanguageClassifier]:
    return default_classifier("float32")


def test_the_files_are_those_that_show_their_class_undamaged_and_upright() -> None:
    assert {image.file: image.truth for image in REAL_IMAGES if image.faithful} == EXPECTED


@pytest.mark.parametrize("sigma", [0.25, 0.5])
@pytest.mark.parametrize("file", EXPECTED)
def test_a_real_file_is_certified_as_what_it_shows(
    classifier: Callable[[float], VisionLanguageClassifier], file: str, sigma: float
) -> None:
    (image,) = (image for image in REAL_IMAGES if image.file == file)
    task = shipped_tasks()[TASK]
    seen = image.seen(shipped_backbones()[task.default_backbone], task)
    params = SmoothingParams(sigma=sigma, n0=50, n=500)
    outcome = certify(seen.pixels, classifier(sigma), params, key=KEY, batch_size=50).outcome
    assert isinstance(outcome, Certificate)
    assert task.class_names[outcome.class_index] == EXPECTED[file]


# -- the shipped bank with an extra class ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_extra() -> Callable[[float], VisionLanguageClassifier]:
    return shipped_classifier(shipped_prompts()[EXTRA], "float32")


@pytest.mark.parametrize("sigma", [0.25, 0.5])
@pytest.mark.parametrize("file", EXPECTED)
def test_a_real_file_is_not_called_unlike_by_the_bank_with_an_extra_class(
    with_extra: Callable[[float], VisionLanguageClassifier], file: str, sigma: float
) -> None:
    (image,) = (image for image in REAL_IMAGES if image.file == file)
    task = shipped_tasks()[TASK]
    seen = image.seen(shipped_backbones()[task.default_backbone], task)
    params = SmoothingParams(sigma=sigma, n0=50, n=200)
    outcome = certify(seen.pixels, with_extra(sigma), params, key=KEY, batch_size=50).outcome
    assert isinstance(outcome, Certificate)
    assert shipped_prompts()[EXTRA].answers[outcome.class_index] == EXPECTED[file]


@pytest.mark.parametrize("name", ["white", "board"])
def test_a_white_image_and_a_board_are_certified_as_unlike(
    with_extra: Callable[[float], VisionLanguageClassifier], name: str
) -> None:
    board = (np.indices((64, 64)) // 8).sum(axis=0) % 2
    pixels = {"white": np.ones((64, 64)), "board": board}[name].astype(np.float32)
    params = SmoothingParams(sigma=0.25, n0=50, n=200)
    image = np.repeat(pixels[None], 3, axis=0)
    outcome = certify(image, with_extra(0.25), params, key=KEY, batch_size=50).outcome
    assert isinstance(outcome, Certificate)
    assert shipped_prompts()[EXTRA].answers[outcome.class_index] == UNLIKE


def test_its_prompts_and_its_gate_are_those_of_the_default_bank() -> None:
    default = bank_from_bytes((SHIPPED_PROMPTS / f"{shipped_tasks()[TASK].default_bank}.safetensors").read_bytes())
    extra = bank_from_bytes((SHIPPED_PROMPTS / f"{EXTRA}.safetensors").read_bytes())
    assert extra.gate.sha256 == default.gate.sha256
    assert member_digests(extra) == member_digests(default)
    assert shipped_prompts()[EXTRA].rejection is not None
