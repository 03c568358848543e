"""What the table measures. Systems alternate, so that drift affects all alike."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests.bench.measure import Rig, Run, Saturation
from loadtests.load import procfs, services
from loadtests.load.services import Models, System
from loadtests.load.traffic import Rows, Traffic, batches, ranked, strings

_BATCH = 100
_DISTURBED = 0.05  # as a share of the time
_RETRIES = 2
TWO = "two workers"


@dataclass(frozen=True)
class Cell:
    """One thing that is measured in every round. hits: the share of hits."""

    system: str
    model: str
    hits: float
    connections: int
    is_batch: bool = False

    @property
    def name(self) -> str:
        """Return the name, as results and goals have it."""
        named: dict[float, str] = {1: "hit", 0: "miss"}
        what = named.get(self.hits, f"{self.hits:.0%} hits")
        batch = "batch " if self.is_batch else ""
        return f"{self.system} {self.model} {batch}{what} {self.connections}"


def beside(names: Sequence[str], models: Sequence[str]) -> list[Cell]:
    """Return what is measured of other systems, and of gomlx and nginx beside them."""
    return [
        Cell("nginx", "S", 1, 16),
        *(
            Cell(system, model, hits, connections)
            for model in models
            for hits in (1, 0)
            for connections in (1, 16, 64)
            for system in ("gomlx", *names)
        ),
    ]


def cells(quick: bool) -> list[Cell]:
    """Return what is measured. quick: only what goals need, and a cell of each peer."""
    peers = ("FastAPI", "FastAPI + Redis", "Falcon")
    found = [
        Cell("nginx", "S", 1, 16),
        *(Cell("gomlx", "S", 1, c) for c in (16, 32)),
        *(Cell("gomlx", m, 0, c) for m in "SR" for c in (1, 16, 64)),
        Cell("gomlx", "R", 0, 32),
        Cell("gomlx", "R", 1, 16, is_batch=True),
        Cell(TWO, "S", 1, 64),
        Cell(TWO, "R", 0, 64),
        *(Cell("gomlx", "R", 0.9, c) for c in (16, 64)),
        *(Cell(peer, "R", 1, 16) for peer in peers),
    ]
    if quick:
        return found
    return [
        *found,
        Cell("gomlx", "R", 0, 16, is_batch=True),
        *(Cell("gomlx", "R", hits, 16) for hits in (1, 0.99, 0.5)),
        Cell("nginx", "S", 1, 64),
        Cell("gomlx", "S", 1, 64),
        *(Cell(peer, "S", 1, 16) for peer in peers),
        Cell("FastAPI + Redis", "R", 0, 16),
    ]


ROWS: Mapping[str, Rows] = {"S": strings()} | dict.fromkeys("RDE", ranked())


def traffic(system: System, cell: Cell) -> Traffic:
    """Return what a cell sends to a system."""
    rows = ROWS[cell.model]
    found = Traffic(system.paths[cell.model], rows, cell.hits)
    if cell.system == "nginx":  # wrk at its fastest, so that nginx is saturated
        return replace(found, recurring=1)
    if cell.is_batch:
        return replace(found, rows=batches(rows), recurring=20, first=10_000)
    return found


def served(models: Models) -> Models:
    """Return the models that one service serves: all but R2, which replaces R."""
    return {name: path for name, path in models.items() if name != "R2"}


@contextmanager
def started(
    folder: Path, models: Models, peers: Sequence[str]
) -> Iterator[list[System]]:
    """Start gomlx, gomlx with two workers where there are two cores, and peers."""
    small = {name: models[name] for name in "SR"}
    starters = {
        "nginx": lambda: services.nginx(folder / "nginx"),
        "FastAPI": lambda: services.fastapi(folder / "fastapi", small),
        "FastAPI + Redis": lambda: services.fastapi(folder / "redis", small, True),
        "Falcon": lambda: services.falcon(folder / "falcon", small),
    }
    managers = [services.gomlx(folder / "one", served(models))]
    if len(procfs.cores()) > 1:
        managers.append(services.gomlx(folder / "two", small, TWO, workers=2))
    managers += [starters[name]() for name in peers]
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        yield list(pool.map(stack.enter_context, managers))


def rounds(
    rig: Rig, systems: Sequence[System], wanted: Sequence[Cell], repeats: int
) -> Iterator[dict[str, Run]]:
    """Yield the runs of all cells, by name, for each round.

    Recurring rows are requested before, so that they hit.
    """
    by_name = {system.name: system for system in systems}
    here = [cell for cell in wanted if cell.system in by_name]
    for cell in here:
        if cell.hits:
            by_name[cell.system].warm(traffic(by_name[cell.system], cell))
    for _ in range(repeats):
        yield {cell.name: measured(rig, by_name[cell.system], cell) for cell in here}


def measured(rig: Rig, system: System, cell: Cell) -> Run:
    """Measure a cell; repeat it when other programs used the server's core."""
    best = measured_once(rig, system, cell)
    if cell.system not in ("gomlx", "nginx"):  # threads of a peer wait for each other
        return best
    for _ in range(_RETRIES):
        if best.cost.waited > _DISTURBED and rig.repeats:
            rig.repeats -= 1
            again = measured_once(rig, system, cell)
            best = min(best, again, key=lambda run: run.cost.waited)
    return best


def measured_once(rig: Rig, system: System, cell: Cell) -> Run:
    """Saturate a system with the requests of a cell."""
    load = procfs.cores() if system.name == TWO else rig.load_cores
    how = Saturation(cell.name, cell.connections, load, _BATCH if cell.is_batch else 1)
    return rig.closed(system, traffic(system, cell), how)
