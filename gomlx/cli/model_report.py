"""What `gomlx check` finds out about each model of a config.

    what the URL holds ─► staged in a process of its own, as a service does ─► report
                      └─► quick: its graph is read here, and nothing is run

A model that a service could not serve has a problem: the reason that staging gives.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TimeElapsedColumn

from gomlx.cli.server import rows_verdict
from gomlx.cli.service import stage_limits, stage_request
from gomlx.cli.terminal import errors
from gomlx.config.schema import Config, Model
from gomlx.contract.canonical import Kind, parse
from gomlx.contract.explain import form
from gomlx.contract.signature import Echo
from gomlx.contract.tensor import Tensor
from gomlx.errors import RunFailed, StageFailed
from gomlx.models.source import Snapshot, Source
from gomlx.models.version import NOTHING_THERE, ModelVersion, StageRequest
from gomlx.runtime.masking import masked
from gomlx.supervisor.stager import Stager

_MOST_NAMES = 8  # that are printed of a folder
_EXPORT = "put a SavedModel there, or numbered folders with one each"


@dataclass(frozen=True)
class ModelReport:
    """One model as the service would serve it; problem says why it would not.

    id: that of the model, or ID:NAME of a further signature. source: what its URL
    holds. inputs and outputs: a dict for each. rows: how rows run.
    cached: where answers are kept, or why they are not. run_us: what the run takes that
    a hit in a shared tier saves. Empty: not found out.
    """

    id: str
    url: str
    source: str = ""
    problem: str = ""
    version: str = ""
    inputs: Sequence[dict[str, Any]] = ()
    outputs: Sequence[dict[str, Any]] = ()
    rows: str = ""
    cached: str = ""
    run_us: float | None = None


def model_reports(config: Config, is_quick: bool) -> list[ModelReport]:
    """Report on every model; on a terminal, show a bar for each while it is staged."""
    progress = Progress(
        SpinnerColumn(),
        "{task.description}",
        BarColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    with progress, tempfile.TemporaryDirectory(prefix="gomlx-check-") as folder:
        examination = _Examination(config, Path(folder), is_quick, progress)
        return asyncio.run(examination.reports())


class _Examination:
    """The examination of all models of a config, at the same time."""

    def __init__(
        self, config: Config, folder: Path, is_quick: bool, progress: Progress
    ) -> None:
        self._config = config
        self._folder = folder
        self._is_quick = is_quick
        self._progress = progress
        self._stager = Stager(config.watch.stage_seconds, is_quiet=True)

    async def reports(self) -> list[ModelReport]:
        found = await asyncio.gather(*map(self._reports, self._config.models))
        return [*chain.from_iterable(found)]

    async def _reports(self, model: Model) -> list[ModelReport]:
        """Report on a model, and then on its further signatures."""
        bar = self._progress.add_task(f"model {model.id}", total=None)
        report = ModelReport(model.id, masked(model.url))
        try:
            source = Source(model.url)
            names = await asyncio.to_thread(source.names)
            report = replace(report, source=_held(names))
            snapshot = await asyncio.to_thread(source.snapshot)
            if snapshot is None:
                raise StageFailed(f"{NOTHING_THERE}: {_EXPORT}")
            report = replace(report, source=_described(names or (), snapshot))
            return await self._examined(report, model, source, snapshot)
        except (StageFailed, OSError) as error:
            return [replace(report, problem=masked(str(error)))]
        finally:
            self._progress.update(bar, total=1, completed=1)

    async def _examined(
        self, report: ModelReport, model: Model, source: Source, snapshot: Snapshot
    ) -> list[ModelReport]:
        """Complete a report by what staging finds. Raises StageFailed, OSError."""
        limits = stage_limits(self._config.watch)
        request = replace(stage_request(model, self._folder / model.id), limits=limits)
        if self._is_quick:
            read = await asyncio.to_thread(_read, request, source, snapshot)
            return [
                replace(report, id=name, problem=masked(str(one)))
                if isinstance(one, StageFailed)
                else self._with(replace(report, id=name), model, one)
                for name, one in read.items()
            ]
        version = await self._stager.stage(request, snapshot)
        known: dict[str, ModelReport] = {}
        reports = []
        for one in (version, *version.further):
            if one.digest not in known:
                known[one.digest] = await self._loaded(report, model, one)
            reports.append(replace(known[one.digest], id=one.name))
        shutil.rmtree(request.into)
        refused = version.refused.items()
        return reports + [
            replace(report, id=name, problem=reason) for name, reason in refused
        ]

    async def _loaded(
        self, report: ModelReport, model: Model, version: ModelVersion
    ) -> ModelReport:
        """Complete a report by what is known of a staged version."""
        found = await asyncio.to_thread(_staged, version)
        store = self._config.datastore_of(model)
        if store and store.tiers and not found.unsteady:
            rows = model.batch.max_rows if model.batch.rows == "together" else 1
            run_us = await asyncio.to_thread(_run_us, version, rows)
            report = replace(report, run_us=run_us)
        return replace(self._with(report, model, found), version=version.digest)

    def _with(self, report: ModelReport, model: Model, found: "_Found") -> ModelReport:
        store = self._config.datastore_of(model)
        cached = "not cached: the config names no datastore"
        if found.unsteady:
            cached = f"not cached: answers may vary ({', '.join(found.unsteady)})"
        elif store is not None:
            unit = "request" if model.batch.rows == "together" else "row"
            cached = f"cached by {unit} in {store.id}, for {store.ttl_seconds:g} s"
            if not found.rows:
                cached += ", unless they may vary"
        return replace(
            report,
            inputs=found.inputs,
            outputs=found.outputs,
            rows=found.rows,
            cached=cached,
        )


@dataclass(frozen=True)
class _Found:
    """What the graph shows; rows and unsteady are empty where it was only read."""

    inputs: Sequence[dict[str, Any]]
    outputs: Sequence[dict[str, Any]]
    unsteady: Sequence[str] = ()
    rows: str = ""


def _staged(version: ModelVersion) -> _Found:
    """Return what staging has found out about a version."""
    from gomlx.models.serving.servable import Description

    description = Description.read(version.directory)
    signature = description.signature
    kinds = parse((version.directory / "dictionary").read_bytes())
    pairs = zip(signature.fields, kinds, strict=True)
    return _Found(
        [_tensor(tensor) | _kind(kind) for tensor, kind in pairs],
        [*map(_tensor, signature.outputs), *map(_echo, signature.echoes)],
        description.unsteady,
        rows_verdict(description.rows_apart, description.rows_together)
        + _threads_only(description.effort.decided_by),
    )


def _threads_only(operation: str) -> str:
    """Say that values decide what a run takes, by an operation; "": they do not."""
    if not operation:
        return ""
    return (
        f"; in threads only: by {operation}, values decide how long a run takes. "
        "run_seconds bounds it, and isolate keeps it out of the workers"
    )


def _run_us(version: ModelVersion, rows: int) -> float | None:
    """Load a version as a worker does, and measure a run of so many rows."""
    from gomlx.models.serving.servable import Servable

    servable = Servable(version)
    try:
        timings = servable.warm(rows)
    except RunFailed:  # a worker will say so, too
        return None
    finally:
        servable.close()
    return round(timings[-1].wall * 1e6, 1)


def _read(
    request: StageRequest, source: Source, snapshot: Snapshot
) -> dict[str, _Found | StageFailed]:
    """Read a model's graph, without its weights. Raises StageFailed.

    Returns what is found, by name, of it and of its further signatures.
    """
    from gomlx.models import libraries, trust
    from gomlx.models.serving import session
    from gomlx.models.serving.transformer import code
    from gomlx.models.staging.signature.bind import public_signatures

    code(request.settings.transformer, request.name)
    graph = [one for one in snapshot.files if one[0].startswith("saved_model.pb")]
    if not graph:  # a .keras file, which has none until it is exported
        return {request.name: _Found((), ())}
    source.fetch(replace(snapshot, files=tuple(graph)), request.into)
    meta_graph = session.parse(request.into, request.settings.tags)
    libraries.check_operations(meta_graph, request.settings.libraries)
    trust.check_assets(meta_graph)
    own, found = _read_signature(meta_graph, request)
    read: dict[str, _Found | StageFailed] = {request.name: found}
    names = request.signatures
    for name in public_signatures(meta_graph) if names is None else names:
        if name != own:
            further = request.further(name, {})
            try:
                _, read[further.name] = _read_signature(meta_graph, further)
            except StageFailed as error:
                read[further.name] = error
    return read


def _read_signature(meta_graph: Any, request: StageRequest) -> tuple[str, _Found]:
    """Return a signature's name in the model, and what is found. Raises StageFailed."""
    from gomlx.models.staging.check import check_bound, example_row
    from gomlx.models.staging.signature.bind import bound_signature

    bound = bound_signature(meta_graph, request)
    check_bound(bound, request.settings)
    example_row(bound.signature, request.example)
    return bound.name, _Found(
        list(map(_tensor, bound.signature.fields)),
        list(map(_tensor, bound.signature.outputs)),
    )


