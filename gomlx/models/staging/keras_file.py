"""Exports a .keras file, which holds a model's layers and weights, as a SavedModel."""

import os
import shutil
from pathlib import Path
from typing import Any

from gomlx.errors import StageFailed
from gomlx.models.serving import session as tf_session

# Older ones run code that a file holds, even in safe mode.
_SAFE = (3, 11, 3)


def export_keras_file(folder: Path) -> None:
    """Replace the .keras file of a folder, if there is one, by its SavedModel.

    Raises StageFailed.
    """
    path = next(folder.glob("*.keras"), None)
    if path is None:
        return
    exported = folder.with_name("exported")
    model = _load(path)
    try:
        model.export(str(exported), verbose=False)
    except Exception as error:  # of whichever layer
        reason = tf_session.first_line(error)
        raise StageFailed(f"{path.name} cannot be exported: {reason}") from error
    shutil.rmtree(folder)
    exported.rename(folder)


def _load(path: Path) -> Any:
    """Load a model without running code that the file holds. Raises StageFailed."""
    # What is exported runs on TensorFlow, whatever Keras is configured to use.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    release = tuple(int(part) for part in keras.__version__.split(".")[:3])
    if release < _SAFE:
        raise StageFailed(
            f"{path.name} is not loaded by Keras {keras.__version__}, which may run "
            "code of the file: pip install 'keras>=3.11.3', or export the model "
            "yourself, with `model.export(FOLDER)`"
        )
    try:
        return keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:  # whatever a file holds
        raise StageFailed(
            f"{path.name} cannot be loaded: {tf_session.first_line(error)} (gomlx runs "
            "no code of a file: export the model where its code is, with "
            "`model.export(FOLDER)`, or name the modules of its layers: `libraries:`)"
        ) from error
