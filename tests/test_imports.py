"""Who may import whom; and what `import gomlx` may cost."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gomlx

ROOT = Path(gomlx.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# An arrow per line: a package or module, and what it may import of ours.
ARROWS = {
    "errors": set[str](),
    "masking": set[str](),
    "config": {"config_references", "config_types", "errors", "masking"},
    "config_types": {"errors", "masking"},
    "config_references": {"config", "config_types", "cache.address"},
    "metrics": {"tally"},
    "tls": {"config", "errors"},
    "tally": set[str](),
    "rundir": set[str](),
    "process": {"errors"},
    "contract": {"contract", "errors"},
    "cache": {"cache", "errors", "masking", "metrics"},
    "client": {
        *("client", "contract", "errors", "masking"),
        *("cache.breaker", "cache.redis", "cache.tier"),
    },
    "models": {"models", "contract", "errors", "masking", "metrics"},
    "server": {
        *("server", "models", "cache", "contract", "errors"),
        *("config", "metrics", "tally", "tls", "rundir", "process"),
    },
    "supervisor": {
        *("supervisor", "models.version", "models.source"),
        *("errors", "masking", "rundir"),
    },
    "__init__": {"client", "errors"},
    "__main__": {"cli"},
    "demo": {"errors"},
    "explain": {"contract", "models", "errors", "masking"},
    "connect": {"cache.address", "cache.redis", "config", "errors"},
    "cli": {
        *(
            "cli",
            "cache.store",
            "client",
            "contract",
            "config",
            "connect",
            "demo",
            "errors",
            "explain",
        ),
        *("models.version", "models.stage", "server.question"),
        *("masking", "process", "rundir", "supervisor", "tls", "__init__"),
    },
}
# Each library has one home; TensorFlow a package.
HOMES = {
    "tensorflow": ("models/",),
    "keras": ("models/flights.py",),
    "falcon": ("server/app.py",),
    "gunicorn": ("server/worker.py", "server/watched.py"),
    "httptools": ("server/head.py",),
    "lmdb": ("cache/shm.py", "cache/store.py"),
    "fsspec": ("models/source.py",),
    "watchfiles": ("supervisor/watcher.py",),
    "prometheus_client": ("metrics.py", "client/metrics.py"),
    "redis": ("cache/redis",),
    "yaml": ("config_types.py",),
    "msgspec": ("config", "cli/service.py", "server/worker.py", "tally.py"),
    "typer": ("cli/",),
    "pyarrow": ("cli/parquet.py",),
    "rich": ("cli/", "demo.py", "client/progress.py"),
    "numpy": ("models/",),
    "aiohttp": ("client/http.py",),
    "httpcore": ("client/http2.py",),
    "cachebox": ("client/edition.py",),
}


@cache
def imports(path: Path) -> list[str]:
    """The modules a file imports, wherever in it."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            if node.module in ("gomlx", "gomlx.models"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    here = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imports(path):
        if not name.startswith("gomlx"):
            continue
        target = name.removeprefix("gomlx").lstrip(".") or "__init__"
        if target.startswith("__version__"):
            target = "__init__"
        allowed = ARROWS[here]
        assert target in allowed or target.split(".")[0] in allowed, name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_homes(path: Path) -> None:
    here = str(path.relative_to(ROOT))
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or here.startswith(homes), name


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_gomlx_is_light() -> None:
    heavy = {*HOMES, "uvloop", "redis", "orjson"} - {"msgspec"}
    assert not heavy & loaded_by("import gomlx")


def test_the_supervisor_imports_nothing_that_can_crash() -> None:
    heavy = {"tensorflow", "falcon", "redis", "gunicorn", "numpy"}
    assert not heavy & loaded_by("import gomlx.supervisor.supervisor, gomlx.cli")


def test_commands_need_no_library_of_the_service() -> None:
    commands = {"typer", "rich", "orjson", "aiohttp", "cachebox"}
    assert not (set(HOMES) - commands) & loaded_by("import gomlx.cli")


def test_tensorflow_is_imported_after_the_fork() -> None:
    assert "tensorflow" not in loaded_by("import gomlx.server.worker")
