"""The whole local stack certifies an image, cancels a job, and ends jobs whose image intake refuses, over HTTP."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from redis import Redis

from certrad.app.api.problems import ProblemBody
from certrad.app.cli.client import Client, Event, Job
from certrad.app.cli.private_service import private_stack
from certrad.models.backbones.base import EMBEDDED, load_backbone
from certrad.models.certificates.signature import is_signed
from certrad.models.errors import PROBLEMS
from certrad.models.prompts.checkpoint import save_prompt
from certrad.models.prompts.context import ContextVectors
from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.types import PromptCard
from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.workers.contract.job import RESULT
from certrad.workers.contract.names import input_key, prompt_bytes_key
from certrad.workers.engine.prompt_store import publish
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.processes import ROOT, wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


@pytest.fixture(scope="module")
def client(data_dir: Path) -> Iterator[Client]:
    with private_stack(data_dir) as url, Client(url) as made:
        yield made


def png(side: int = 64, seed: int = 0) -> bytes:
    """A grey PNG of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def await_no_upload(data_dir: Path) -> None:
    """Uploads are deleted right after their job has ended."""
    wait_for(lambda: not list((data_dir / "blobs").iterdir()), what="the end of the upload")


def certified(client: Client, image: bytes, **fields: str) -> Job:
    """The ended job of an image at n = 200, without adaptation."""
    return client.wait(client.submit(image, {"n": "200", "adaptation": "none", **fields}).id)


def test_result_is_documented_and_its_certificate_is_kept_by_digest(client: Client) -> None:
    job = certified(client, png())
    assert job.result is not None
    documented = RESULT.validate_python(job.result)
    assert isinstance(documented, CertifiedResult | AbstainedResult)
    assert RESULT.dump_python(documented, mode="json") == job.result
    assert sum(documented.counts) + documented.invalid == 200
    document = client.certificate(job.id)
    assert job.certificate == f"/certificates/{hashlib.sha256(document).hexdigest()}"


def test_same_image_and_settings_have_the_same_certificate(client: Client) -> None:
    assert certified(client, png(seed=3)).certificate == certified(client, png(seed=3)).certificate


def keys(data_dir: Path, *arguments: str) -> dict[str, Any]:
    """Returns what `certrad keys` prints."""
    command = [sys.executable, "-m", "certrad.workers.cli.main", "keys", "--data-dir", str(data_dir), *arguments]
    answer: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return answer


def test_certificates_around_a_rotation_have_published_keys_and_epochs(client: Client, data_dir: Path) -> None:
    before = json.loads(client.certificate(certified(client, png(seed=4)).id))
    signing_key, epoch = keys(data_dir, "rotate-signing")["public_key"], keys(data_dir, "rotate-epoch")["sha256"]
    after = json.loads(client.certificate(certified(client, png(seed=4)).id))
    keys(data_dir, "reveal-epoch", before["noise"]["epoch_sha256"])
    assert is_signed(before)
    assert is_signed(after)
    published = client.get("/.well-known/certrad-keys")
    assert [key["public_key"] for key in published["keys"]] == [before["signature"]["public_key"], signing_key]
    assert after["signature"]["public_key"] == signing_key
    old, new = published["epochs"]
    assert (old["sha256"], new["sha256"]) == (before["noise"]["epoch_sha256"], epoch)
    assert after["noise"]["epoch_sha256"] == epoch
    assert (hashlib.sha256(bytes.fromhex(old["secret"])).hexdigest(), new["secret"]) == (old["sha256"], None)


def test_running_job_is_cancelled_and_the_engine_goes_on(client: Client, data_dir: Path) -> None:
    job = client.submit(png(), {"n": "1000000", "adaptation": "none"})
    seen: list[Event] = []
    for event in client.events(job.id):
        seen.append(event)
        if event.name == "progress" and not client.job(job.id).ended:  # a second time would erase it
            client.cancel(job.id)
    assert seen[-1].data == {"status": "cancelled"}
    assert client.job(job.id).status == "cancelled"
    assert certified(client, png(seed=1)).status == "succeeded"
    await_no_upload(data_dir)


@pytest.mark.parametrize(
    ("code", "image", "fields"),
    [
        ("unreadable_image", png()[:200], {}),
        ("image_too_small", png(side=4), {}),
        ("region_out_of_range", png(), {"region": "60,60,10,10"}),
        ("frame_out_of_range", png(), {"frame": "2"}),
    ],
)
def test_image_that_intake_refuses_ends_with_a_code_and_leaves_no_upload(
    client: Client, data_dir: Path, code: str, image: bytes, fields: dict[str, str]
) -> None:
    job = certified(client, image, **fields)
    error: dict[str, Any] = job.error or {}
    assert (job.status, error.get("code")) == ("failed", code)
    await_no_upload(data_dir)


@pytest.fixture(scope="module")
def random_prompt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PromptCard]:
    """A store with one prompt of random vectors for the demo backbone, which the service does not know yet."""
    directory = tmp_path_factory.mktemp("prompts")
    backbone = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    task = shipped_tasks()["mednist"]
    card = save_prompt(
        directory,
        ContextVectors.random(4, backbone.text_width, torch.Generator().manual_seed(5)),
        name="random",
        method="imported",
        backbone=backbone,
        class_names=task.class_names,
        task=task.id,
    )
    return directory, card


def test_prompt_with_other_bytes_than_its_card_ends_the_job(
    client: Client, data_dir: Path, random_prompt: tuple[Path, PromptCard]
) -> None:
    directory, card = random_prompt
    with Redis.from_url(EmbeddedRedis(data_dir / "redis").url) as redis:
        publish(redis, directory, card)
        redis.set(prompt_bytes_key(card.sha256), b"something else")
        job = certified(client, png(), prompt=card.id)
        assert not redis.exists(input_key(job.id))
    error = ProblemBody.model_validate(job.error)
    assert (job.status, error.code) == ("failed", "digest_mismatch")
    assert (error.status, error.title) == (500, PROBLEMS["digest_mismatch"].title)
    assert error.instance == f"/jobs/{job.id}"
    assert (job.result, job.certificate) == (None, None)
    await_no_upload(data_dir)
