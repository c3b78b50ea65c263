"""The files for Kubernetes are valid by schema, closed by default, and divided as the compose file is."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from certrad.app.settings import ApiSettings
from certrad.workers.settings import CallbackSettings, ConnectorSettings, WorkerSettings
from tests.support.manifests import (
    BUILT,
    DEPLOY,
    VARIANTS,
    Objects,
    example,
    helm,
    kustomized,
    mounts,
    pods,
    rendered,
    source_line,
)
from tests.support.processes import ROOT

VERSIONS = ("1.28.0", "1.31.0", "1.34.0", "1.37.0")
SCALED_OBJECT = json.loads(ROOT.joinpath("tests/data/keda/scaled_object.schema.json").read_text("utf-8"))
COMPOSE = yaml.safe_load(ROOT.joinpath("docker-compose.yml").read_text("utf-8"))
WORKERS = ("intake", "archive", "engine")


@pytest.fixture(params=[kustomized, rendered], ids=["kustomize", "helm"])
def made(request: pytest.FixtureRequest) -> Callable[[str], Objects]:
    """Both ways to make the objects."""
    way: Callable[[str], Objects] = request.param
    return way


@pytest.mark.parametrize("variant", VARIANTS)
def test_overlay_was_built_from_the_files_of_today(variant: str) -> None:
    assert BUILT.joinpath(f"{variant}.yaml").read_text("utf-8").splitlines()[0] == source_line()


@pytest.mark.parametrize("variant", VARIANTS)
def test_chart_makes_what_the_overlay_makes(variant: str) -> None:
    overlay = kustomized(variant)
    del overlay["Namespace", "certrad"]  # Helm's --create-namespace
    assert rendered(variant) == overlay


def _faults(objects: list[dict[str, Any]], version: str) -> list[str]:
    """Returns what the schemas of a version refuse."""
    found = []
    for each in objects:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{each['kind']}: {error}")
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_objects_are_valid(made: Callable[[str], Objects], variant: str, version: str) -> None:
    assert _faults([each for (kind, _), each in made(variant).items() if kind != "ScaledObject"], version) == []


@pytest.mark.parametrize("variant", ["gpu-cluster", "external-redis"])
def test_scaled_object_is_valid(made: Callable[[str], Objects], variant: str) -> None:
    scaled = made(variant)["ScaledObject", "engine"]
    assert list(jsonschema.Draft7Validator(SCALED_OBJECT).iter_errors(scaled)) == []


def test_schema_of_the_scaled_object_refuses_what_keda_does_not_know() -> None:
    scaled = rendered("gpu-cluster")["ScaledObject", "engine"]
    scaled["spec"]["maxReplicas"] = 8
    with pytest.raises(jsonschema.ValidationError, match="maxReplicas"):
        jsonschema.validate(scaled, SCALED_OBJECT)


def test_engines_follow_the_samples_that_are_outstanding() -> None:
    objects = rendered("gpu-cluster")
    (trigger,) = objects["ScaledObject", "engine"]["spec"]["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert trigger["metadata"]["query"] == 'max(certrad_samples_outstanding{namespace="certrad"})'
    assert "replicas" not in objects["Deployment", "engine"]["spec"], "Helm would undo what the autoscaler chose"


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_container_is_unprivileged_and_read_only(made: Callable[[str], Objects], variant: str) -> None:
    for name, pod in pods(made(variant)).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name  # they would give pods variables that begin with CERTRAD_
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert "memory" in container["resources"]["limits"], name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name


def test_images_run_under_the_user_that_they_are_built_with() -> None:
    for image, name in (("api", "api"), ("worker", "engine")):
        assert "useradd --uid 10001" in ROOT.joinpath(f"docker/{image}.Dockerfile").read_text("utf-8")
        assert pods(rendered("one-node"))[name]["spec"]["securityContext"]["runAsUser"] == 10001


@pytest.mark.parametrize("name", ["api", *WORKERS, "redis"])
def test_what_serves_has_probes_and_time_to_end(name: str) -> None:
    pod = pods(rendered("one-node"))[name]["spec"]
    (container,) = pod["containers"]
    assert {"startupProbe", "livenessProbe"} <= container.keys()
    asked = json.dumps(container["livenessProbe"])
    assert {"api": "/health/live", "redis": "ping"}.get(name, f'"worker-health", "{name}"') in asked
    if name in COMPOSE["services"] and "stop_grace_period" in COMPOSE["services"][name]:
        grace = COMPOSE["services"][name]["stop_grace_period"]
        assert pod["terminationGracePeriodSeconds"] >= int(grace.removesuffix("s"))


@pytest.mark.parametrize("name", ["api", "intake", "engine"])
def test_what_has_several_pods_keeps_one_during_a_drain(name: str) -> None:
    objects = rendered("gpu-cluster")
    budget, labels = objects["PodDisruptionBudget", name]["spec"], pods(objects)[name]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert {"minAvailable", "maxUnavailable"} & budget.keys()


def test_volumes_are_divided_as_in_the_compose_file() -> None:
    of_claim = {"data": "api-data", "signing": "signing", "epochs": "epochs", "models": "models", "pacs": "pacs-data"}
    of_claim |= {name: name for name in ("connector-audit", "callbacks-audit")}
    for name, pod in pods(rendered("external-redis")).items():
        in_compose = {each.split(":")[0]: each.split(":")[1] for each in COMPOSE["services"][name]["volumes"]}
        named = {volume: path for volume, path in in_compose.items() if volume in of_claim.values()}
        assert {of_claim[claim]: path for claim, path in mounts(pod).items()} == named, name


@pytest.mark.parametrize("name", ["api", *WORKERS])
def test_each_process_has_its_own_user_of_redis_and_the_password_of_no_other(name: str) -> None:
    pod = pods(rendered("one-node"))[name]["spec"]
    env = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    assert env["CERTRAD_REDIS_USER"] == name
    assert env["CERTRAD_REDIS_PASSWORD_FILE"] == "/run/secrets/redis_password"
    (secrets,) = [each["projected"]["sources"] for each in pod["volumes"] if each["name"] == "secrets"]
    assert [each["secret"]["name"] for each in secrets] == [f"certrad-redis-{name}", "certrad-redis-ca"]
    lines = ROOT.joinpath("docker/redis/users.acl").read_text("utf-8").splitlines()
    assert any(line.startswith(f"user {name} on ") for line in lines)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_secret_is_in_a_variable(variant: str) -> None:
    for name, pod in pods(rendered(variant)).items():
        variables = [each["name"] for each in pod["spec"]["containers"][0].get("env", [])]
        assert not [each for each in variables if each.endswith(("PASSWORD", "SECRET", "TOKEN", "API_KEY"))], name


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variable_is_a_setting(variant: str) -> None:
    kinds = (ApiSettings, CallbackSettings, ConnectorSettings, WorkerSettings)
    fields = {name for kind in kinds for name in kind.model_fields}
    known = {f"CERTRAD_{name.upper()}{suffix}" for name in fields for suffix in ("", "_FILE")}
    objects = rendered(variant)
    given = set(objects["ConfigMap", "certrad-settings"]["data"])
    given |= {each["name"] for pod in pods(objects).values() for each in pod["spec"]["containers"][0].get("env", [])}
    assert {name for name in given if name.startswith("CERTRAD_")} - known == set()


def test_connector_and_sender_of_callbacks_have_their_secret_from_a_file() -> None:
    made = pods(rendered("external-redis"))
    for name, variable, file in (
        ("connector", "CERTRAD_API_KEY_FILE", "api_key"),
        ("callbacks", "CERTRAD_CALLBACK_SECRET_FILE", "callback_secret"),
    ):
        spec = made[name]["spec"]
        assert {"name": variable, "value": f"/run/secrets/{file}"} in spec["containers"][0]["env"]
        (sources,) = [each["projected"]["sources"] for each in spec["volumes"] if each["name"] == "secrets"]
        assert file in [item["path"] for each in sources for item in each["secret"]["items"]], name


@pytest.mark.parametrize("name", ["fetch", "rotate-epoch"])
def test_objects_of_the_jobs_are_valid(name: str) -> None:
    written = DEPLOY.joinpath("kubernetes", "jobs", f"{name}.yaml").read_text("utf-8")
    job = yaml.safe_load(written)
    assert job["kind"] == "Job"
    assert _faults([job], VERSIONS[-1]) == []


def test_the_job_that_downloads_weights_reaches_the_hub_and_not_redis() -> None:
    job = yaml.safe_load(DEPLOY.joinpath("kubernetes", "jobs", "fetch.yaml").read_text("utf-8"))
    ways = _ways_out(rendered("one-node"), job["spec"]["template"])
    assert ways.keys() == {"names", "fetch"}
    assert ways["fetch"] == [{"ports": [{"protocol": "TCP", "port": 443}]}]


def _policies(objects: Objects) -> dict[str, dict[str, Any]]:
    return {name: each["spec"] for (kind, name), each in objects.items() if kind == "NetworkPolicy"}


def _ways_out(objects: Objects, pod: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What the policies let a pod reach, by policy."""
    labels = pod["metadata"]["labels"]
    return {
        name: spec["egress"]
        for name, spec in _policies(objects).items()
        if "egress" in spec and spec["podSelector"].get("matchLabels", {}).items() <= labels.items()
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_pod_reaches_or_is_reached_unless_a_policy_says_so(variant: str) -> None:
    assert _policies(rendered(variant))["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_workers_reach_redis_and_nothing_else(variant: str) -> None:
    objects = rendered(variant)
    for name in WORKERS:
        assert _ways_out(objects, pods(objects)[name]).keys() == {"names", "to-redis"}, name


def test_redis_is_reached_by_its_clients_only() -> None:
    objects = rendered("one-node")
    (rule,) = _policies(objects)["redis"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"certrad/redis-client": "true"}}}]
    labelled = {name for name, pod in pods(objects).items() if "certrad/redis-client" in pod["metadata"]["labels"]}
    assert labelled == {"api", *WORKERS}


