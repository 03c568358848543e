"""Who may import whom; and what `import gomlx` may cost."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gomlx
from loadtests.code.imports import cycles_of

ROOT = Path(gomlx.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
BY_NAME = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for path in MODULES
}

# An arrow per line: a package or module, and what it may import of ours. The longest
# prefix of a module's name is its line; what it names stands for all that is below.
ARROWS = {
    "errors": set[str](),
    "config": {
        "config",
        "cache.redis.address",
        "errors",
        "runtime.masking",
        "runtime.networks",
        "runtime.secret_file",
    },
    "runtime.rundir": {"runtime.cache_folder"},
    "runtime": {"errors"},
    "runtime.stray": {"runtime.logs"},
    "metrics": {"metrics"},
    "tracing": {"tracing"},
    "contract": {"contract", "errors"},
    "cache": {"cache", "runtime.masking", "errors", "metrics", "runtime.randomness"},
    "cache.redis": {
        "cache.redis",
        "cache.tier",
        "runtime.masking",
        "runtime.secret_file",
        "errors",
    },
    "cache.remote": {
        "cache.remote",
        "cache.breaker",
        "cache.queue",
        "cache.tasks",
        "cache.tier",
        "errors",
        "metrics",
        "runtime.randomness",
    },
    "cache.shared_memory": {"cache.shared_memory", "errors", "metrics.instruments"},
    "client.local": {
        "client.answer",
        "client.columns",
        "client.local",
        "client.metrics",
        "client.options",
        "contract",
        "errors",
    },
    "client.stream": {
        "client.answer",
        "client.columns",
        "client.core",
        "client.progress",
        "client.stream",
        "contract",
        "errors",
    },
    "client": {
        "client",
        "contract",
        "errors",
        "runtime.masking",
        "runtime.secret_file",
        "cache.breaker",
        "cache.redis",
        "cache.tier",
        "runtime.randomness",
        "tracing.current",
    },
    "models": {"contract", "errors"},
    "models.source": {
        "models.foreign",
        "models.writing",
        "runtime.masking",
        "errors",
    },
    "models.trust": {"models.graph", "errors"},
    "models.batching": {
        "models.batching",
        "contract",
        "errors",
        "metrics.instruments",
    },
    "models.dataflow": {"models.dataflow", "contract"},
    "models.serving": {
        "models.batching",
        "models.serving",
        "models.graph",
        "models.libraries",
        "models.version",
        "contract",
        "runtime.masking",
        "errors",
        "metrics",
    },
    "models.isolation": {
        "models.isolation",
        "models.serving",
        "models.version",
        "contract",
        "errors",
        "runtime.logs",
        "runtime.process",
        "runtime.sandbox",
        "runtime.seccomp",
    },
    "models.independence": {
        "models.independence",
        "models.dataflow",
    },
    "models.steadiness": {
        "models.steadiness",
        "models.dataflow",
        "models.graph",
    },
    "models.staging": {
        "models.dataflow",
        "models.independence",
        "models.steadiness",
        "models.staging",
        "models.serving",
        "models.files",
        "models.graph",
        "models.libraries",
        "models.source",
        "models.trust",
        "models.version",
        "models.writing",
        "contract",
        "runtime.masking",
        "errors",
    },
    "server.predict": {
        "server.body",
        "server.parsing",
        "server.predict",
        "models.batching",
        "models.serving",
        "models.version",
        "cache",
        "contract",
        "errors",
        "metrics.instruments",
    },
    "server.access": {
        "server.access",
        "config.schema",
        "errors",
        "runtime.networks",
        "config.tokens",
    },
    "server.peers": {
        "server.peers",
        "server.http",
        "server.access",
        "runtime.networks",
    },
    "server.peers.transport": set[str](),
    "server.http": {
        "server.peers.transport",
        "server.access",
        "server.body",
        "server.http",
        "server.order",
        "server.predict",
        "config.schema",
        "config.tls",
        "errors",
        "server.recording.heads",
        "server.rounds",
        "runtime.randomness",
    },
    "server.recording": {
        "server.body",
        "server.http.head",
        "server.predict",
        "server.recording",
        "models.batching",
        "models.serving",
        "cache",
        "config.schema",
        "contract",
        "runtime.randomness",
        "tracing",
        "__init__",
    },
    "server.asgi": {
        "server.body",
        "server.asgi",
        "server.http",
        "server.predict",
        "errors",
        "metrics.instruments",
    },
    "server.logs": {
        "server.body",
        "server.http",
        "server.logs",
        "server.predict",
        "config.schema",
        "contract",
        "errors",
        "metrics.instruments",
        "models.serving",
        "models.version",
        "runtime.logs",
        "runtime.networks",
    },
    "server.routes": {
        "server.access",
        "server.body",
        "server.pace",
        "server.routes",
        "server.predict",
        "server.http",
        "models.serving",
        "models.version",
        "config.schema",
        "contract",
        "runtime.masking",
        "errors",
        "metrics",
        "server.recording.heads",
        "server.recording.streams",
    },
    "server.process": {
        "server",
        "models.batching",
        "models.isolation",
        "models.serving",
        "models.version",
        "cache",
        "config",
        "contract",
        "errors",
        "metrics",
        "runtime",
    },
    "server": set[str](),
    "server.body": {"errors"},
    "server.parsing": set[str](),
    "supervisor": {
        "supervisor",
        "models.files",
        "models.version",
        "models.source",
        "runtime.masking",
        "errors",
        "runtime",
    },
    "__init__": {"client", "errors", "service"},
    "service": {"cli.service", "config", "errors", "runtime.logs"},
    "__main__": {"cli"},
    "demo": {"errors"},
    "conformance": {"conformance", "errors"},
    "cli": {
        "cli",
        "cache.redis",
        "cache.remote",
        "cache.shared_memory.keeper",
        "client",
        "config",
        "conformance",
        "contract",
        "demo",
        "errors",
        "models",
        "runtime",
        "server.predict.parse",
        "supervisor",
        "__init__",
    },
}
# Each library has one home; TensorFlow a package.
HOMES = {
    "tensorflow": ("models/", "demo/flights.py", "conformance/formats/savedmodel.py"),
    "keras": ("demo/flights.py", "models/staging/keras_file.py"),
    "falcon": ("server/routes/",),
    "gunicorn": ("server/process/gunicorn/", "server/http/idle.py"),
    "httptools": ("server/http/head.py",),
    "ngh2": ("server/http/http2/engine.py", "client/transports/http2_connection.py"),
    "fsspec": ("models/source.py",),
    "watchfiles": ("supervisor/watcher.py",),
    "prometheus_client": ("metrics/exposition.py", "client/metrics.py"),
    "redis": ("cache/redis/", "conformance/hooks.py"),
    "yaml": ("config/yaml.py",),
    "msgspec": (
        "config/",
        "cli/service.py",
        "server/process/gunicorn/",
        "metrics/tally.py",
    ),
    "typer": ("cli/",),
    "pyarrow": ("cli/files/parquet.py",),
    "rich": ("cli/", "demo/tour.py", "client/progress.py"),
    "numpy": ("models/", "demo/flights.py"),
    "aiohttp": ("client/transports/http.py",),
    "opentelemetry": ("tracing/exporter.py",),
    "httpcore": ("client/transports/http2_httpcore.py",),
    "aiohappyeyeballs": ("client/transports/http2.py",),
    "cachebox": ("client/local/",),
}


@cache
def imports(path: Path) -> list[str]:
    """The modules a file imports, wherever in it, for its types alone too."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}".removeprefix("gomlx.")
                is_module = submodule in BY_NAME
                yield f"gomlx.{submodule}" if is_module else node.module


