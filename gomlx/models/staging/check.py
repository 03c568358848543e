"""Checks that a model, its config and its example fit together.

Errors name the input or the config key, for the people who exported the model or wrote
the config.
"""

from collections.abc import Collection, Sequence
from typing import Any

from gomlx.contract.canonical import Auxiliary, Exact, Kind, Rounded
from gomlx.contract.dtypes import ANY
from gomlx.contract.signature import RESERVED, Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput, StageFailed
from gomlx.models.staging.signature.bind import BoundSignature
from gomlx.models.version import TOGETHER, Settings

_CALLBACKS = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})


def check_bound(bound: BoundSignature, settings: Settings) -> None:
    """Raise StageFailed unless requests can name and the graph can hold every input."""
    names = [tensor.name for tensor in bound.signature.inputs]
    _check_settings(settings, bound.arguments, names)
    _check_names([*names, *settings.auxiliaries])
    _check_feeds(names, [one.elements for one in bound.binding.inputs])
    is_open = bound.binding.has_rows and not bound.binding.rows
    if settings.rows == TOGETHER and not is_open:
        raise StageFailed(
            "`rows: together` needs a model that takes any number of rows: export it "
            "with inputs whose first dimension is open (None)"
        )


def check_callbacks(reached: Collection[str]) -> None:
    """Raise StageFailed if serving calls back to Python. reached: types of operations.

    TensorFlow keeps such functions in the process that exported the model.
    """
    for op in sorted(_CALLBACKS.intersection(reached)):
        raise StageFailed(
            f"{op} calls a Python function (tf.py_function, tf.numpy_function), which "
            "a SavedModel does not contain: write it with TensorFlow's operations, or "
            "export a signature or outputs that do not need it"
        )


def example_row(signature: Signature, given: dict[str, Any]) -> dict[str, Any]:
    """Return a row to try: the config's example, with zeros for other inputs.

    Raises StageFailed if it does not fit the signature.
    """
    row = {tensor.name: _example(tensor) for tensor in signature.fields} | given
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


def _check_names(names: Sequence[str]) -> None:
    """Raise StageFailed if a request could not name an input."""
    for i, name in enumerate(names):
        if name in RESERVED:
            raise StageFailed(
                f"an input may not be named {name!r}, which has a meaning of its own "
                f"in requests: configure `inputs: [{{name: {name}, rename: …}}]`"
            )
        if name in names[:i]:
            raise StageFailed(f"inputs: two are named {name!r}")


def _check_settings(
    settings: Settings, arguments: Collection[str], names: Collection[str]
) -> None:
    """Raise StageFailed unless the inputs that the config names fit the model's.

    arguments: the model's names of its inputs; names: those in requests.
    """
    for given in settings.inputs:
        name = given.name
        if given.auxiliary and name in arguments:
            raise StageFailed(
                f"inputs: {name!r} is the model's own input and cannot be auxiliary"
            )
        if not given.auxiliary and name not in arguments:
            has = ", ".join(arguments)
            raise StageFailed(f"inputs: the model has no {name!r}; it has: {has}")
    for name in settings.key_fields:
        if name not in names and name not in settings.auxiliaries:
            raise StageFailed(f"key_fields: there is no input {name!r}")


def _check_feeds(names: Sequence[str], feeds: Sequence[str]) -> None:
    """Raise StageFailed unless every input is a tensor of its own."""
    by_tensor: dict[str, list[str]] = {}
    for name, feed in zip(names, feeds, strict=True):
        by_tensor.setdefault(feed, []).append(repr(name))
    for feed, same in by_tensor.items():
        if len(same) > 1:
            inputs = " and ".join(same)
            raise StageFailed(f"inputs {inputs} are one tensor of the graph ({feed})")


def _example(tensor: Tensor) -> Any:
    """Return the value of an input of which the config gives no example."""
    if tensor.default is not None:
        return tensor.default
    value: Any = {"string": "", ANY: "", "bool": False}.get(tensor.dtype, 0)
    if tensor.is_sparse:
        shape = [1 if size is None else size for size in tensor.shape or ()]
        return {"indices": [[0] * len(shape)], "values": [value], "shape": shape}
    for size in reversed(tensor.shape or ()):
        value = [value] * (1 if size is None else size)
    return value
