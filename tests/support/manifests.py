"""The Kubernetes objects of `deploy`, as kubectl and Helm make them; kubectl builds its own ahead of the tests."""

import hashlib
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ROOT

DEPLOY = ROOT / "deploy"
BUILT = ROOT / "tests" / "data" / "kustomize"
VARIANTS = ("one-node", "gpu-cluster", "external-redis")

Objects = dict[tuple[str, str], dict[str, Any]]


def _by_name(documents: list[Any]) -> Objects:
    return {(each["kind"], each["metadata"]["name"]): each for each in documents if each is not None}


def kustomized(variant: str) -> Objects:
    """Returns what `kubectl kustomize` built from an overlay, without the namespace that it writes into each object."""
    built = BUILT / f"{variant}.yaml"
    objects = _by_name(list(yaml.safe_load_all(built.read_text("utf-8"))))
    for (kind, _), each in objects.items():
        assert kind == "Namespace" or each["metadata"].pop("namespace") == "certrad"
    return objects


def source_line() -> str:
    """The first line of what was built: the SHA-256 of the files it was built from."""
    digest = hashlib.sha256()
    for file in sorted(path for path in (DEPLOY / "kubernetes").rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(DEPLOY)}\0".encode() + file.read_bytes())
    return f"# Built from files with the SHA-256 {digest.hexdigest()} by python -m tests.support.manifests"


def rendered(variant: str, **changed: Any) -> Objects:
    """Returns what Helm renders from the chart with the values of an example."""
    values: dict[str, Any] = yaml.safe_load(example(variant).read_text("utf-8"))
    with helm().Chart.load(DEPLOY / "helm" / "certrad") as chart:
        files: dict[str, str] = chart.render({**values, **changed}, name="certrad", namespace="certrad")
    documents = [each for name, text in files.items() if name.endswith(".yaml") for each in yaml.safe_load_all(text)]
    return _by_name(documents)


def helm() -> Any:
    """Helm's library."""
    assert find_spec("helm_python") is not None, "the extra `dev` installs Helm's library on Linux with an x86-64"
    return import_module("helm_python")


def example(variant: str) -> Path:
    """The values of the chart that make what the overlay of this name makes."""
    return DEPLOY / "helm" / "certrad" / "examples" / f"{variant}.yaml"


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The pod template of every workload, by the workload's name."""
    return {
        name: each["spec"]["template"]
        for (kind, name), each in objects.items()
        if kind in ("Deployment", "StatefulSet", "Job")
    }


def mounts(pod: dict[str, Any]) -> dict[str, str]:
    """Returns where a pod mounts each of its persistent volumes, by the claim."""
    (container,) = pod["spec"]["containers"]
    claims = {
        each["name"]: each["persistentVolumeClaim"]["claimName"]
        for each in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in each
    }
    return {claims[each["name"]]: each["mountPath"] for each in container["volumeMounts"] if each["name"] in claims}


if __name__ == "__main__":
    BUILT.mkdir(exist_ok=True)
    for name in VARIANTS:
        overlay = DEPLOY / "kubernetes" / "overlays" / name
        built = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=True)
        BUILT.joinpath(f"{name}.yaml").write_text(f"{source_line()}\n{built.stdout}", "utf-8")
