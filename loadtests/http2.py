"""The cost of a hit over HTTP/1.1 and HTTP/2, in the clear and over TLS.

    python -m loadtests.http2

h2load loads one worker over one connection, a hundred requests at a time. Prints the
worker's CPU per request, and fails unless every response is a 200.
"""

import json
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtests.load.procfs import cpu_seconds
from tests.support import saved_models
from tests.support.certificates import Endpoint
from tests.support.service import Service, running

_REQUESTS = 10_000
_AT_ONCE = 100
_H2LOAD = ["h2load", "-n", str(_REQUESTS), "-c", "1", "-m", str(_AT_ONCE)]
_OK = f"status codes: {_REQUESTS} 2xx"


def measure(service: Service, body: Path, protocol: str, method: str) -> None:
    """Load a service by one protocol and method, and print the cost."""
    url = f"{service.url}/v1/api/model/m/eval"
    over = ["--h1"] if protocol == "HTTP/1.1" else ["--npn-list=h2"]
    arguments = ["-d", str(body), url] if method == "POST" else [f"{url}?x=3"]
    pids = service.worker_pids()
    before = cpu_seconds(pids)
    done = subprocess.run(
        [*_H2LOAD, *over, *arguments], capture_output=True, text=True, check=True
    )
    cost = (cpu_seconds(pids) - before) / _REQUESTS * 1e6
    assert _OK in done.stdout, done.stdout
    (rate,) = re.findall(r"([\d.]+) req/s", done.stdout)
    what = f"{service.url.partition(':')[0]} {protocol} {method}"
    print(f"{what:20} {cost:6.0f} us CPU {float(rate):9,.0f} a second")  # noqa: T201


def main() -> None:
    """Measure all four combinations, without TLS and with it."""
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
                for protocol in ("HTTP/1.1", "HTTP/2"):
                    for method in ("GET", "POST"):
                        measure(service, body, protocol, method)


if __name__ == "__main__":
    main()
