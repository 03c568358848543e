"""Stage one version, in a process of its own: fetch, check, digest, weights to files,
a trial run. What it leaves in place is complete, or nothing is left.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gomlx.config.masking import masked
from gomlx.contract.canonical import dump
from gomlx.contract.dictionary import digest
from gomlx.contract.dtypes import ANY, DTYPES
from gomlx.contract.signature import RESERVED, Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import GomlxError, InvalidInput, StageFailed
from gomlx.models.serving.transformer import Code, code
from gomlx.models.staging.source import Source
from gomlx.models.version import (
    NOTHING_THERE,
    ModelVersion,
    Settings,
    StageRequest,
    staged_version,
)

if TYPE_CHECKING:
    from gomlx.models.serving.servable import Description
    from gomlx.models.staging.trial import Trial

log = logging.getLogger(__name__)

# Raised when what staging writes, or what a key or an answer looks like, changes.
FORMAT = 4


def stage(request: StageRequest) -> ModelVersion:
    """Stage a source's newest version and return it. Raises StageFailed."""
    source = Source(request.url)
    snapshot = source.snapshot()
    if snapshot is None:
        raise StageFailed(NOTHING_THERE)
    request.into.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".staging-", dir=request.into))
    try:
        content = source.fetch(snapshot, work / "saved_model")
        if source.snapshot() != snapshot:
            raise StageFailed("the files changed while they were read")
        ours = code(request.settings.transformer, request.name)
        directory = request.into / _digest(content, ours, request)
        if not directory.exists():
            ours.write(work)
            _prepare(work, request)
            work.rename(directory)
        return staged_version(request.name, directory)
    except GomlxError:
        raise
    except Exception as error:  # whatever TensorFlow makes of hostile files
        log.exception("staging failed")
        reason = masked(f"{type(error).__name__}: {str(error)[:500]}")
        raise StageFailed(reason) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _digest(content: str, ours: Code, request: StageRequest) -> str:
    """Digest all that changes an answer or a key; no times, no paths."""
    settings = request.settings
    parts = [
        str(FORMAT),
        content,
        request.signature,
        json.dumps(sorted(settings.precisions.items())),
        json.dumps(sorted(settings.wildcards)),
        json.dumps(sorted(settings.auxiliaries)),
        json.dumps(sorted(settings.key_fields)),
        settings.transformer,
        ours.digest,
        # The example decides what staging finds out about a version.
        json.dumps(sorted(request.example.items())),
    ]
    return digest(part.encode() for part in parts)


def _prepare(work: Path, request: StageRequest) -> None:
    """Turn fetched files into a staged version, tried from beginning to end."""
    # TensorFlow is imported only for files that no earlier staging has seen.
    from gomlx.models.serving import session
    from gomlx.models.serving.servable import Description, Servable
    from gomlx.models.serving.weights import SavedState
    from gomlx.models.staging import graph

    meta_graph = session.parse(work / "saved_model")
    signature, feeds, fetches = _signature(meta_graph, request)
    example = _example(signature, request.example)
    unsteady = tuple(sorted(graph.unsteady_ops(meta_graph, fetches)))
    if unsteady:
        log.warning("not cached: its answers may vary (%s)", ", ".join(unsteady))
    description = Description(
        signature=signature,
        feeds=feeds,
        fetches=fetches,
        state=SavedState((), (), restores=False),  # until it is exported
        unsteady=unsteady,
        joins_rows=False,
        example=example,
        transformer=request.settings.transformer,
    )
    trial = _export(work, meta_graph, description, request)
    servable = Servable(ModelVersion(request.name, "trial", work))
    if not unsteady:
        trial.compare(servable)
    servable.close()


def _export(
    work: Path, meta_graph: Any, description: "Description", request: StageRequest
) -> "Trial":
    """Write what a worker reads, and try the model as TensorFlow loads it."""
    from gomlx.models.graph import needed_nodes
    from gomlx.models.serving import session, weights
    from gomlx.models.staging import graph
    from gomlx.models.staging.choices import choice
    from gomlx.models.staging.flow import Flow
    from gomlx.models.staging.kinds import Walk
    from gomlx.models.staging.objects import Objects
    from gomlx.models.staging.prune import prune
    from gomlx.models.staging.samples import constants, samples
    from gomlx.models.staging.trial import Trial

    d, saved_model = description, work / "saved_model"
    needed = needed_nodes(meta_graph, d.fetches)
    (work / "weights").mkdir()
    with session.loaded(saved_model) as loaded:
        if unfilled := graph.unfilled(meta_graph, needed):
            objects = Objects(saved_model, meta_graph, d.signature, request.signature)
            objects.fill(loaded, unfilled)
            call = objects.call
        else:
            call = session.make_callable(loaded, d.feeds, d.fetches)
        can_map = not graph.may_write(d.unsteady)
        state = weights.export(loaded, work / "weights", needed, can_map)
        flow = Flow(meta_graph.graph_def, needed, d.feeds, d.fetches)
        walk = Walk(loaded, flow, may_vary=bool(d.unsteady))
        kinds = walk.kinds(d.signature, d.feeds, request.settings)
        row = d.signature.check(d.example).rows[0]
        with loaded.graph.as_default():
            chosen = choice(flow, d.feeds)
            compared = constants(flow, d.feeds)
        pairs = zip(d.signature.inputs, d.feeds, strict=True)
        told = [walk.told_apart(tensor, feed) for tensor, feed in pairs]
        tried = samples(d.signature.fields, kinds, told, compared, row)
        trial = Trial(d.signature, call, tried)
        joins_rows = trial.joins_rows(chosen)
    (work / "dictionary").write_bytes(dump(kinds))
    replace(d, state=state, joins_rows=joins_rows).write(work)
    if not state.restores:
        shutil.rmtree(saved_model / "variables", ignore_errors=True)
        prune(saved_model, meta_graph, request.signature)
    return trial


