"""What the cluster's files promise about networks: images stay inside, and weights can still be fetched."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load(ROOT.joinpath("docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def has_exit(service: str) -> bool:
    """Whether a service is on a network that leads out."""
    return any(not COMPOSE["networks"][network].get("internal", False) for network in SERVICES[service]["networks"])


@pytest.mark.parametrize("service", ["redis", "intake", "gpu"])
def test_what_holds_images_has_no_way_out(service: str) -> None:
    assert not has_exit(service)


def test_fetch_has_a_way_out_but_none_to_redis_and_stores_where_engines_read() -> None:
    assert has_exit("fetch")
    assert not set(SERVICES["fetch"]["networks"]) & set(SERVICES["redis"]["networks"])
    assert SERVICES["fetch"]["volumes"] == SERVICES["gpu"]["volumes"]


def test_fetch_runs_when_asked_only() -> None:
    assert SERVICES["fetch"]["profiles"] == ["fetch"]
    assert SERVICES["fetch"]["entrypoint"] == ["certrad", "fetch"]
    assert SERVICES["fetch"]["restart"] == "no"


def test_the_worker_image_may_download() -> None:
    assert "HF_HUB_OFFLINE" not in ROOT.joinpath("docker/worker.Dockerfile").read_text("utf-8")


def test_the_api_is_published_on_loopback_only() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])
