"""Attack a deployment, and measure what that costs its other clients.

    python -m loadtests.attack [URL --model ID] [--only TEXT] [--seconds 4] [--save]

One kind of attack after the other, from one address: slow and idle clients, floods of
connections and of every frame of HTTP/2, hostile requests. Meanwhile other clients ask
for hits at a steady rate, as `loadtests/attack/hits.py` describes. Prints their delays
before, during and after each attack, and exits with 1 if the p99 during one is more
than five times that of the quiet service, or if a request of theirs failed.

Without a URL, it attacks a service of its own, with one worker and room for 300
connections. A URL has to be of loopback, unless --any-host says otherwise: attack what
is yours. Each attack ends after some seconds, and has so many connections at most.
"""

import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from gomlx.runtime.process import raise_file_limit
from loadtests.attack import attacker, bodies, floods, hits, slow, verdict
from loadtests.attack.attacker import Attack
from loadtests.attack.service import own_service
from loadtests.attack.target import Target, discover, is_loopback
from loadtests.attack.verdict import Measured
from loadtests.load import procfs

ATTACKS = [*slow.ATTACKS, *floods.ATTACKS, *bodies.ATTACKS]
_RESULTS = Path(__file__).parents[1] / "results" / "attack.md"
_BEFORE_SECONDS = 1.0
_AFTER_SECONDS = 1.0
_POLL_SECONDS = 0.01
_NICENESS = 10  # of the attackers
_LATE_SECONDS = 60.0  # then a process has not stopped by itself
_FEW = 25  # times as many connections where many take part

console = Console(width=200, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Bounds:
    """How long an attack takes, and how many connections it has."""

    seconds: float
    connections: int

    def connections_of(self, attack: Attack) -> int:
        """Return how many connections an attack has."""
        return self.connections if attack.many else max(self.connections // _FEW, 1)


class Processes:
    """Two processes: one attacks, the other one is all other clients."""

    def __init__(self) -> None:
        context = get_context("spawn")
        # Clients have their core first: what they wait for is the service.
        self._attackers = ProcessPoolExecutor(1, context, os.nice, (_NICENESS,))
        self._clients = ProcessPoolExecutor(1, context)
        self._cores = procfs.cores()[-1:]

    def measure(self, target: Target, attack: Attack, bounds: Bounds) -> Measured:
        """Attack once, and ask for hits before, meanwhile and afterwards."""
        count = bounds.connections_of(attack)
        longest = bounds.seconds + _LATE_SECONDS
        with TemporaryDirectory() as folder:
            span = hits.Span(Path(folder), _AFTER_SECONDS, longest)
            asking = self._clients.submit(hits.measure, target, span, self._cores)
            try:
                while not (span.begun.exists() or asking.done()):
                    time.sleep(_POLL_SECONDS)
                time.sleep(_BEFORE_SECONDS)
                attacking = self._attackers.submit(
                    attacker.run, target, attack, count, bounds.seconds, self._cores
                )
                done = attacking.result(longest)
            finally:
                span.over.touch()
            found = asking.result(longest)
        return Measured(attack.name, count, done, found)

    def close(self) -> None:
        """End both."""
        for pool in (self._attackers, self._clients):
            pool.shutdown(cancel_futures=True)


def chosen(target: Target, only: str) -> list[Attack]:
    """Return the attacks for a target; only: part of their names."""
    return [
        attack
        for attack in ATTACKS
        if only in attack.name and (target.is_tls or not attack.needs_tls)
    ]


def _save(attacks: Sequence[Measured], target: Target, bounds: Bounds) -> None:
    text = [
        "# Hits while one address attacks\n\n",
        f"`python -m loadtests.attack`, {bounds.seconds:g} s an attack, over ",
        f"{'TLS' if target.is_tls else 'cleartext'}; {os.cpu_count()} cores, ",
        f"{platform.machine()}, Python {platform.python_version()}. The attackers and ",
        "the other clients share a core, which the clients have first; the service's ",
        "worker has the other one.\n\n",
        verdict.markdown(attacks),
    ]
    _RESULTS.write_text("".join(text))


@app.command()
def main(  # noqa: PLR0913, PLR0917  # a command's arguments are its options
    url: Annotated[str, typer.Argument(help="http://host:port; none: our own.")] = "",
    model: Annotated[str, typer.Option(help="The id of a model at the URL.")] = "",
    row: Annotated[str, typer.Option(help="A row of it, as JSON; else made up.")] = "",
    ca_file: Annotated[str, typer.Option(help="The authority of an https URL.")] = "",
    only: Annotated[str, typer.Option(help="Attacks whose name has this.")] = "",
    seconds: Annotated[float, typer.Option(min=0.5, max=60)] = 4,
    connections: Annotated[int, typer.Option(min=1, max=5000)] = 400,
    lists: Annotated[bool, typer.Option("--list", help="List the attacks.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Our own has TLS.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Write the results.")] = False,
    any_host: Annotated[
        bool, typer.Option("--any-host", help="The URL may be of another machine.")
    ] = False,
) -> None:
    """Attack, print the table, and exit with 1 if others were delayed too much."""
    if lists:
        for attack in ATTACKS:
            console.print(attack.name)
        return
    if url and not model:
        raise typer.BadParameter("a URL needs --model")
    if url and not (is_loopback(url) or any_host):
        raise typer.BadParameter(f"{url} is no loopback: --any-host attacks it")
    bounds = Bounds(seconds, connections)
    there = discover(url, model, row, ca_file) if url else None
    with nullcontext(there) if there else own_service(tls) as target:
        found = _measured(target, chosen(target, only), bounds)
    console.print(verdict.shown(found))
    if save:
        _save(found, target, bounds)
    calm = verdict.quiet(found)
    if any(verdict.problem(one, calm.p99) for one in found):
        sys.exit(1)


def _measured(
    target: Target, attacks: Sequence[Attack], bounds: Bounds
) -> list[Measured]:
    raise_file_limit()
    processes = Processes()
    found = []
    try:
        for attack in attacks:
            found.append(processes.measure(target, attack, bounds))
            console.print(f"{attack.name}: {verdict.delays(found[-1].during)}")
    finally:
        processes.close()
    return found


if __name__ == "__main__":
    app()
