"""Checks that a model, its config and its example fit together.

Errors name the input or the config key, for the people who exported the model or wrote
the config.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from gomlx.contract.canonical import Auxiliary, Exact, Kind, Rounded
from gomlx.contract.dtypes import ANY, DTYPES
from gomlx.contract.signature import RESERVED, Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput, StageFailed
from gomlx.models.staging.missing import with_missing
from gomlx.models.version import Settings, StageRequest


@dataclass(frozen=True)
class BoundSignature:
    """A signature, and the tensors of the graph that are its inputs and outputs."""

    signature: Signature
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]


def bound_signature(meta_graph: Any, request: StageRequest) -> BoundSignature:
    """Return the requested signature of a model. Raises StageFailed."""
    definition = _definition(meta_graph, request.signature)
    inputs = dict(sorted(definition.inputs.items()))
    outputs = dict(sorted(definition.outputs.items()))
    auxiliaries = request.settings.auxiliaries
    _check_names([*inputs, *auxiliaries])
    _check_settings(request.settings, inputs)
    signature = Signature(
        tuple(
            with_missing(_input(name, info), request.settings)
            for name, info in inputs.items()
        ),
        tuple(_tensor(f"output {name!r}", name, i) for name, i in outputs.items()),
        tuple(Tensor(name, ANY, ()) for name in auxiliaries),
    )
    feeds = tuple(info.name for info in inputs.values())
    fetches = tuple(info.name for info in outputs.values())
    _check_feeds(signature, feeds)
    return BoundSignature(signature, feeds, fetches)


def example_row(signature: Signature, given: dict[str, Any]) -> dict[str, Any]:
    """Return a row to try: the config's example, with zeros for other inputs.

    Raises StageFailed if it does not fit the signature.
    """
    row = {tensor.name: _zero(tensor) for tensor in signature.fields} | given
    try:
        signature.check(row)
    except InvalidInput as error:
        raise StageFailed(f"example: {error}") from None
    return row


def configured_kind(tensor: Tensor, settings: Settings) -> Kind | None:
    """Return the kind that the config sets for an input, if any. Raises StageFailed."""
    given = settings.input(tensor.name)
    if given.wildcard:
        return Exact(tensor.dtype, "the config says wildcard")
    if given.precision is None:
        return None
    if "float" not in tensor.dtype:
        raise StageFailed(
            f"input {tensor.name!r} has dtype {tensor.dtype}, and only floats have a "
            "precision: remove its precision from the config"
        )
    return Rounded(tensor.dtype, given.precision, "the config gives its precision")


def auxiliary_kind(name: str, settings: Settings) -> Kind:
    """Return the kind of an auxiliary input."""
    is_in_key = name in settings.key_fields
    what = "in key_fields" if is_in_key else "not in key_fields"
    return Auxiliary(is_in_key, f"the config says auxiliary; {what}")


def _definition(meta_graph: Any, name: str) -> Any:
    definitions = dict(meta_graph.signature_def)
    if name not in definitions:
        public = sorted(n for n in definitions if not n.startswith("__"))
        has = ", ".join(public) or "none"
        raise StageFailed(f"the model has no signature {name!r}; it has: {has}")
    definition = definitions[name]
    if not definition.inputs or not definition.outputs:
        raise StageFailed(f"signature {name!r} needs an input and an output at least")
    return definition


def _check_names(names: Sequence[str]) -> None:
    """Raise StageFailed if a request could not name an input."""
    for name in names:
        if name in RESERVED:
            raise StageFailed(
                f"an input may not be named {name!r}, which has a meaning of its own "
                "in requests"
            )


def _check_settings(settings: Settings, inputs: Collection[str]) -> None:
    """Raise StageFailed unless the inputs that the config names fit the model's."""
    for given in settings.inputs:
        name = given.name
        if given.auxiliary and name in inputs:
            raise StageFailed(
                f"inputs: {name!r} is the model's own input and cannot be auxiliary"
            )
        if not given.auxiliary and name not in inputs:
            has = ", ".join(inputs)
            raise StageFailed(f"inputs: the model has no {name!r}; it has: {has}")
    for name in settings.key_fields:
        if name not in inputs and name not in settings.auxiliaries:
            raise StageFailed(f"key_fields: there is no input {name!r}")


def _check_feeds(signature: Signature, feeds: Sequence[str]) -> None:
    """Raise StageFailed unless every input is a tensor of its own."""
    by_tensor: dict[str, list[str]] = {}
    for tensor, feed in zip(signature.inputs, feeds, strict=True):
        by_tensor.setdefault(feed, []).append(repr(tensor.name))
    for feed, names in by_tensor.items():
        if len(names) > 1:
            inputs = " and ".join(names)
            raise StageFailed(f"inputs {inputs} are one tensor of the graph ({feed})")


def _input(name: str, info: Any) -> Tensor:
    tensor = _tensor(f"input {name!r}", name, info)
    if tensor.shape is None:
        return tensor
    shape = [None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim]
    if not shape or shape[0] is not None:
        raise StageFailed(
            f"input {name!r} has shape {shape}: its first dimension must be the batch, "
            "of any size (None)"
        )
    return tensor


def _tensor(what: str, name: str, info: Any) -> Tensor:
    """Return the contract's form of a tensor; what names it in errors."""
    if info.WhichOneof("encoding") != "name":
        raise StageFailed(f"{what}: sparse and ragged tensors are not supported")
    dtype = tf.as_dtype(info.dtype).name
    if dtype not in DTYPES:
        raise StageFailed(f"{what}: dtype {dtype} is not supported")
    if info.tensor_shape.unknown_rank:
        return Tensor(name, dtype, None)
    shape = [None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim]
    return Tensor(name, dtype, tuple(shape[1:]))


def _zero(tensor: Tensor) -> Any:
    value: Any = {"string": "", ANY: "", "bool": False}.get(tensor.dtype, 0)
    for size in reversed(tensor.shape or ()):
        value = [value] * (1 if size is None else size)
    return value
