"""The command line as a person or a script meets it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gomlx.cli.service import prepare_stores
from gomlx.config.load import load_config
from gomlx.config.schema import Config, Datastore
from gomlx.runtime.rundir import RunDir
from tests.support import saved_models
from tests.support.absent import without_them

ROOT = Path(__file__).parents[2]


def gomlx(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gomlx", *map(str, arguments)],
        cwd=cwd,
        env=without_them(os.environ),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_help_names_the_commands(tmp_path: Path) -> None:
    done = gomlx("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in ("serve", "check", "demo"):
        assert command in done.stdout


def test_version(tmp_path: Path) -> None:
    done = gomlx("--version", cwd=tmp_path)
    assert done.stdout.startswith("gomlx 0.")


def test_check_prints_everything_that_is_wrong(tmp_path: Path) -> None:
    write(
        tmp_path,
        "endpoint: {prot: 80, workers: many}\n"
        "models:\n"
        "  - {id: a, url: x, datastor: s}\n"
        "  - {id: b}\n",
    )
    done = gomlx("check", "config.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "endpoint.prot: unknown key; did you mean 'port'?" in done.stderr
    assert "endpoint.workers: expected" in done.stderr
    assert "line 3: models[0].datastor" in done.stderr
    assert "did you mean 'datastore'?" in done.stderr
    assert "models[1].url: missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_of_a_good_config(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "a", 2.0)
    write(tmp_path, "models: [{id: a, url: ./a}]")
    done = gomlx("check", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert "config.yaml is fine" in done.stdout


def test_check_warns_of_transformer_inputs_outside_the_key(
    tmp_path: Path,
) -> None:
    inputs = [
        {"name": "market", "auxiliary": True},
        {"name": "trace", "auxiliary": True},
    ]
    model = {
        **{"id": "a", "url": "./a", "datastore": "s", "inputs": inputs},
        **{"key_fields": ["market"], "transformer": "pricing:advise"},
    }
    others = [
        model | {"id": "b", "key_fields": ["market", "trace"]},
        model | {"id": "c", "transformer": None, "key_fields": []},
        model | {"id": "d", "datastore": None},
    ]
    stores = [{"id": "s", "memory_mb": 8}]
    saved_models.scale(tmp_path / "a", 2.0)
    (tmp_path / "pricing.py").write_text("def advise(inputs, outputs): return outputs")
    write(tmp_path, yaml.dump({"models": [model, *others], "datastores": stores}))
    done = gomlx("check", "config.yaml", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning:") == 1
    text = " ".join(done.stderr.split())
    assert "model a: the transformer is given trace, which is not in key_fields" in text


def test_serve_with_a_bad_config_ends_with_2(tmp_path: Path) -> None:
    write(tmp_path, "models: []")
    done = gomlx("serve", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "models" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        'log_level: "[/x]"\nmodels: [{id: a, url: x}]',
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n"
            for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ),
    ],
)
def test_a_hostile_config_is_invalid(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    done = gomlx("check", "config.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("run_dir", ["/proc/nope", "."])
def test_an_unusable_run_dir_ends_with_1(tmp_path: Path, run_dir: str) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "mine").write_text("precious")
    write(
        tmp_path,
        f"run_dir: {run_dir}\nendpoint: {{port: 0}}\nmodels: [{{id: a, url: x}}]",
    )
    done = gomlx("serve", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (tmp_path / "metrics" / "mine").read_text() == "precious"


def test_a_run_dir_that_others_can_write_ends_with_1(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    run_dir.chmod(0o777)
    (tmp_path / "precious").write_text("precious")
    (run_dir / "lock").symlink_to(tmp_path / "precious")
    write(tmp_path, "run_dir: run\nendpoint: {port: 0}\nmodels: [{id: a, url: x}]")
    done = gomlx("serve", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert f"chmod 700 {run_dir}" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "precious").read_text() == "precious"


def test_serve_without_a_file_ends_with_2(tmp_path: Path) -> None:
    done = gomlx("serve", "-c", "nothing.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_on_a_port_in_use_ends_with_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        write(
            tmp_path, f"endpoint: {{port: {port}}}\nmodels: [{{id: a, url: ./nothing}}]"
        )
        done = gomlx("serve", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_with_more_memory_than_there_is_ends_with_1(tmp_path: Path) -> None:
    write(
        tmp_path,
        "endpoint: {port: 0}\nmodels: [{id: a, url: ./nothing, datastore: s}]\n"
        "datastores: [{id: s, memory_mb: 100000000}]",
    )
    done = gomlx("serve", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "memory_mb" in done.stderr
    assert "Traceback" not in done.stderr


def test_sound_stores_of_the_config_are_kept(tmp_path: Path) -> None:
    def config(**megabytes: int) -> Config:
        stores = tuple(Datastore(id=i, memory_mb=mb) for i, mb in megabytes.items())
        return Config(models=(), datastores=stores)

    rundir = RunDir(tmp_path)
    try:
        prepare_stores(config(kept=1, damaged=1, resized=1, removed=1), rundir)
        before = {p.name: p.stat().st_ino for p in rundir.shared.iterdir()}
        os.truncate(rundir.store("damaged") / "ring", 1 << 19)
        prepare_stores(config(kept=1, damaged=1, resized=2, new=1), rundir)
        after = {p.name: p.stat().st_ino for p in rundir.shared.iterdir()}
        assert set(after) == {"kept", "damaged", "resized", "new"}
        assert after["kept"] == before["kept"]
        sizes = {i: (rundir.store(i) / "ring").stat().st_size >> 20 for i in after}
        assert sizes == {"kept": 1, "damaged": 1, "resized": 2, "new": 1}
        prepare_stores(config(kept=0), rundir)
        assert not rundir.shared.exists()
    finally:
        rundir.keep_stores(())


def leaves(document: object, path: str = "") -> set[str]:
    """The dotted paths of all keys in a document."""
    if isinstance(document, dict):
        below = {f"{path}.{key}": value for key, value in document.items()}
        return set(below).union(*(leaves(v, p) for p, v in below.items()))
    if isinstance(document, list):
        return set[str]().union(*(leaves(item, path) for item in document))
    return set()


def test_the_example_config_has_every_option() -> None:
    path = ROOT / "config.example.yaml"
    assert isinstance(load_config(path), Config)
    import msgspec

    shown = leaves(yaml.safe_load(path.read_text()))
    complete = msgspec.to_builtins(load_config(path))
    del complete["folder"]  # where it was found
    options = leaves(complete)
    assert not {o for o in options - shown if ".example." not in o}


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_documents_name_files_that_exist(name: str) -> None:
    import re

    text = (ROOT / name).read_text()
    for path in re.findall(r"`((?:gomlx|tests|loadtests|deploy)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path


def test_serve_names_models_or_a_config(tmp_path: Path) -> None:
    path = write(tmp_path, "models: [{id: a, url: x}]\n")
    wrongs: list[list[str | Path]] = [
        [],
        ["m", "-c", path],
        ["-c", path, "--port", "1"],
    ]
    for wrong in wrongs:
        done = gomlx("serve", *wrong, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path: Path, shell: str) -> None:
    done = gomlx("completion", shell, cwd=tmp_path)
    assert done.returncode == 0
    assert "_GOMLX_COMPLETE" in done.stdout


def test_bash_completes_a_command(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "gomlx comp", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "gomlx"],
        env={**os.environ, "_GOMLX_COMPLETE": "complete_bash", **words},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "completion" in done.stdout.split()
