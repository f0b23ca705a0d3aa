"""Files that other programs read have the form these programs want, and say what must not get lost."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.forking import run_program

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCHEMAS = {
    "vendor.compose-spec": [ROOT / "compose.yaml"],
    "vendor.github-workflows": WORKFLOWS,
    "vendor.dependabot": [ROOT / ".github" / "dependabot.yml"],
    "vendor.github-issue-forms": sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")),
}
MANIFESTS = ROOT / "docs" / "deploy" / "kubernetes" / "lei-exports.yaml"
RAY_MANIFESTS = MANIFESTS.with_name("ray.yaml")


def check(*command: object) -> None:
    done = run_program([*map(str, command)], timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_file_has_the_form_of_its_schema(schema: str) -> None:
    assert SCHEMAS[schema]
    check(PROGRAMS / "check-jsonschema", "--builtin-schema", schema, *SCHEMAS[schema])


def test_manifests_are_those_of_kubernetes() -> None:
    check(PROGRAMS / "kubernetes-validate", "--strict", MANIFESTS)


def test_compose_publishes_on_loopback_and_has_one_writer() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not any("deploy" in service or "scale" in service for service in services.values())
    assert all(volume.endswith(":ro") for volume in services["serve"]["volumes"])
    assert "DATABASE_URL" not in services["serve"]["environment"], "it reads what is published only"
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).is_file(), source


def test_kubernetes_has_one_writer_and_secrets_from_elsewhere() -> None:
    documents: list[dict[str, Any]] = [*yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8"))]
    (workload,) = [entry for entry in documents if entry["kind"] == "StatefulSet"]
    assert workload["spec"]["replicas"] == 1
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    for container in pod["containers"]:
        assert container["livenessProbe"]
        assert container["resources"]["limits"]["memory"]
        for variable in container["env"]:
            assert "TOKEN" not in variable["name"] or "secretKeyRef" in variable["valueFrom"]
            assert "URL" not in variable["name"] or "secretKeyRef" in variable["valueFrom"]
    (read_only,) = [c["volumeMounts"][0].get("readOnly") for c in pod["containers"] if c["name"] == "serve"]
    assert read_only


def test_the_pods_of_the_ray_cluster_are_those_of_kubernetes(tmp_path: Path) -> None:
    """KubeRay's own kind is not in that schema; its pods are."""
    claim, cluster = yaml.safe_load_all(RAY_MANIFESTS.read_text(encoding="utf-8"))
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    head, worker = cluster["spec"]["headGroupSpec"]["template"], workers["template"]
    assert workers["minReplicas"] == workers["replicas"] == workers["maxReplicas"]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template["spec"]}
        for name, template in (("head", head), ("worker", worker))
    ]
    (tmp_path / "pods.yaml").write_text(yaml.safe_dump_all([claim, *pods]), encoding="utf-8")
    check(PROGRAMS / "kubernetes-validate", "--strict", tmp_path / "pods.yaml")
    for pod in pods:
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert {"persistentVolumeClaim": {"claimName": "lei-exports"}, "name": "data"} in pod["spec"]["volumes"]
        for container in pod["spec"]["containers"]:
            secret = {variable["name"]: variable.get("valueFrom", {}) for variable in container["env"]}
            assert "secretKeyRef" in secret["RAY_AUTH_TOKEN"]
            assert "secretKeyRef" in secret.get("DATABASE_URL", {"secretKeyRef": {}})


def test_what_they_run_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    steps = [
        step["run"]
        for workflow in WORKFLOWS
        for job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    lines = [line.split() for text in [*steps, *(hook["entry"] for hook in hooks)] for line in text.splitlines()]
    targets = {next(word for word in words[1:] if not word.startswith("-")) for words in lines if words[0] == "make"}
    assert targets == {"lint", "wheel", "image", "lock"}
    assert all(f"\n{target}:" in makefile for target in targets)
    assert [".ci/run"] in lines
    image = {words[-1] for words in lines if words[:2] == ["docker", "run"]}
    assert image == {"run"}
