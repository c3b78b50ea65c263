"""Certificates of an encoder that OpenVINO computes: named so, replayed by it, and shared only with engines like it."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from redis import Redis

from certrad.models.adapters.store import AdapterStore
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.signature import sign
from certrad.models.certificates.verify import verify
from certrad.models.errors import Rejected
from certrad.models.images.model_input import model_input
from certrad.models.prompts.store import PromptStore
from certrad.models.replay.rebuild import rebuild
from certrad.models.replay.replay import check_labels, check_selection
from certrad.models.shipped import shipped_backbones
from certrad.models.types import CertifyRequest, SamplingParams
from certrad.workers.contract.job import JobRecord
from certrad.workers.decoders.raster import decode
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.helper import Helper
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.engine.selftest import run_selftest
from certrad.workers.settings import WorkerSettings
from tests.support.certificates import ISSUER
from tests.support.engine_jobs import TASK, TEMPLATE, attempt, decoded, stopping_after
from tests.support.images import encoded
from tests.support.openvino import requires_openvino

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("known_secret")]

RAMP = np.linspace(0, 255, 64)
PICTURE = encoded((np.add.outer(RAMP, RAMP) / 2).astype(np.uint8), "PNG")
"""A ramp, which noise moves between classes."""
IMAGE = model_input(decode(PICTURE, "png", max_pixels=10**6), 64)
PARAMS = SamplingParams(n0=64, n=256)
REQUEST = CertifyRequest(classifier=TEMPLATE, params=PARAMS)
ADAPTED = CertifyRequest(classifier=replace(TEMPLATE, adapter=TASK.default_adapter), params=PARAMS)

Submit = Callable[..., JobRecord]


@pytest.fixture
def openvino(settings: WorkerSettings, redis: Redis) -> Runtime:
    """An engine that computes encoders by OpenVINO."""
    return build(settings.model_copy(update={"dtype": "openvino-bfloat16"}), redis)


@pytest.fixture
def submit(redis: Redis) -> Submit:
    """Leaves the job of an id and returns its record."""

    def left(job_id: str, request: CertifyRequest = REQUEST) -> JobRecord:
        return decoded(redis, job_id, request, IMAGE.pixels)

    return left


def replayed(document: dict[str, Any], settings: WorkerSettings) -> None:
    statement = read(parse(canonical(sign(document, ISSUER))))
    stores = PromptStore(own=settings.prompts_dir), AdapterStore(own=settings.adapters_dir)
    rebuilt = rebuild(statement, IMAGE, shipped_backbones(), Path(), *stores)
    assert rebuilt.backbone.precision == "openvino-bfloat16"
    check_selection(statement, rebuilt, tolerant=False)
    check_labels(statement, rebuilt, 256, Random(0), tolerant=False)


@requires_openvino
@pytest.mark.parametrize("request_", [REQUEST, ADAPTED], ids=["frozen", "adapted"])
def test_document_names_the_precision_and_is_replayed_to_the_last_label(
    request_: CertifyRequest, openvino: Runtime, submit: Submit, settings: WorkerSettings
) -> None:
    document, _ = attempt(openvino, submit("job", request_))
    assert document["classifier"]["parts"][0]["dtype"] == "openvino-bfloat16"
    assert document["software"]["openvino"] == openvino.software["openvino"]
    assert [check for check in verify(canonical(sign(document, ISSUER))).checks if not check.ok] == []
    replayed(document, settings)


@requires_openvino
def test_it_is_another_classifier_than_that_of_pytorch_with_noise_of_its_own(
    openvino: Runtime, runtime: Runtime, submit: Submit
) -> None:
    torch = replace(runtime, dtype="bfloat16")
    keys = {attempt(engine, submit(name))[0]["noise"]["key"] for name, engine in (("a", openvino), ("b", torch))}
    assert len(keys) == 2
    assert "openvino" not in runtime.software


@requires_openvino
def test_engines_that_compute_by_openvino_share_a_job_and_others_leave_it(
    openvino: Runtime, runtime: Runtime, submit: Submit
) -> None:
    alone = attempt(openvino, submit("alone"))[0]
    record = submit("shared")
    with stopping_after(1):
        attempt(openvino, record)

    def committed(engine: Runtime) -> int:
        part = Helper(runtime=engine, input=CertificationInput.of(record))
        part.help()
        return part.committed

    assert committed(runtime) == 0
    assert runtime.kind != openvino.kind
    assert committed(build(openvino.settings, openvino.redis, name="helper")) > 0
    assert attempt(openvino, record)[0] == alone


@requires_openvino
def test_a_job_that_openvino_began_is_not_continued_by_pytorch(
    openvino: Runtime, runtime: Runtime, submit: Submit
) -> None:
    record = submit("job")
    with stopping_after(1):
        attempt(openvino, record)
    with pytest.raises(Rejected, match=r"engine_mismatch.*software"):
        attempt(runtime, record)


@requires_openvino
def test_a_replay_without_openvino_says_what_is_missing(
    openvino: Runtime, submit: Submit, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, _ = attempt(openvino, submit("job"))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(Rejected, match=r"pip install 'certrad\[openvino\]'") as refused:
        replayed(document, settings)
    assert refused.value.code == "dtype_unavailable"


@requires_openvino
def test_an_engine_passes_the_self_test_by_openvino(openvino: Runtime) -> None:
    report = run_selftest(openvino, samples=128)
    assert [check for check in report.checks if not check.ok] == []
    assert {"features", "counts"} <= {check.name for check in report.checks}
    assert (report.facts["dtype"], report.facts["openvino"]) == ("openvino-bfloat16", openvino.software["openvino"])


def test_an_engine_without_openvino_takes_no_work(openvino: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    report = run_selftest(openvino, samples=128)
    assert not report.passed
    (failed,) = (check for check in report.checks if not check.ok)
    assert failed.name == "weights"
    assert "pip install 'certrad[openvino]'" in failed.detail
