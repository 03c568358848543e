"""Results on disk, in docs/benchmarks.md and in the README.

results/table.json is the source; everything else is written from it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.bench.plot import bars

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "loadtests" / "results"
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- python -m loadtests readme: begin -->"
END = "<!-- python -m loadtests readme: end -->"
# The rows that the README shows.
_README_ROWS = (
    "S, L1 hit, 16 connections: rate against nginx's constant answer",
    "S, every row a miss, 64 connections",
    "R, every row a miss, 64 connections",
    "Overload, 2 ms a row: hits' p99 against quiet",
    "Swap: stale answers",
)
_COLUMNS = ("cpu_us", "rate", "p50", "p99", "most", "waited", "hits", "joined")


def save(results: Mapping[str, Any]) -> None:
    """Write the JSON, and from it the tables, the plot and the sections of pages."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "table.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, text in files(results).items():
        (FOLDER / name).write_text(text)
    for path, lines in ((PAGE, page_section(results)), (README, readme(results))):
        _write_section(path, lines)


def files(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that are written from the JSON, by name."""
    plot = bars("µs CPU a request", costs(results))
    return {"table.md": markdown(results), "cpu.svg": plot}


def load() -> dict[str, Any]:
    """Read the last results."""
    found: dict[str, Any] = json.loads((FOLDER / "table.json").read_text())
    return found


def costs(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the median CPU of each cell, in us per request, in the table's order."""
    return {
        name: median(run["cpu_us"] for run in runs) for name, runs in _runs(results)
    }


def disturbed(results: Mapping[str, Any]) -> float:
    """Return the median share of time in which gomlx waited for its core."""
    runs = (run for run in results["runs"] if run["system"] == "gomlx")
    return float(median(run["waited"] for run in runs))


def page_section(results: Mapping[str, Any]) -> list[str]:
    """Return the section of docs/benchmarks.md: every goal, and the plot."""
    return [
        f"{_measured(results)}:",
        "the server on one core, the load on the other, all in one run (`make bench`).",
        _others(results),
        "All figures: [`loadtests/results/table.md`](../loadtests/results/table.md).\n",
        *goals(results),
        "\n![CPU a request](../loadtests/results/cpu.svg)",
    ]


def readme(results: Mapping[str, Any]) -> list[str]:
    """Return the section of the README: a few rows, without their goals."""
    lines = [line for line in results["goals"] if line["path"] in _README_ROWS]
    rows = [
        (line["path"], f"{_figure(line)}{_spread(line)}", _as_is(line))
        for line in lines
    ]
    head = ("path", "median (least to most)", "as it is")
    return [f"{_measured(results)}.\n", *table(head, rows)]


def _measured(results: Mapping[str, Any]) -> str:
    what = results["machine"]
    on = f"{what['CPU']}, {what['cores']} cores, TensorFlow {_tensorflow(what)}"
    return f"Measured {results['date']}, gomlx {results['commit']}, on {on}"


def _others(results: Mapping[str, Any]) -> str:
    share = f"{disturbed(results):.0%}"
    return f"Other processes used the server's core {share} of the time."


def goals(results: Mapping[str, Any]) -> list[str]:
    """Return the table of goals, as lines."""
    rows = []
    for line in results["goals"]:
        verdict = "met" if line["is_met"] else "**missed**"
        measured = number(line["measured"]) + _spread(line)
        rows.append((line["path"], line["goal"], measured, _as_is(line), verdict))
    head = ("path", "goal", "measured: median (least to most)", "as it is", "")
    return table(head, rows)


def _as_is(line: Mapping[str, Any]) -> str:
    return f"{number(line['as_is'])} {line['unit']}" if "as_is" in line else ""


def _figure(line: Mapping[str, Any]) -> str:
    """Return a figure with the unit of its goal (`≥ 0.5`, `≤ 18 µs CPU`)."""
    unit = " ".join(line["goal"].split()[2:])
    return f"{number(line['measured'])} {unit}".rstrip()


def _spread(line: Mapping[str, Any]) -> str:
    if "least" not in line:
        return ""
    return f" ({number(line['least'])} to {number(line['most'])})"


def markdown(results: Mapping[str, Any]) -> str:
    """Return all results, as Markdown."""
    versions = [(name, value) for name, value in results["machine"].items()]
    rounds = f"{results['rounds']} rounds of {results['seconds']:g} s each"
    parts = [
        f"# Load test of {results['date']}, gomlx {results['commit']}\n",
        f"Medians of {rounds}, in turns; rates are of closed loops that saturate.",
        f"{_others(results)}\n",
        *goals(results),
        "\n## Runs\n",
        "`most` is the slowest answer, `waited` the share of time in which the service",
        "could have run and somebody else had its core; hits and rows joined in a run",
        "as gomlx counts them. Latencies in ms.\n",
        *table(("", *_COLUMNS), [_row(name, runs) for name, runs in _runs(results)]),
        *(line for one in results["scenarios"].items() for line in _scenario(*one)),
        "\n## Machine and versions\n",
        *table(("", ""), versions),
    ]
    parts += [
        "",
        *(f"Left out: {name}: {why}" for name, why in results["left_out"].items()),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _write_section(path: Path, lines: Iterable[str]) -> None:
    """Replace the lines between the markers of a page."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text("\n".join([before + BEGIN, *lines, END + after]))


def number(value: float | None) -> str:
    """Return a number with three significant digits, or an empty text."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table of Markdown, as lines."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _runs(results: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for run in results["runs"]:
        by_name.setdefault(run["name"], []).append(run)
    return list(by_name.items())


def _row(name: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [name]
    for column in _COLUMNS:
        values = [run[column] for run in runs if run[column] is not None]
        found.append(number(median(values)) if values else "")
    return found


def flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures without groups and without histograms."""
    found: dict[str, Any] = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            found |= {f"{key}: {name}": x for name, x in flat(value).items()}
        elif key != "encoded":
            found[key] = value
    return found


def _scenario(name: str, figures: Mapping[str, Any]) -> list[str]:
    rows = [(key, number(value)) for key, value in flat(figures).items()]
    return [f"\n## {name}\n", *table(("", ""), rows)]


def _tensorflow(machine: Mapping[str, str]) -> str:
    return machine.get("tensorflow-cpu") or machine.get("tensorflow", "")
