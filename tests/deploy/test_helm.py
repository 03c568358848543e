"""deploy/helm: the chart over many values, checked as Kubernetes and gomlx would."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import gomlx
from tests.deploy.helm import CHART, Helm, Manifest, unpacked_helm
from tests.support import saved_models

VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")
FILES = sorted((CHART / "ci").glob("*.yaml"))
# Beside each file: one option each, and some at once.
MATRIX = [
    [],
    ["autoscaling.enabled=false", "replicas=3"],
    ["autoscaling.queueMilliseconds=80", "service.headless=true"],
    [
        "serviceMonitor.enabled=true",
        'service={"type": "LoadBalancer", "headless": false}',
    ],
    ["networkPolicy.enabled=false", 'serviceAccount.name="models"'],
    ["config.endpoint.workers=16", "config.endpoint.drain_seconds=2.5"],
    ["config.datastores=[]"],
    ['config.log_level="debug"', "memoryMi.worker=900", 'cpu.limit="4"'],
]
CASES = [
    pytest.param([file, *options], id=f"{file.stem}-{' '.join(options)[:40]}")
    for file in FILES
    for options in MATRIX
]
ONE = CHART / "ci" / "one.yaml"


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(unpacked_helm(tmp_path_factory.mktemp("helm")))


def pod_of(manifests: dict[str, Manifest]) -> dict[str, Any]:
    pod: dict[str, Any] = manifests["Deployment"]["spec"]["template"]["spec"]
    return pod


def container_of(manifests: dict[str, Manifest]) -> dict[str, Any]:
    (container,) = pod_of(manifests)["containers"]
    found: dict[str, Any] = container
    return found


def config_of(manifests: dict[str, Manifest]) -> dict[str, Any]:
    text = manifests["ConfigMap"]["data"]["config.yaml"]
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def volume_of(manifests: dict[str, Manifest], name: str) -> dict[str, Any]:
    (volume,) = (v for v in pod_of(manifests)["volumes"] if v["name"] == name)
    found: dict[str, Any] = volume
    return found


def mebibytes(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_lint(helm: Helm, file: Path) -> None:
    ended = helm.run("lint", file, "serviceMonitor.enabled=true")
    assert ended.returncode == 0, ended.stdout
    assert "[WARNING]" not in ended.stdout
    assert "[ERROR]" not in ended.stdout


def strings(value: Any) -> Iterator[str]:
    """Yield all texts in a manifest, and the names of its fields."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("values", CASES)
def test_kubernetes_takes_what_is_rendered(
    helm: Helm, values: list[Path | str]
) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for kind, manifest in helm.rendered(*values).items():
        assert "<no value>" not in [*strings(manifest)]
        if kind != "ServiceMonitor":  # of the operator's, which Kubernetes is told of
            for version in VERSIONS:
                assert validate.validate(manifest, version, strict=True) == version


def test_what_kubernetes_would_refuse_is_found(helm: Helm) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    manifests = helm.rendered(ONE)
    container_of(manifests)["readinesProbe"] = {}
    with pytest.raises(validate.ValidationError, match="readinesProbe"):
        validate.validate(manifests["Deployment"], VERSIONS[0], strict=True)


@pytest.mark.parametrize("values", CASES)
def test_sums(helm: Helm, values: list[Path | str]) -> None:
    """Memory and time are those of the config in the same release."""
    manifests = helm.rendered(*values)
    config = config_of(manifests)
    endpoint = config["endpoint"]
    grace = pod_of(manifests)["terminationGracePeriodSeconds"]
    assert grace >= endpoint["drain_seconds"] + endpoint["graceful_seconds"] + 10
    assert grace < endpoint["drain_seconds"] + endpoint["graceful_seconds"] + 12
    shm = volume_of(manifests, "shm")["emptyDir"]
    answers = sum(one.get("memory_mb", 256) for one in config["datastores"])
    assert shm["medium"] == "Memory"
    assert mebibytes(shm["sizeLimit"]) == answers + 64
    resources = container_of(manifests)["resources"]
    limit = mebibytes(resources["limits"]["memory"])
    # 250 MB a worker, 512 MB for a staging: docs/operations.md.
    assert limit >= answers + 64 + 250 * endpoint["workers"] + 512
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


