"""Logs, traces and metrics of a running service name a job in each of its processes, and nothing of a patient."""

import json
from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.canaries import canary
from tests.support.otlp_receiver import Received, otlp_receiver
from tests.support.processes import Processes, wait_for
from tests.support.stack import RunningStack, start_stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

FILE: Final = canary()
CALLER: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BLOCK: Final = 64
SAMPLES: Final = 2_000
REQUEST_ID: Final = "ris-4711"


@pytest.fixture(scope="module")
def received() -> Iterator[Received]:
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, received: Received) -> Iterator[RunningStack]:
    with pytest.MonkeyPatch.context() as patch, Processes(tmp_path_factory.mktemp("processes")) as processes:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield start_stack(
            processes,
            tmp_path_factory.mktemp("stack") / "data",
            telemetry=True,
            block_size=BLOCK,
            drift_labels="modality",
        )


@pytest.fixture(scope="module")
def job(stack: RunningStack, received: Received) -> str:
    """A job whose upload, name, query and headers hold tokens of a patient, with all its spans."""
    name = next(iter(FILE.tokens)).decode()
    answer = httpx.post(
        f"{stack.url}/certify",
        files={"image": (f"{name}.dcm", FILE.data)},
        data={"n": str(SAMPLES), "n0": "64"},
        headers={
            "traceparent": CALLER,
            "tracestate": f"hospital={name}",
            "baggage": f"patient={name}",
            "x-request-id": REQUEST_ID,
        },
        timeout=30,
    )
    assert answer.status_code == 202, answer.text
    httpx.get(f"{stack.url}/jobs/{name}", params={"patient": name}, timeout=30)
    httpx.get(f"{stack.url}/{name}", timeout=30)
    job_id: str = answer.json()["id"]
    stack.ended(job_id)
    wait_for(lambda: received.named("finish"), what="the span of the last stage")
    wait_for(lambda: received.named("estimating"), what="the spans of the engine")
    wait_for(lambda: received.named("GET /jobs/{job_id}"), what="the spans of the interface")
    return job_id


def attributes(span: Span) -> dict[str, object]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_one_trace_holds_the_request_and_all_stages(job: str, received: Received) -> None:
    trace_id = bytes.fromhex(CALLER.split("-")[1])
    spans = received.of_trace(trace_id)
    stages = {(process, span.name) for process, span in spans}
    assert {
        ("certrad-api", "POST /certify"),
        ("certrad-intake", "decode"),
        ("certrad-intake", "decoding"),
        ("certrad-engine", "certify"),
        ("certrad-engine", "selecting"),
        ("certrad-engine", "estimating"),
        ("certrad-engine", "blocks"),
        ("certrad-intake", "finish"),
    } <= stages
    (post,) = received.named("POST /certify")
    assert post.parent_span_id == bytes.fromhex(CALLER.split("-")[2])
    assert attributes(post)["certrad.request_id"] == REQUEST_ID
    for name in ("decode", "certify", "finish"):
        (stage,) = [span for _, span in spans if span.name == name]
        assert stage.parent_span_id == post.span_id
        assert attributes(stage)["certrad.job_id"] == job


def test_groups_of_blocks_hold_every_sample_in_few_spans(job: str, received: Received) -> None:
    (estimating,) = received.named("estimating")
    groups = received.named("blocks")
    assert {span.parent_span_id for span in groups} == {estimating.span_id}
    facts = [attributes(span) for span in groups]
    assert sum(int(str(each["certrad.samples"])) for each in facts) == SAMPLES
    assert len(groups) < sum(int(str(each["certrad.blocks"])) for each in facts) == -(-SAMPLES // BLOCK)
    assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in groups)


def test_no_span_holds_anything_of_the_patient(job: str, received: Received) -> None:
    content = b"\n".join(received.raw)
    assert b"POST /certify" in content
    assert FILE.found_in(content) == set()


def test_probes_are_not_traced(stack: RunningStack, job: str, received: Received) -> None:
    assert [span.name for _, span in received.spans if "health" in span.name or "metrics" in span.name] == []


@pytest.mark.parametrize(("log", "event"), [("api", "request"), ("intake-1", "task ended"), ("engine-1", "task ended")])
def test_each_process_logs_the_job_with_its_request_and_tenant(
    log: str, event: str, stack: RunningStack, job: str
) -> None:
    lines = [json.loads(line) for line in (stack.data_dir / "logs" / log).with_suffix(".log").read_text().splitlines()]
    of_job = [line for line in lines if line.get("job_id") == job and line["event"] == event]
    assert {(line["request_id"], line["tenant"]) for line in of_job if line.get("route") != "/jobs/{job_id}"} == {
        (REQUEST_ID, "local")
    }


def test_logs_hold_nothing_of_the_patient(stack: RunningStack, job: str) -> None:
    for log in (stack.data_dir / "logs").iterdir():
        assert FILE.found_in(log.read_bytes()) == set(), log.name


def test_metrics_count_the_job_its_modality_and_the_memory_of_the_engine(stack: RunningStack, job: str) -> None:
    text = httpx.get(f"{stack.url}/metrics", timeout=30).text
    (engine,) = stack.engines()
    assert 'certrad_jobs_total{code="",kind="certify",outcome="succeeded"} 1.0' in text
    assert f"certrad_blocks_committed_total {-(-SAMPLES // BLOCK)}.0" in text
    assert "certrad_blocks_redone_total 0.0" in text
    assert 'certrad_queue_wait_seconds_count{queue="engine"} 1.0' in text
    (memory,) = [line for line in text.splitlines() if line.startswith("certrad_engine_memory_bytes")]
    assert f'engine="{engine}",kind="resident"' in memory
    assert float(memory.split()[-1]) > 50e6
    (row,) = httpx.get(f"{stack.url}/drift", timeout=30).json()["rows"]
    assert (row["task"], row["modality"], row["scanner_model"], row["certificates"]) == ("mednist", "CT", "none", 1)
