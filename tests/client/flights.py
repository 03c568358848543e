"""The demo's model, untrained but with all its inputs, to test what people type."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROW = {"carrier": "UA", "origin": "EWR", "dest": "IAH", "month": 7, "hour": 20}
ROW |= {"distance": 1400}
COLUMNS: dict[str, list[Any]] = {
    "carrier": ["UA", "AA", "DL", "B6"],
    "origin": ["EWR", "JFK", "LGA", "EWR"],
    "dest": ["IAH", "MIA", "ATL", "BOS"],
    "month": [1, 4, 7, 12],
    "hour": [5, 9, 14, 20],
    "distance": [1400.0, 1089.0, 762.0, 200.0],
}


def flights(path: Path) -> Path:
    import keras
    import pandas as pd

    from gomlx.demo.flights import build

    keras.utils.set_random_seed(7)
    build(pd.DataFrame(COLUMNS)).export(str(path), verbose=False)
    return path
