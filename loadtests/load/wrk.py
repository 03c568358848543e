"""Closed loops of wrk and h2load: each response is followed by the next request.

Both are programs in C, so the load costs less than what is measured.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from loadtests.load.traffic import Traffic

_SCRIPT = """\
local recurring = { %(recurring)s }
local templates = { %(templates)s }
local head, share, n, at = %(head)s, %(hits)r, %(start)d - 1, 0
math.randomseed(%(seed)d)

request = function()
  if share >= 1 or (share > 0 and math.random() < share) then
    at = at %% #recurring + 1
    return recurring[at]
  end
  n = n + 1
  local body = table.concat(templates[n %% #templates + 1], n)
  return head .. "Content-Length: " .. #body .. "\\r\\n\\r\\n" .. body
end
"""
_IN_TURN = """\
local requests, at = { %s }, 0

request = function()
  at = at %% #requests + 1
  return requests[at]
end
"""
_CONSTANT = """\
wrk.method, wrk.body = "POST", %s
"""
_DONE = """\
done = function(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format('{"requests":%d,"seconds":%f,"failed":%d,"most":%d',
    summary.requests, summary.duration / 1e6, failed, latency.max))
  for _, p in pairs({ 50, 90, 99 }) do
    print(string.format(',"p%d":%d', p, latency:percentile(p)))
  end
  print("}")
end
"""
_INSTALL = {
    "wrk": "apt install wrk, or https://github.com/wg/wrk",
    "h2load": "apt install nghttp2-client",
    "py-spy": "pip install py-spy",
}


class Closed(NamedTuple):
    """What a closed loop measured. Latencies in ms, from sending to the last byte.

    failed: requests without a connection, without a response, or with a status of 400
    and more.
    """

    requests: int
    seconds: float
    failed: int
    p50: float
    p90: float
    p99: float
    most: float


def missing(program: str) -> str:
    """Return how to install a program; an empty text if it is installed."""
    return "" if path_of(program) else f"{program}: {_INSTALL[program]}"


def path_of(program: str) -> str | None:
    """Return the path of a program; what pip installed is beside Python."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(program) or shutil.which(program, path=beside)


def wrk(url: str, traffic: Traffic, connections: int, seconds: float) -> Closed:
    """Send the hits and misses of a Traffic.

    A single recurring row is sent without a call of Lua, as fast as wrk can.
    """
    return _run(url + traffic.path, _script(traffic), connections, seconds)


def in_turn(
    url: str, requests: Sequence[bytes], connections: int, seconds: float
) -> Closed:
    """Send whole requests one after the other, and again from the first on."""
    script = _IN_TURN % ", ".join(map(_quoted, requests)) + _DONE
    return _run(url, script, connections, seconds)


def _run(url: str, text: str, connections: int, seconds: float) -> Closed:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(text)
        script.flush()
        sizes = ["-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s"]
        command = ["wrk", *sizes, "--timeout", "10s", "-s", script.name]
        command.append(url)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout[done.stdout.index("{") :])
    times = {name: found[name] / 1000 for name in ("p50", "p90", "p99", "most")}
    return Closed(found["requests"], found["seconds"], found["failed"], **times)


def _script(traffic: Traffic) -> str:
    if traffic.hits == 1 and traffic.recurring == 1:
        return _CONSTANT % _quoted(traffic.rows.body(traffic.first)) + _DONE
    return _SCRIPT % _parts(traffic) + _DONE


def _parts(traffic: Traffic) -> dict[str, str | float]:
    recurring = traffic.recurring_requests() if traffic.hits else []
    templates = (map(_quoted, t.split(b"%d")) for t in traffic.rows.templates)
    first = traffic.request(traffic.start).data
    return {
        "recurring": ", ".join(_quoted(request.data) for request in recurring),
        "templates": ", ".join(f"{{{', '.join(parts)}}}" for parts in templates),
        "head": _quoted(first[: first.index(b"Content-Length")]),
        "hits": float(traffic.hits),
        "start": traffic.start,
        "seed": traffic.seed,
    }


def _quoted(data: bytes) -> str:
    """Return a string literal of Lua, which has fewer escapes than JSON."""
    text = data.decode().replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\r", "\\r").replace("\n", "\\n") + '"'


def h2load(url: str, traffic: Traffic, streams: int, seconds: float) -> Closed:
    """Request one cached row over one connection with so many streams of HTTP/2."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "body"
        log = Path(folder) / "log"
        file.write_bytes(traffic.rows.body(traffic.start))
        sizes = ["-c1", f"-m{streams}", "-D", str(max(round(seconds), 1)), "-t1"]
        more = ["-d", str(file), "-H", "content-type: application/json"]
        command = ["h2load", *sizes, *more, f"--log-file={log}", url + traffic.path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = log.read_text().splitlines()
    # A line has the start of a request, its status and its latency in us.
    latencies = sorted(int(line.split()[2]) for line in lines)
    counts = re.search(
        r"requests: .* (\d+) done, \d+ succeeded, (\d+) failed", done.stdout
    )
    assert counts and latencies, done.stdout
    last = len(latencies) - 1
    quantiles = (latencies[int(last * q)] / 1000 for q in (0.5, 0.9, 0.99, 1))
    return Closed(int(counts[1]), seconds, int(counts[2]), *quantiles)
