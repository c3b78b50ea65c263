"""What an engine measured of its device is fixed for a job: an engine that resumes it keeps batch and memory format."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from redis import Redis

from certrad.models.types import CertifyRequest, SamplingParams
from certrad.workers.engine.ledger import RedisLedger
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import TEMPLATE, Submit, attempt, stopping_after, submitter
from tests.support.made_up_device import MadeUpDevice

REQUEST = CertifyRequest(classifier=TEMPLATE, params=SamplingParams(n0=20, n=150))
SMALL = MadeUpDevice(ratio=1.5, bytes_per_sample=1000, free=2 * 32 * 1000)
"""A device that is faster with channels last, and has memory for batches of 32."""


@pytest.fixture
def submit(redis: Redis) -> Submit:
    ramp = np.linspace(0, 1, 64)
    image = np.broadcast_to((ramp[:, None] + ramp[None, :]) / 2, (3, 64, 64)).astype(np.float32)
    return submitter(redis, image, REQUEST)


def engine(settings: WorkerSettings, redis: Redis, device: MadeUpDevice) -> Runtime:
    return replace(build(settings, redis), probe=device)


def ledger(redis: Redis, job_id: str) -> RedisLedger:
    return RedisLedger(redis, job_id, ttl=600, raise_if_stopped=lambda: None)


def test_batch_and_memory_format_of_a_job_are_those_that_were_measured(
    settings: WorkerSettings, redis: Redis, submit: Submit
) -> None:
    runtime = engine(settings, redis, SMALL)
    document, _ = attempt(runtime, submit("job"))
    entry = ledger(redis, "job").fixed()
    assert entry is not None
    assert (entry.batch_size, entry.channels_last) == (32, True)
    assert document["classifier"]["arithmetic"]["block_size"] == "32"
    assert document["software"]["image_tower_layout"] == "channels_last"
    assert runtime.backbone("demo", runtime.dtype).channels_last


def test_a_job_is_resumed_with_the_batch_and_the_memory_format_that_it_began_with(
    settings: WorkerSettings, redis: Redis, submit: Submit
) -> None:
    undisturbed, _ = attempt(engine(settings, redis, SMALL), submit("undisturbed"))
    record = submit("resumed")
    with stopping_after(1):
        attempt(engine(settings, redis, SMALL), record)
    other = engine(settings, redis, MadeUpDevice(ratio=1.0))
    resumed, _ = attempt(other, record)
    assert resumed == undisturbed
    assert not other.backbone("demo", other.dtype).channels_last  # its own choice for a new job


def test_a_device_without_a_measurement_states_no_memory_format(runtime: Runtime, redis: Redis, submit: Submit) -> None:
    document, _ = attempt(runtime, submit("job"))
    assert "image_tower_layout" not in document["software"]
    assert document["classifier"]["arithmetic"]["block_size"] == "64"


def test_the_choice_of_the_operator_stands_before_the_measurement(
    settings: WorkerSettings, redis: Redis, submit: Submit
) -> None:
    chosen = settings.model_copy(update={"block_size": 16})
    document, _ = attempt(engine(chosen, redis, SMALL), submit("job"))
    assert document["classifier"]["arithmetic"]["block_size"] == "16"


@pytest.mark.parametrize(("commit_size", "block"), [(8, 8), (24, 32)])
def test_blocks_that_do_not_divide_the_measured_batch_are_whole_batches(
    settings: WorkerSettings, redis: Redis, submit: Submit, commit_size: int, block: int
) -> None:
    chosen = settings.model_copy(update={"commit_size": commit_size})
    attempt(engine(chosen, redis, SMALL), submit("job"))
    entry = ledger(redis, "job").fixed()
    assert entry is not None
    assert entry.block_size == block
    assert torch.get_num_threads() == entry.threads
