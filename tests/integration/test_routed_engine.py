"""A job with automatic sigma gives an outcome that anyone can recompute, whichever engines work on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from redis import Redis

from certrad.models.certificates.labels import parse_labels
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler
from certrad.models.smoothing.routing import estimate_routes, select_route
from certrad.models.types import (
    AutoSigma,
    CertifyRequest,
    SamplingParams,
    SigmaRouting,
)
from certrad.workers.contract.names import ledger_key
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import TEMPLATE, Image, Submit, stopping_after, submitter, template_classifier
from tests.support.engine_jobs import attempt as run

# How many routes are sampled depends on the noise: of a random secret, one of 600 leaves the second route out.
pytestmark = pytest.mark.usefixtures("known_secret")

N = 100
ROUTING = SigmaRouting(
    sigmas=(0.1, 0.25, 0.5),
    selector_sigma=0.5,
    grid=2,
    weights=((0.0,) * 4, (0.1,) * 4, (0.0,) * 4),
    biases=(0.0, -0.199, -0.05),
)
"""The middle route for the image below, but not for each of its noisy samples."""
REQUEST = CertifyRequest(
    classifier=TEMPLATE,
    sigma=AutoSigma(ROUTING),
    params=SamplingParams(n0=20, n=N, alpha=0.05),
)


@pytest.fixture(scope="module")
def image() -> Image:
    ramp = np.linspace(0, 1, 64)
    return np.broadcast_to(ramp, (3, 64, 64)).astype(np.float32)


@pytest.fixture
def submit(redis: Redis, image: Image) -> Submit:
    return submitter(redis, image, REQUEST)


def test_the_outcome_is_recomputed_offline_from_the_revealed_key(
    runtime: Runtime, submit: Submit, image: Image
) -> None:
    document, result = run(runtime, submit("job"))
    classifier = template_classifier(runtime, document)
    sampler = NoisySampler(
        image=image,
        sigma=1.0,
        noise=Noise(bytes.fromhex(document["noise"]["key"])),
        batch_size=int(document["classifier"]["arithmetic"]["block_size"]),
        device=torch.device("cpu"),
    )
    selection = select_route(sampler, lambda _: classifier, REQUEST.params, ROUTING)
    blocks: dict[int | None, MemoryBlocks] = {}
    offline = estimate_routes(
        sampler,
        lambda _: classifier,
        REQUEST.params,
        ROUTING,
        selection,
        lambda route: blocks.setdefault(route, MemoryBlocks()),
    )
    assert result["sigma"] == offline.sigma == float(document["params"]["sigma"])
    assert tuple(result["counts"]) == offline.selected.counts.per_class
    assert [row["exclusion_radius"] for row in result["routing"]["outcomes"]] == [
        bounds.exclusion_radius for bounds in offline.bounds
    ]
    assert result["outcome"] == ("certified" if hasattr(offline.outcome, "radius") else "abstained")


def test_the_document_holds_the_samples_of_selector_and_sampled_routes(runtime: Runtime, submit: Submit) -> None:
    document, result = run(runtime, submit("job"))
    routing = document["claims"][1]
    sampled = [i for i, row in enumerate(result["routing"]["outcomes"]) if row["sampled"]]
    held = [int(routing["route"])] + [i for i, row in enumerate(routing["outcomes"]) if row["estimation"] is not None]
    assert sorted(held) == sampled
    assert len(sampled) > 1  # the image lies between two routes
    others = [row["estimation"] for row in routing["outcomes"] if row["estimation"]]
    for transcript in (document["estimation"], routing["estimation"], *others):
        assert len(parse_labels(transcript["labels"])) == N
    assert int(document["samples_used"]) == result["samples_used"] == 2 * 20 + N * (1 + len(sampled))
    assert document["decision"]["rule"] == "certified_selection"


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_one_engine_finishes_what_another_began_with_the_same_document(
    stop_after: int, runtime: Runtime, redis: Redis, submit: Submit
) -> None:
    undisturbed = run(runtime, submit("undisturbed"))[0]
    record = submit("resumed")
    with stopping_after(stop_after):
        run(runtime, record)
    assert redis.hlen(ledger_key("resumed")) == 1 + stop_after
    assert run(build(runtime.settings, redis), record)[0] == undisturbed


def test_the_block_size_does_not_change_the_document(settings: WorkerSettings, redis: Redis, submit: Submit) -> None:
    documents = [
        run(build(settings.model_copy(update={"commit_size": size}), redis), submit(f"job-{size}"))[0]
        for size in (16, 64)
    ]
    assert documents[0] == documents[1]


def test_another_selector_draws_other_noise(runtime: Runtime, submit: Submit) -> None:
    other = replace(REQUEST, sigma=AutoSigma(replace(ROUTING, biases=(0.0, -0.17, -0.05))))
    assert run(runtime, submit("a"))[0]["noise"]["key"] != run(runtime, submit("b", other))[0]["noise"]["key"]
