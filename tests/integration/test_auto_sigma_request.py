"""A request with `sigma=auto` takes the selector of its task, or is refused where no selector or proof serves it."""

from dataclasses import replace

import pytest
from redis import Redis

from certrad.app.api.defaults import resolve
from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.certify import parse
from certrad.app.settings import ApiSettings
from certrad.models.shipped import shipped_tasks
from certrad.models.types import AutoSigma, CertifyRequest, FixedSigma, ZeroShotAdaptation
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.request import read_request, write_request

ROUTING = shipped_tasks()["mednist"].sigma_routing


def resolved(redis: Redis, **fields: str) -> CertifyRequest:
    return resolve(parse({"sigma": "auto", **fields}.items()), Catalogue(redis), ApiSettings())


def refused(redis: Redis, **fields: str) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        resolved(redis, **fields)
    return {error["field"]: error["detail"] for error in caught.value.errors}


def test_auto_takes_the_selector_of_the_task(redis: Redis) -> None:
    request = resolved(redis)
    assert ROUTING is not None
    assert request.sigma == AutoSigma(ROUTING)
    assert request.samples_max == 2 * 100 + (1 + len(ROUTING.sigmas)) * 10_000


def test_a_routed_request_survives_the_job_store(redis: Redis) -> None:
    request = resolved(redis, n="500")
    assert read_request(write_request(request)) == request


def test_a_number_has_no_routing(redis: Redis) -> None:
    assert resolved(redis, sigma="0.5").sigma == FixedSigma(0.5)


def test_auto_is_refused_with_a_target_radius(redis: Redis) -> None:
    assert "fixed `n`" in refused(redis, target_radius="0.25")["target_radius"]


def test_auto_is_refused_with_zero_shot_adaptation(redis: Redis) -> None:
    assert "zero_shot" in refused(redis, adaptation="zero_shot")["sigma"]


def test_auto_is_refused_without_a_selector(redis: Redis) -> None:
    fields = {"classes": '["cat", "dog"]', "template": "a photo of a {}.", "adaptation": "none"}
    assert "mednist" in refused(redis, **fields)["sigma"]


def test_other_words_than_auto_are_not_a_sigma(redis: Redis) -> None:
    assert "number" in refused(redis, sigma="automatic")["sigma"]


def test_a_request_cannot_combine_what_has_no_proof(redis: Redis) -> None:
    request = resolved(redis)
    zero_shot = replace(request.classifier, adaptation=ZeroShotAdaptation())
    for change in (
        {"classifier": zero_shot},
        {"params": replace(request.params, target_radius=0.25)},
    ):
        with pytest.raises(ValueError, match="sigma=auto"):
            replace(request, **change)
