"""Requests through proxies while a host behind them fails: python -m loadtests.proxies

    python -m loadtests.proxies [--only TEXT] [--save]

Two services on loopback, and in front of both nginx, HAProxy and Envoy with the configs
of deploy/. For each fault of the first service, clients send requests through all
proxies, from a second before it to a second after the service is well again. Prints how
many requests there were, how many failed or had a wrong answer, and the slowest. The
goal: none failed, and the slowest took less than a second. Exits with 1 if any failed.
"""

import os
import platform
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from loadtests.proxies.hosts import FACTORS, FAULTS, Hosts, two_hosts
from loadtests.proxies.load import Load, Results
from loadtests.proxies.proxy import PROXIES, Proxy, in_front

_RESULTS = Path(__file__).parents[1] / "results" / "proxies.md"
_QUIET_SECONDS = 1.0  # before and after a fault
_HEAD = ["fault", "proxy", "requests", "failed", "slowest, ms", "problem"]
_SLOW_SECONDS = 1.0

console = Console(width=160, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Cell(NamedTuple):
    """A fault, a proxy, and what came of the requests."""

    fault: str
    proxy: str
    results: Results

    @property
    def texts(self) -> list[str]:
        """The cells of a row of the table."""
        results = self.results
        kinds = [f"{kind}: {n}" for kind, n in results.failures.most_common()]
        if results.slowest >= _SLOW_SECONDS:
            kinds.append("slow")
        return [
            self.fault,
            self.proxy,
            f"{results.requests:,}",
            str(results.failed),
            f"{results.slowest * 1000:.0f}",
            ", ".join(kinds),
        ]


@app.command()
def main(
    only: Annotated[str, typer.Option(help="Faults whose name has this text.")] = "",
    save: Annotated[bool, typer.Option(help=f"Write {_RESULTS.name}.")] = False,
) -> None:
    """Let each fault happen to a service behind each proxy that is installed."""
    proxies = [proxy for proxy in PROXIES if proxy.executable]
    for proxy in set(PROXIES) - set(proxies):
        console.print(f"no {proxy.name}: {proxy.install}")
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with (
            two_hosts(folder) as hosts,
            in_front(proxies, folder, hosts.ports) as ports,
        ):
            for fault in FAULTS:
                if only in fault:
                    cells += measure(fault, hosts, ports)
    text = table(cells)
    console.print(text)
    if save:
        _RESULTS.write_text(f"{_title()}\n\n{text}\n")
    raise typer.Exit(int(any(cell.results.failed for cell in cells)))


def measure(fault: str, hosts: Hosts, ports: dict[str, int]) -> list[Cell]:
    """Send requests while a fault happens to the first host."""
    with Load(ports, FACTORS) as load:
        time.sleep(_QUIET_SECONDS)
        FAULTS[fault](hosts)
        time.sleep(_QUIET_SECONDS)
    cells = [Cell(fault, name, results) for name, results in load.results.items()]
    for cell in cells:
        console.print(*cell.texts, sep="  ")
    return cells


def table(cells: Iterable[Cell]) -> str:
    """Return the cells as a table in Markdown."""
    rows = [_HEAD, ["---"] * len(_HEAD), *(cell.texts for cell in cells)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _title() -> str:
    versions = ", ".join(_named(proxy) for proxy in PROXIES)
    where = f"{os.cpu_count()} cores, {platform.machine()}"
    return (
        "# Requests through proxies while a host fails\n\n"
        f"`python -m loadtests.proxies`; {where}; {versions}. Two services, of which "
        "the first one fails and comes back."
    )


def _named(proxy: Proxy) -> str:
    """Return the name of a proxy, with the version that is installed."""
    if proxy.executable is None:
        return f"no {proxy.name}"
    done = subprocess.run(
        [proxy.executable, proxy.version],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return f"{proxy.name} {found[0]}" if found else proxy.name


if __name__ == "__main__":
    app()