def _tensor(tensor: Tensor) -> dict[str, Any]:
    shape = "any" if tensor.shape is None else list(tensor.shape)
    common = {"name": tensor.name, "dtype": tensor.dtype, "shape": shape}
    found = form(tensor)
    return common | {"form": found} if found else common


def _echo(echo: Echo) -> dict[str, Any]:
    return _tensor(echo.output) | {"form": f"repeats input {echo.input!r}"}


def _kind(kind: Kind) -> dict[str, Any]:
    return {"kind": kind.kind, "proof": kind.proof}


def _held(names: Sequence[str] | None) -> str:
    """Say what a URL holds; None: nothing is there."""
    if names is None:
        return "nothing is there"
    more = ", …" if len(names) > _MOST_NAMES else ""
    return (", ".join(names[:_MOST_NAMES]) or "an empty folder") + more


def _described(names: Sequence[str], snapshot: Snapshot) -> str:
    """Say which of the models that a URL holds is served."""
    newest = PurePosixPath(snapshot.root).name
    versions = sorted(filter(str.isdecimal, names), key=int)
    if newest not in versions or any(n.startswith("saved_model.pb") for n in names):
        is_keras = any(name.endswith(".keras") for name in snapshot.names)
        return "a .keras file" if is_keras else "a SavedModel"
    skipped = versions[versions.index(newest) + 1 :]
    but = f", since {', '.join(skipped)} has no model" if skipped else ""
    return f"versions {', '.join(versions)}: {newest} is served{but}"
