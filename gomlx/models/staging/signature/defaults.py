"""The values that a model declares for inputs which a request leaves out.

TensorFlow writes them since 2.14, for arguments of a function with a default
(`SignatureDef.defaults`).
"""

import base64
import math
from typing import Any

from tensorflow.python.framework import tensor_util

from gomlx.models.serving.binding import Layout


def default_value(proto: Any, layout: Layout) -> Any:
    """Return a TensorProto as the JSON value of one row.

    None if there is no proto, or if it holds several rows: none of them is the default
    of a single row.
    """
    if proto is None:
        return None
    array = tensor_util.MakeNdarray(proto)
    if layout is Layout.WHOLE:
        return _to_json(array.tolist())
    if array.ndim == 0 or len(array) != 1:
        return None
    return _to_json(array[0].tolist() if array.ndim > 1 else array.tolist()[0])


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(one) for one in value]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
