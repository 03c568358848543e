"""Which inputs admit missing numbers: the config says so, or the graph asks for NaN."""

from collections.abc import Sequence
from dataclasses import replace

from gomlx.contract.dtypes import FLOAT_LIMITS, NAN
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import StageFailed
from gomlx.models.dataflow.flow import Flow
from gomlx.models.version import Settings


def with_missing(tensor: Tensor, settings: Settings) -> Tensor:
    """Return an input as the config has it. Raises StageFailed."""
    missing = settings.input(tensor.name).missing
    if missing and tensor.dtype not in FLOAT_LIMITS:
        raise StageFailed(
            f"input {tensor.name!r} has dtype {tensor.dtype}, and only floats have "
            "a NaN for what is missing: remove its missing from the config"
        )
    return replace(tensor, missing=missing or tensor.missing)


def asked_for(signature: Signature, feeds: Sequence[str], flow: Flow) -> Signature:
    """Return the signature in which inputs that the graph looks for NaN in admit it.

    The graph must be TensorFlow's default graph.
    """
    pairs = zip(signature.inputs, feeds, strict=True)
    inputs = [
        replace(tensor, missing=NAN) if _is_looked_at(feed, flow) else tensor
        for tensor, feed in pairs
    ]
    return replace(signature, inputs=tuple(inputs))


def _is_looked_at(feed: str, flow: Flow) -> bool:
    return any(use.node.op == "IsNan" for use in flow.ends(feed).uses)