def test_connector_reaches_no_redis_and_the_sender_of_callbacks_no_api() -> None:
    objects = rendered("external-redis")
    ways = {name: _ways_out(objects, pods(objects)[name]) for name in ("connector", "callbacks")}
    assert ways["connector"].keys() == {"names", "connector"}
    assert ways["callbacks"].keys() == {"names", "to-redis", "callbacks"}
    (to_api, to_pacs), (to_receivers,) = ways["connector"]["connector"], ways["callbacks"]["callbacks"]
    assert to_api["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "api"}}}]
    assert to_api["ports"] == [{"protocol": "TCP", "port": 8000}]
    for way in (to_pacs, to_receivers):
        assert [each.keys() for each in way["to"]] == [{"ipBlock"}]
        assert len(way["ports"]) == 1


def test_metrics_are_reached_by_monitoring_only() -> None:
    clients, monitoring = _policies(rendered("one-node"))["api"]["ingress"]
    assert [port["port"] for port in clients["ports"]] == [8000]
    assert [port["port"] for port in monitoring["ports"]] == [9464]
    assert monitoring["from"] == [{"namespaceSelector": {"matchLabels": {"certrad/monitoring": "true"}}}]


def test_engines_of_one_installation_are_one_pool() -> None:
    pod = pods(rendered("gpu-cluster"))["engine"]["spec"]
    assert pod["nodeSelector"] == {"certrad/engine-pool": "default"}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_redis_has_the_configuration_of_the_compose_file(made: Callable[[str], Objects]) -> None:
    written = made("one-node")["ConfigMap", "redis-configuration"]["data"]["valkey.conf"]
    assert written == ROOT.joinpath("docker/redis/valkey.conf").read_text("utf-8")
    assert pods(made("one-node"))["redis"]["spec"]["containers"][0]["image"] == COMPOSE["services"]["redis"]["image"]


@pytest.mark.parametrize(
    "changed",
    [
        {"redis": {"url": "redis://plain.example.org:6379/0"}},
        {"redis": {"url": "rediss://user:password@redis.example.org:6379/0"}},
        {"settings": {"CERTRAD_PACS_PASSWORD": "a"}},
        {"engine": {"gpu": 2}},
        {"keda": {"minReplicas": 0}},
        {"misspelt": 1},
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused(changed: dict[str, Any]) -> None:
    with helm().Chart.load(DEPLOY / "helm" / "certrad") as chart:
        chart.validate_schema(chart.merge_values({}))
        with pytest.raises(helm().HelmError):
            chart.validate_schema(chart.merge_values(changed))


@pytest.mark.parametrize("variant", VARIANTS)
def test_examples_of_values_are_valid(variant: str) -> None:
    with helm().Chart.load(DEPLOY / "helm" / "certrad") as chart:
        chart.validate_schema(chart.merge_values(yaml.safe_load(example(variant).read_text("utf-8"))))
    assert helm().lint(DEPLOY / "helm" / "certrad")["errors"] == []
