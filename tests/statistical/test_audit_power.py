"""The audit flags the service whose prompt is tuned on the image it certifies, and no service that keeps its claim."""

import pytest

from certrad.models.audit.contradictions import Audit
from certrad.models.audit.verdict import SOUND, Verdict, summarise
from certrad.models.types import SamplingParams
from tests.support.toy_service import ToyService, toy_mode

FALSE_ALARM = 1e-6
IMAGES = 24


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    service = ToyService()
    params = SamplingParams(n=1000)
    modes = [
        toy_mode("fixed", service.prompt, params),
        toy_mode("per sample", service.bank, params),
        service.automatic(params),
        toy_mode("per image", service.prompt, params, service.adapt),
    ]
    audit = Audit(modes=modes, encode=service.encode, secret=bytes(16))
    found = [audit.findings(pixels) for pixels in service.images(IMAGES)]
    return {
        mode.spec.name: summarise(mode.spec, [of_image[place] for of_image in found], audit.targets)
        for place, mode in enumerate(modes)
    }


@pytest.mark.parametrize("mode", ["fixed", "per sample", "auto"])
def test_certificates_that_hold_do_not_contradict_each_other(verdicts: dict[str, Verdict], mode: str) -> None:
    """False alarm: by definition of the p-value at most FALSE_ALARM."""
    assert verdicts[mode].p_value > FALSE_ALARM
    assert verdicts[mode].attacked > IMAGES / 2


def test_prompt_tuned_on_the_image_is_flagged(verdicts: dict[str, Verdict]) -> None:
    tuned = verdicts["per image"]
    assert tuned.contradictions > IMAGES / 3
    assert tuned.p_value < 1e-9 < SOUND


def test_tuning_on_the_image_claims_more_than_the_prompt_it_began_with(verdicts: dict[str, Verdict]) -> None:
    tuned, fixed = verdicts["per image"].mean_radius, verdicts["fixed"].mean_radius
    assert tuned is not None
    assert fixed is not None
    assert tuned > 1.5 * fixed