@pytest.mark.parametrize("values", CASES)
def test_a_release_is_whole(helm: Helm, values: list[Path | str]) -> None:
    """What one manifest names is in another one, or is one of the pod's own."""
    manifests = helm.rendered(*values)
    deployment = manifests["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    for selector in (
        deployment["selector"]["matchLabels"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()
    container = container_of(manifests)
    volumes = {one["name"] for one in pod_of(manifests)["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports["http"] == config_of(manifests)["endpoint"]["port"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    scaler = manifests.get("HorizontalPodAutoscaler")
    assert ("replicas" in deployment) == (scaler is None)
    if scaler:
        target = scaler["spec"]["scaleTargetRef"]
        assert target["name"] == manifests["Deployment"]["metadata"]["name"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_pod_may_do_little(helm: Helm, file: Path) -> None:
    manifests = helm.rendered(file)
    pod = pod_of(manifests)
    context = container_of(manifests)["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not context["allowPrivilegeEscalation"]
    assert pod["securityContext"]["runAsUser"] == 65532
    assert not pod["automountServiceAccountToken"]
    # All that gomlx writes to.
    paths = {one["mountPath"] for one in container_of(manifests)["volumeMounts"]}
    assert {"/run/gomlx", "/dev/shm", "/tmp"} <= paths
    assert config_of(manifests)["run_dir"].startswith("/run/gomlx/")
    update = manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_gomlx_takes_the_config(helm: Helm, file: Path, tmp_path: Path) -> None:
    text = helm.rendered(file)["ConfigMap"]["data"]["config.yaml"]
    (tmp_path / "redis-password").write_text("secret\n")
    for name in ("ranking", "words", "plain"):
        saved_models.scale(tmp_path / name, 2.0)
    for folder in ("/etc/gomlx-secrets", "s3://models", "/models"):
        text = text.replace(f"{folder}/", f"{tmp_path}/")
    (tmp_path / "config.yaml").write_text(text)
    ended = subprocess.run(
        [sys.executable, "-m", "gomlx", "check", tmp_path / "config.yaml"],
        capture_output=True,
        text=True,
        env={"NAMESPACE": "models", "PATH": "/usr/bin", "HOME": str(tmp_path)},
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_changed_config_restarts_pods(helm: Helm) -> None:
    def checksum(*values: str) -> str:
        template = helm.rendered(ONE, *values)["Deployment"]["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum() == checksum("replicas=5")
    assert checksum() != checksum("config.endpoint.request_seconds=5")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("config.models=[]", "/config/models"),
        ('config.models=[{"id": "m"}]', "url"),
        ("autoscaling.minReplica=3", "minReplica"),
        ('image.tag="latest"', "/image/tag"),
        ("autoscaling.cpuUtilization=0", "cpuUtilization"),
        ('config.run_dir="/data"', "run_dir"),
        ('config.endpoint.workers="2"', "workers"),
        ('config.endpoint.tls={"client_certificate": "required"}', "endpoint.admin"),
        ('config.endpoint.admin={"port": 9090}', "host"),
    ],
)
def test_wrong_values_are_refused(helm: Helm, values: str, reason: str) -> None:
    ended = helm.run("template", ONE, values)
    assert ended.returncode != 0
    assert reason in ended.stderr


def test_client_certificates_leave_probes_to_the_admin_listener(helm: Helm) -> None:
    values = {
        "tls": {"client_certificate": "required"},
        "admin": {"port": 9090, "host": "0.0.0.0", "tls": False},
    }
    options = (f"config.endpoint.{k}={json.dumps(v)}" for k, v in values.items())
    manifests = helm.rendered(ONE, *options, "serviceMonitor.enabled=true")
    probe = container_of(manifests)["livenessProbe"]["httpGet"]
    assert probe == {"path": "/livez", "port": "admin", "scheme": "HTTP"}
    (scrape,) = manifests["ServiceMonitor"]["spec"]["endpoints"]
    assert (scrape["port"], scrape["scheme"]) == ("admin", "http")


def test_the_version_is_that_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == gomlx.__version__
