"""What to do about files that hold a model in another form than a SavedModel."""

import re
from collections.abc import Collection

_FORMS = (
    (
        r".+\.keras",
        "there are several .keras files: let the url name one of them",
    ),
    (
        r"saved_model\.pb(txt)?",
        "the url names a file of a SavedModel: let it name the folder",
    ),
    (
        r".+\.weights\.h5",
        "{name} holds weights alone: build the model in Python, then "
        "`model.load_weights({name!r})` and `model.export(FOLDER)`",
    ),
    (
        r".+\.(h5|hdf5)",
        "{name} is an older file of Keras: export it with "
        "`keras.models.load_model({name!r}).export(FOLDER)`",
    ),
    (
        r".+\.tflite",
        "{name} is a model of TensorFlow Lite, which cannot be turned back: export the "
        "model that it was made from, with `model.export(FOLDER)` or "
        "`tf.saved_model.save(module, FOLDER)`",
    ),
    (
        r".+\.onnx",
        "{name} is an ONNX model: convert it with `onnx2tf -i {name} -o FOLDER`",
    ),
    (
        r"checkpoint|.+\.(index|ckpt)|.+\.data-\d+-of-\d+",
        "{name} is part of a checkpoint, which holds weights and no graph: build the "
        "model in Python, then `tf.train.Checkpoint(model).restore(PREFIX)` and "
        "`tf.saved_model.save(model, FOLDER)`",
    ),
    (
        r"(?!keras_metadata|fingerprint).+\.(pb|pbtxt)",
        "{name} seems to be a frozen graph, which has no signature: import it with "
        "`tf.graph_util.import_graph_def(graph_def)` into a session and save it with "
        "`tf.compat.v1.saved_model.simple_save(session, FOLDER, inputs={{NAME: "
        "TENSOR}}, outputs={{NAME: TENSOR}})`",
    ),
)


def advice(names: Collection[str]) -> str | None:
    """Return what to do about the files of a folder without a SavedModel, if known."""
    for pattern, sentence in _FORMS:
        for name in sorted(names):
            if re.fullmatch(pattern, name):
                return sentence.format(name=name)
    return None
