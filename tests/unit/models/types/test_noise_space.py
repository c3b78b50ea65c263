"""What noise is added to: its types refuse what cannot be."""

from dataclasses import replace
from typing import Any

import pytest

from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.models.types.noise_space import NoisyImage
from certrad.models.types.tuning import TuningParams, TuningRequest

IMAGE = NoisyImage(rows=40, columns=44, channels=3, of_rows=40, of_columns=60, fit="crop", sha256="ab" * 32)
SPEC = ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="{}")


@pytest.mark.parametrize(
    "change",
    [{"rows": 41}, {"columns": 61}, {"rows": 0}, {"channels": 2}, {"fit": "stretch"}, {"sha256": "ab"}],
)
def test_image_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        replace(IMAGE, **change)


def test_map_is_the_image_without_its_pixels() -> None:
    assert IMAGE.map == replace(IMAGE, sha256="cd" * 32).map
    assert (IMAGE.values, IMAGE.map.shape) == (40 * 44 * 3, (3, 40, 44))


def test_request_refuses_an_unknown_noise_space() -> None:
    space: Any = "pixels"
    with pytest.raises(ValueError, match="noise_space must be one of model_input, image"):
        CertifyRequest(classifier=SPEC, noise_space=space)


@pytest.mark.parametrize("method", ["coop", "advpt"])
def test_tuning_without_noise_has_no_noise_space(method: Any) -> None:
    params = TuningParams.published(method)
    request = TuningRequest(name="mine", backbone="demo", class_names=None, task=None, params=params)
    with pytest.raises(ValueError, match="noise_space goes with few_shot"):
        replace(request, noise_space="image")