def _signature(
    meta_graph: Any, request: StageRequest
) -> tuple[Signature, tuple[str, ...], tuple[str, ...]]:
    """Return the signature, and the names of the tensors to feed and to fetch."""
    definitions, name = dict(meta_graph.signature_def), request.signature
    if name not in definitions:
        known = ", ".join(sorted(n for n in definitions if not n.startswith("__")))
        raise StageFailed(f"no signature {name!r}; there are: {known or 'none'}")
    inputs = sorted(definitions[name].inputs.items())
    outputs = sorted(definitions[name].outputs.items())
    if not inputs or not outputs:
        raise StageFailed("the signature needs an input and an output at least")
    auxiliaries = sorted(request.settings.auxiliaries)
    if taken := sorted(RESERVED & {*dict(inputs), *auxiliaries}):
        raise StageFailed(f"an input may not be named {taken[0]!r}")
    _check_settings(request.settings, dict(inputs))
    signature = Signature(
        tuple(_tensor(name, info, "input") for name, info in inputs),
        tuple(_tensor(name, info, "output") for name, info in outputs),
        tuple(Tensor(name, ANY, ()) for name in auxiliaries),
    )
    feeds, fetches = (tuple(i.name for _, i in infos) for infos in (inputs, outputs))
    _check_feeds(signature, feeds)
    return signature, feeds, fetches


def _check_feeds(signature: Signature, feeds: Sequence[str]) -> None:
    """Raise StageFailed unless every input is a tensor of its own."""
    by_tensor: dict[str, list[str]] = {}
    for tensor, feed in zip(signature.inputs, feeds, strict=True):
        by_tensor.setdefault(feed, []).append(repr(tensor.name))
    for feed, names in by_tensor.items():
        if len(names) > 1:
            which = " and ".join(names)
            raise StageFailed(f"inputs {which} are one tensor of the graph ({feed})")


def _check_settings(settings: Settings, inputs: Collection[str]) -> None:
    """Raise StageFailed unless the config and the model agree on what there is."""
    for name in (*settings.precisions, *settings.wildcards):
        if name not in inputs:
            known = ", ".join(inputs)
            raise StageFailed(f"inputs: the model has no {name!r}; it has: {known}")
    for name in settings.auxiliaries:
        if name in inputs:
            raise StageFailed(f"inputs: {name!r} is the model's own, not auxiliary")
    for name in settings.key_fields:
        if name not in inputs and name not in settings.auxiliaries:
            raise StageFailed(f"key_fields: there is no input {name!r}")


def _tensor(name: str, info: Any, role: str) -> Tensor:
    import tensorflow as tf

    if info.WhichOneof("encoding") != "name":
        raise StageFailed(f"{role} {name!r}: sparse and ragged tensors are not served")
    dtype = tf.as_dtype(info.dtype).name
    if dtype not in DTYPES:
        raise StageFailed(f"{role} {name!r}: dtype {dtype} is not served")
    if info.tensor_shape.unknown_rank:
        return Tensor(name, dtype, None)
    dims = [None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim]
    if role == "input" and (not dims or dims[0] is not None):
        raise StageFailed(
            f"input {name!r} has shape {dims}: its first dimension must be the batch, "
            "of any size (None)"
        )
    return Tensor(name, dtype, tuple(dims[1:]))


def _example(signature: Signature, given: dict[str, Any]) -> dict[str, Any]:
    """A row to try: what the config gives, zeros and empty strings for the rest."""
    row = {tensor.name: _zero(tensor) for tensor in signature.fields} | given
    try:
        signature.check(row)
    except InvalidInput as error:
        raise StageFailed(f"example: {error}") from None
    return row


def _zero(tensor: Tensor) -> Any:
    value: Any = {"string": "", ANY: "", "bool": False}.get(tensor.dtype, 0)
    for size in reversed(tensor.shape or ()):
        value = [value] * (1 if size is None else size)
    return value