def ours(path: Path) -> list[str]:
    """The modules of gomlx that a file imports, by their names below it."""
    names = (name for name in imports(path) if name.split(".")[0] == "gomlx")
    return [name.removeprefix("gomlx").lstrip(".") or "__init__" for name in names]


def is_below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("name", BY_NAME)
def test_arrows(name: str) -> None:
    line = max((key for key in ARROWS if is_below(name or "__init__", key)), key=len)
    for target in ours(BY_NAME[name]):
        assert any(is_below(target, allowed) for allowed in ARROWS[line]), target


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_homes(path: Path) -> None:
    here = str(path.relative_to(ROOT))
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or here.startswith(homes), name


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {name: ours(path) for name, path in BY_NAME.items()}
    assert not [*cycles_of(graph)]


def test_a_cycle_is_found() -> None:
    graph = {"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}
    assert [*cycles_of(graph)] == [("b", "c")]


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


def test_the_event_loop_starts_before_tensorflow_is_imported() -> None:
    """The worker imports it in a thread, beside its first heartbeats."""
    modules = [
        "gomlx.server.predict.predictor",
        "gomlx.server.http.protocol",
        "gomlx.server.routes.app",
    ]
    assert not {"tensorflow", "numpy"} & loaded_by(f"import {', '.join(modules)}")


def test_tensorflow_is_imported_after_the_fork() -> None:
    late = {"tensorflow", "numpy"}
    assert not late & loaded_by("import gomlx.server.process.gunicorn.application")
