"""Makes a staged version of a fetched SavedModel: check ─► prove ─► export ─► try.

check     signature, settings, example                       check.py
prove     steady? the kind of each input? does a row         models/steadiness/,
          depend on its neighbours?                          kinds.py,
                                                             models/independence/
export    weights to files; the graph without the rest       objects.py, prune.py
try       the model as TensorFlow loads it, alone and in     samples.py, trial.py
          batches, then as workers load it
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gomlx.contract.canonical import Kind, dump
from gomlx.contract.signature import Signature
from gomlx.models import libraries, trust
from gomlx.models.dataflow.flow import Flow
from gomlx.models.graph import needed_nodes
from gomlx.models.independence.proof import Verdict
from gomlx.models.serving import session as tf_session
from gomlx.models.serving import weights
from gomlx.models.serving.effort import Effort
from gomlx.models.serving.servable import Description, Servable
from gomlx.models.serving.weights import SavedState
from gomlx.models.staging.check import check_bound, check_callbacks, example_row
from gomlx.models.staging.echoes import without_echoes
from gomlx.models.staging.effort import deciding_operation, is_compiled
from gomlx.models.staging.kinds import Walk
from gomlx.models.staging.progress import Progress
from gomlx.models.staging.prune import keep_graph, prune
from gomlx.models.staging.rows import examine_rows, rows_apart, without_rows
from gomlx.models.staging.samples import Samples, constants, samples
from gomlx.models.staging.signature.bind import BoundSignature, bound_signature
from gomlx.models.staging.signature.missing import asked_for
from gomlx.models.staging.trial import Call, Trial, TrialTime, example_values
from gomlx.models.staging.variables.direct import Direct, opened
from gomlx.models.staging.variables.export import export
from gomlx.models.staging.variables.files import KnownFiles, StateFiles
from gomlx.models.staging.variables.objects import Objects, unfilled_nodes
from gomlx.models.steadiness.proof import may_write, unsteady_ops
from gomlx.models.version import TOGETHER, ModelVersion, StageRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Model:
    """A fetched model whose signature, settings and example fit together.

    folder is the work folder, which is to become the staged version; needed are the
    names of the nodes that serving depends on, flow the dataflow through them. bound:
    its signature, and the model's own names.
    """

    request: StageRequest
    folder: Path
    meta_graph: Any
    needed: set[str]
    flow: Flow
    bound: BoundSignature
    description: Description

    @property
    def saved_model(self) -> Path:
        return self.folder / "saved_model"


@dataclass(frozen=True)
class _Proof:
    """What the graph shows: the signature with what may be missing, kinds of inputs,
    values to try, whether rows may join."""

    signature: Signature
    kinds: list[Kind]
    samples: Samples
    verdict: Verdict


class _Loaded(NamedTuple):
    """A model as TensorFlow loads it, and its state in files."""

    call: Call
    state: SavedState


def prepare(work: Path, request: StageRequest, progress: Progress) -> None:
    """Turn a work folder with a SavedModel into a version. Raises StageFailed."""
    told = partial(_tell, progress, request.signature)
    told("its graph is imported and checked")
    libraries.load(work)
    model = _checked(work, request)
    with tf_session.imported(model.saved_model) as loader:
        session = loader.session
        reached = _reached(model, session)
        trust.check_reached(reached, request.settings.allow_operations)
        # What runs from here on is known.
        model = _examined(_without_echoes(model, session), session, reached)
        told("its variables are written to files")
        call, state = _loaded(model, loader)
        told("what its answers depend on is proved")
        proof = _proof(model, session)
        described = replace(model.description, signature=proof.signature)
        values = example_values(described, call, proof.samples.example)
        description = without_rows(described, proof.verdict.same, values)
        told("rows are tried")
        trial = _trial(request, description, call, proof.samples, values)
        setting = request.settings.rows
        apart = rows_apart(request.name, setting, proof.verdict, trial.agrees)
        with session.graph.as_default():
            decided_by = deciding_operation(model.flow, description)
    (work / "dictionary").write_bytes(dump(proof.kinds))
    joins = not apart and not description.rows_together
    binding = description.binding
    pads = joins and not binding.rows  # else all runs have one number of rows
    pads = pads and is_compiled(model.meta_graph, binding.fetches)
    effort = Effort(decided_by=decided_by, pads=pads)
    exported = replace(description, state=state, rows_apart=apart, effort=effort)
    exported.write(work)
    if not state.restores:
        shutil.rmtree(model.saved_model / "variables", ignore_errors=True)
        tensors = [*binding.feeds, *binding.fetches]
        prune(model.saved_model, model.meta_graph, model.bound.name, tensors)
    told("it is tried as workers load it")
    effort = replace(effort, row_seconds=_try_as_served(model, trial))
    replace(exported, effort=effort).write(work)


def _tell(progress: Progress, signature: str, phase: str) -> None:
    progress.on_phase(f"{phase} (signature {signature})" if signature else phase)


def _checked(work: Path, request: StageRequest) -> _Model:
    tags = request.settings.tags
    meta_graph = tf_session.parse(work / "saved_model", tags)
    if list(tags) != tf_session.TAGS:
        keep_graph(work / "saved_model", meta_graph, tf_session.TAGS)
    libraries.check_operations(meta_graph, request.settings.libraries)
    trust.check_assets(meta_graph)
    bound = bound_signature(meta_graph, request)
    if not request.signature and bound.name != "serving_default":
        log.info("model %s: its only signature is %r", request.name, bound.name)
    check_bound(bound, request.settings)
    fetches = bound.binding.fetches
    example = example_row(bound.signature, request.example)
    description = Description(
        signature=bound.signature,
        binding=bound.binding,
        state=SavedState((), (), restores=False),  # until it is exported
        unsteady=("not examined yet",),
        rows_apart="it is not proved yet",
        example=example,
        transformer=request.settings.transformer,
        rows_together=request.settings.rows == TOGETHER,
        effort=Effort(),
    )
    needed = needed_nodes(meta_graph, fetches)
    flow = Flow(meta_graph.graph_def, needed, bound.binding.feeds, fetches)
    return _Model(request, work, meta_graph, needed, flow, bound, description)


def _without_echoes(model: _Model, session: Any) -> _Model:
    """Return the model without outputs that an answer gets back from its row."""
    description = model.description
    if description.transformer or description.rows_together:
        return model
    with session.graph.as_default():
        bound = without_echoes(model.flow, model.bound)
    fetches = bound.binding.fetches
    needed = needed_nodes(model.meta_graph, fetches)
    flow = Flow(model.meta_graph.graph_def, needed, bound.binding.feeds, fetches)
    description = replace(description, signature=bound.signature, binding=bound.binding)
    return replace(
        model, needed=needed, flow=flow, bound=bound, description=description
    )


def _reached(model: _Model, session: Any) -> set[str]:
    """Return the types of operations that are reached and not known to be steady.

    By a run, or when the model is loaded. Raises StageFailed.
    """
    feeds = model.description.binding.feeds
    flow = model.flow
    with session.graph.as_default():
        found = unsteady_ops(model.meta_graph, flow.body, flow.function, feeds)
    check_callbacks(found)
    return found


def _examined(model: _Model, session: Any, reached: set[str]) -> _Model:
    """Return the model with what makes it unsteady in its description.

    reached: what was, with the outputs that repeat inputs.
    """
    found = reached and _reached(model, session)
    if found:
        log.warning(
            "model %s is not cached: its answers may vary (%s)",
            model.request.name,
            ", ".join(sorted(found)),
        )
    description = replace(model.description, unsteady=tuple(sorted(found)))
    return replace(model, description=description)


def _loaded(model: _Model, loader: tf_session.GraphLoader) -> _Loaded:
    """Fill the session's graph, and write its state to files.

    By way of these files where that is possible: TensorFlow would read all of the
    checkpoint into memory at once.
    """
    session = loader.session
    files = StateFiles(model.folder / "weights")
    can_map = not may_write(model.description.unsteady)
    unfilled = unfilled_nodes(model.meta_graph, model.needed)
    if can_map and not unfilled and (direct := _direct(model, session)):
        state = _from_files(model, loader, direct, files)
        return _Loaded(_callable(model, session), state)
    loader.fill()
    call = _objects(model, session, unfilled) or _callable(model, session)
    return _Loaded(call, export(session, files, model.needed, can_map))


def _direct(model: _Model, session: Any) -> Direct | None:
    return opened(model.saved_model, model.meta_graph, session.graph, model.needed)


def _from_files(
    model: _Model, loader: tf_session.GraphLoader, direct: Direct, files: StateFiles
) -> SavedState:
    """Write what the checkpoint holds, load that, and write what is filled otherwise.

    Raises StageFailed.
    """
    with tf_session.translated():
        state = direct.export(files, KnownFiles(model.request.into))
        weights.load(loader.session, loader, model.folder / "weights", state)
    others = export(loader.session, files, model.needed - direct.names, True)
    return SavedState(
        (*state.variables, *others.variables),
        (*state.tables, *others.tables),
        others.restores,
    )


def _callable(model: _Model, session: Any) -> Call:
    """Return the model as TensorFlow loads it, from arrays to arrays."""
    binding = model.bound.binding
    return tf_session.make_callable(session, binding.feeds, binding.fetches)


def _objects(model: _Model, session: Any, unfilled: Sequence[Any]) -> Call | None:
    """Fill nodes that restoring does not; return the model as TensorFlow 2 loads it."""
    if not unfilled:
        return None
    objects = Objects(
        model.saved_model,
        model.meta_graph,
        model.bound,
        model.bound.name,
    )
    objects.fill(session, unfilled)
    return objects.call


def _proof(model: _Model, session: Any) -> _Proof:
    description = model.description
    signature = description.signature
    binding = description.binding
    feeds = [bound.elements for bound in binding.inputs]
    flow = model.flow
    with session.graph.as_default():
        signature = asked_for(signature, feeds, flow)
    walk = Walk(session, flow, may_vary=bool(description.unsteady))
    kinds = walk.kinds(signature, feeds, model.request.settings)
    example = signature.check(description.example).rows[0]
    distinguished = [
        walk.distinguished(tensor, feed)
        for tensor, feed in zip(signature.inputs, feeds, strict=True)
    ]
    with session.graph.as_default():
        compared = constants(flow, feeds)
        verdict = examine_rows(flow, description)
    tried = samples(signature.fields, kinds, distinguished, compared, example)
    return _Proof(signature, kinds, tried, verdict)


def _trial(
    request: StageRequest,
    description: Description,
    call: Call,
    samples: Samples,
    values: Sequence[Any],
) -> Trial:
    """Try rows alone, as many as there is time for. Raises StageFailed."""
    time = TrialTime(request.limits.trial_seconds)
    trial = Trial(description, call, samples, values, time)
    if time.is_cut:
        rows = "1 row was" if trial.count == 1 else f"{trial.count} rows were"
        log.warning(
            "model %s is slow: %s tried alone, of more (watch.trial_seconds: %g)",
            request.name,
            rows,
            request.limits.trial_seconds,
        )
    return trial


def _try_as_served(model: _Model, trial: Trial) -> float:
    """Load the version as workers do, and compare its answers.

    Returns the CPU time of the example, in seconds; 0 if it is not compared. Raises
    StageFailed.
    """
    seconds = 0.0
    servable = Servable(ModelVersion(model.request.name, "trial", model.folder))
    if not model.description.unsteady:
        trial.compare(servable)
        if model.description.rows_together:
            trial.compare_together(servable)
        seconds = servable.row_seconds()
    servable.close()
    return seconds
