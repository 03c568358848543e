"""The cost of a hit over HTTP/1.1 and HTTP/2, in the clear and over TLS.

    python -m loadtests.http2

h2load loads one worker over one connection, the protocols in turns: a hundred streams,
a hundred pipelined GETs, one POST of HTTP/1.1 after the other. Prints the worker's
least CPU per request of all rounds, and fails unless every response is a 200.
"""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtests.load.procfs import cpu_seconds
from tests.support import saved_models
from tests.support.certificates import Endpoint
from tests.support.service import Service, running

_ROUNDS = 7
_REQUESTS = 20_000
_AT_ONCE = 100
_H2LOAD = ["h2load", "-n", str(_REQUESTS), "-c", "1", "-m", str(_AT_ONCE)]
# Not its count of statuses: a head that arrives in two parts counts twice there.
_OK = f"{_REQUESTS} succeeded, 0 failed"
_PROTOCOLS = {"HTTP/1.1": "--h1", "HTTP/2": "--npn-list=h2"}


def measure(service: Service, body: Path, protocol: str, method: str) -> float:
    """Load a service by one protocol and method; return us of CPU a request."""
    url = f"{service.url}/v1/api/model/m/eval"
    arguments = ["-d", str(body), url] if method == "POST" else [f"{url}?x=3"]
    pids = service.worker_pids()
    before = cpu_seconds(pids)
    done = subprocess.run(
        [*_H2LOAD, _PROTOCOLS[protocol], *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert _OK in done.stdout, done.stdout
    return (cpu_seconds(pids) - before) / _REQUESTS * 1e6


def report(service: Service, body: Path) -> None:
    """Print the costs of one service."""
    scheme = service.url.partition(":")[0]
    kinds = [(one, method) for method in ("GET", "POST") for one in _PROTOCOLS]
    costs: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    for _ in range(_ROUNDS):
        for kind in kinds:
            costs[kind].append(measure(service, body, *kind))
    for (protocol, method), found in costs.items():
        ratio = min(found) / min(costs["HTTP/1.1", method])
        what = f"{scheme} {protocol} {method}"
        print(f"{what:20} {min(found):6.1f} us CPU {ratio:6.2f} x")  # noqa: T201


def main() -> None:
    """Measure a service without TLS, and one with it."""
    with TemporaryDirectory() as directory:
        root = Path(directory)
        files = Endpoint(root / "tls")
        body = root / "body.json"
        body.write_text(json.dumps({"x": 3}))
        url = str(saved_models.scale(root / "m", 2.0))
        for name, endpoint in {"plain": {}, "secured": {"tls": files.config()}}.items():
            config = {
                "endpoint": endpoint,
                "models": [{"id": "m", "url": url, "datastore": "answers"}],
                "datastores": [{"id": "answers", "memory_mb": 16}],
            }
            (root / name).mkdir()
            with running(root / name, config, trust=files.trust()) as service:
                report(service, body)


if __name__ == "__main__":
    main()
