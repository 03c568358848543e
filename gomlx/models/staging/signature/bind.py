"""From a SignatureDef to the signature that is served, and its tensors in the graph.

Which first axis is the batch follows from the shapes that the model declares:

    an input's is open        it is the batch; inputs whose first axis is fixed, or that
                              have none, hold one value for all rows of a run
    all are 1                 one row a run, which has an axis less
    all are N, outputs' too   N rows a run
    anything else             one row a run: no axis is for the batch
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from gomlx.contract.dtypes import ANY, DTYPES
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import StageFailed
from gomlx.models.serving.binding import Binding, Bound, Layout
from gomlx.models.staging.signature.composites import (
    Composite,
    composite_inputs,
    composite_of,
    output_spec,
)
from gomlx.models.staging.signature.defaults import default_value
from gomlx.models.staging.signature.missing import with_missing
from gomlx.models.version import Settings, StageRequest

_DEFAULT = "serving_default"
_Dims = tuple[int | None, ...] | None  # of a tensor of the graph; None: of any rank


@dataclass(frozen=True)
class BoundSignature:
    """A signature and its tensors in the graph.

    name: that of the signature in the model. arguments and results: the model's own
    names of what is fed and fetched.
    """

    name: str
    signature: Signature
    binding: Binding
    arguments: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """An input or output: the model's names of it, the one in requests, its tensors.

    names has one for each tensor of an input; default is a TensorProto or None.
    """

    names: tuple[str, ...]
    served_name: str
    dtype: str
    dims: _Dims
    tensors: tuple[str, ...]
    composite: Composite | None = None
    default: Any = None

    @property
    def is_open(self) -> bool:
        """True when any number of rows fits its first axis."""
        return self.dims is None or self.dims[:1] == (None,)

    def bound(self, layout: Layout, has_rows: bool) -> tuple[Tensor, Bound]:
        """Return it as the contract has it, and its tensor in the graph.

        has_rows: a run may have several rows.
        """
        shape = self.dims
        if self.composite is not None:
            layout = self.composite.layout
        if shape is not None and layout is not Layout.WHOLE:
            shape = shape[1:]
        tensor = Tensor(
            self.served_name,
            self.dtype,
            shape,
            is_shared=has_rows and layout.is_shared,
            default=default_value(self.default, layout),
            ragged=self.composite.ragged if self.composite else 0,
            is_sparse=layout is Layout.SPARSE,
        )
        splits = self.composite.splits if self.composite else "int64"
        return tensor, Bound(layout, self.tensors, splits)


def bound_signature(meta_graph: Any, request: StageRequest) -> BoundSignature:
    """Return the requested signature of a model. Raises StageFailed."""
    settings = request.settings
    name = request.signature or _default_signature(meta_graph)
    definition = _definition(meta_graph, name)
    inputs = list(_inputs(meta_graph, definition, settings))
    outputs = list(_outputs(definition, settings))
    rows = _rows(inputs, outputs)
    has_rows = rows not in (None, 1)
    ins = [part.bound(_input_layout(part, rows), has_rows) for part in inputs]
    outs = [part.bound(_output_layout(part, rows), has_rows) for part in outputs]
    signature = Signature(
        tuple(with_missing(tensor, settings) for tensor, _ in ins),
        tuple(tensor for tensor, _ in outs),
        tuple(Tensor(name, ANY, ()) for name in settings.auxiliaries),
    )
    binding = Binding(
        tuple(bound for _, bound in ins),
        tuple(bound for _, bound in outs),
        1 if rows is None else rows,
    )
    arguments = tuple(name for part in inputs for name in part.names)
    return BoundSignature(
        name, signature, binding, arguments, tuple(one.served_name for one in outputs)
    )


def _default_signature(meta_graph: Any) -> str:
    """Return the signature to serve where the config names none. Raises StageFailed."""
    public = public_signatures(meta_graph)
    if _DEFAULT in public:
        return _DEFAULT
    if len(public) == 1:
        return public[0]
    has = ", ".join(public) or "none"
    raise StageFailed(
        f"the model has no signature {_DEFAULT!r}; it has: {has}: choose one by "
        "`signature:`"
    )


def public_signatures(meta_graph: Any) -> list[str]:
    """Return the names of a model's signatures, but for those of TensorFlow's own."""
    return sorted(name for name in meta_graph.signature_def if name[:2] != "__")


def _definition(meta_graph: Any, name: str) -> Any:
    definitions = dict(meta_graph.signature_def)
    if name not in definitions:
        has = ", ".join(public_signatures(meta_graph)) or "none"
        raise StageFailed(f"the model has no signature {name!r}; it has: {has}")
    definition = definitions[name]
    if not definition.inputs or not definition.outputs:
        raise StageFailed(f"signature {name!r} needs an input and an output at least")
    return definition


def _inputs(meta_graph: Any, definition: Any, settings: Settings) -> Iterator[_Part]:
    infos = dict(sorted(definition.inputs.items()))
    defaults = dict(definition.defaults)
    composites = {one.parts[0]: one for one in composite_inputs(meta_graph, definition)}
    parts = {name for one in composites.values() for name in one.parts}
    for name, info in infos.items():
        if name in composites:
            one = composites[name]
            tensors = tuple(infos[part].name for part in one.parts)
            served = settings.served_name(name)
            yield _composite(one.composite, one.parts, served, tensors)
        elif name not in parts:
            part = _part(f"input {name!r}", name, info, defaults.get(name))
            yield replace(part, served_name=settings.served_name(name))


def _outputs(definition: Any, settings: Settings) -> Iterator[_Part]:
    """Yield those that the config names, or all. Raises StageFailed."""
    outputs = dict(sorted(definition.outputs.items()))
    for name in settings.outputs or outputs:
        if name not in outputs:
            has = ", ".join(outputs)
            raise StageFailed(f"outputs: the model has no {name!r}; it has: {has}")
    for name, info in outputs.items():
        if name in (settings.outputs or outputs):
            try:
                yield _part(f"output {name!r}", name, info)
            except StageFailed as error:
                raise StageFailed(f"{error}; {_without(outputs, name)}") from None


def _without(outputs: Iterable[str], name: str) -> str:
    others = [other for other in outputs if other != name]
    if not others:
        return "the model has no other output"
    return f"to serve the model without it, configure `outputs: [{', '.join(others)}]`"


def _part(what: str, name: str, info: Any, default: Any = None) -> _Part:
    """Read a TensorInfo; what names it in errors. Raises StageFailed."""
    encoding = info.WhichOneof("encoding")
    if encoding == "composite_tensor":
        composite = composite_of(output_spec(info))
        if composite is None:
            raise StageFailed(
                f"{what}: composite tensors of its type are not supported"
            )
        tensors = tuple(part.name for part in info.composite_tensor.components)
        return _composite(composite, (name,), name, tensors)
    dtype = tf.as_dtype(info.dtype).name
    if dtype not in DTYPES:
        raise StageFailed(f"{what}: dtype {dtype} is not supported")
    dims: _Dims = None
    if not info.tensor_shape.unknown_rank:
        sizes = [int(dim.size) for dim in info.tensor_shape.dim]
        dims = tuple(None if size < 0 else size for size in sizes)
    if encoding == "coo_sparse":
        sparse = info.coo_sparse
        names = sparse.indices_tensor_name, sparse.values_tensor_name
        tensors = *names, sparse.dense_shape_tensor_name
        if dims is None:
            raise StageFailed(
                f"{what}: a sparse tensor of unknown rank is not supported"
            )
        return _composite(Composite(Layout.SPARSE, dtype, dims), (name,), name, tensors)
    return _Part((name,), name, dtype, dims, (info.name,), default=default)


def _composite(
    composite: Composite,
    names: tuple[str, ...],
    served: str,
    tensors: tuple[str, ...],
) -> _Part:
    return _Part(names, served, composite.dtype, composite.dims, tensors, composite)


def _rows(inputs: Sequence[_Part], outputs: Sequence[_Part]) -> int | None:
    """Return how many rows a run has; 0: any number; None: one, without an axis."""
    if any(part.is_open for part in inputs):
        return 0 if any(part.is_open for part in outputs) else None
    firsts = {part.dims[0] for part in inputs if part.dims}
    if len(firsts) != 1:
        return None
    (first,) = firsts
    if first == 1:
        return 1
    are_rows = all(part.dims and part.dims[0] == first for part in outputs)
    return first if are_rows else None


def _input_layout(part: _Part, rows: int | None) -> Layout:
    if rows is None or part.dims == ():
        return Layout.WHOLE
    if rows == 0 and part.is_open:
        return Layout.ROWS
    assert part.dims is not None
    if part.dims[0] == 1:
        return Layout.ONE
    return Layout.ROWS if rows and part.dims[0] == rows else Layout.WHOLE


def _output_layout(part: _Part, rows: int | None) -> Layout:
    if rows is None:
        return Layout.WHOLE
    if rows == 0:
        return Layout.ROWS if part.is_open else Layout.WHOLE
    if rows == 1:
        is_one = part.dims is not None and part.dims[:1] == (1,)
        return Layout.ONE if is_one else Layout.WHOLE
    return Layout.ROWS
